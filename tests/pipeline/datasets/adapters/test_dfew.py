"""DFEW: five lists a side, clips with numbers, originals and crops in several forms."""

from __future__ import annotations

import pytest

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.datasets.adapters.dfew import CLASSES
from helpers.dataset_trees import by_path, ingested, make_images, sides, text, video

# fold k tests clips 7k-6 to 7k, one of each class
CLIPS = {number: (number - 1) % 7 + 1 for number in range(1, 36)}


def fold_of(number):
    return (number - 1) // 7 + 1


def splits(root, clips=CLIPS, train="train(single-labeled)", test="test(single-labeled)"):
    """The official lists: numbers without leading zeros, labels from 1."""
    for fold in range(1, 6):
        for side in (train, test):
            tests = side == test
            rows = [
                f"{number},{label}"
                for number, label in clips.items()
                if (fold_of(number) == fold) == tests
            ]
            lines = "\n".join(["video_name,label", *rows])
            text(root / f"EmoLabel_DataSplit/{side}/set_{fold}.csv", lines + "\n")
    return root


def edit(root, place, before, after):
    path = root / "EmoLabel_DataSplit" / place
    content = path.read_text()
    assert before in content
    path.write_text(content.replace(before, after, 1))


def crops(root, numbers=CLIPS, form="clip_224x224", frames=6):
    for number in numbers:
        make_images(
            root / f"Clip/{form}/{number:05d}", range(1, frames + 1), f"{number:05d}_{{:05d}}.jpg"
        )
    return root


def originals(root, numbers=CLIPS):
    for number in numbers:
        video(root / f"Clip/original/part_{number % 2 + 1}/{number}.mp4", 8)
    return root


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """Originals of all clips and of one without a single label; crops of all but clip 35."""
    root = splits(tmp_path_factory.mktemp("sets") / "dfew")
    originals(root, [*CLIPS, 36])
    crops(root, [*range(1, 35), 36])
    for number in CLIPS:
        make_images(root / f"Clip/clip_224x224_16f/{number:05d}", range(1, 17), "{}.jpg")
    text(root / "Annotation/annotation.xlsx", "a table")
    return root


def test_official_folds_on_the_originals(both, tmp_path):
    manifest = ingested("dfew", both, tmp_path)
    assert manifest.classes == list(CLASSES.values())
    assert manifest.classes[:2] == ["happiness", "sadness"]
    assert len(manifest.clips) == 35
    clip = by_path(manifest)["Clip/original/part_2/11.mp4"]
    assert (clip.label, clip.fold, clip.subject, clip.group) == ("anger", 2, None, None)
    assert not clip.image_sequence
    folds = sides(tmp_path)
    assert len(folds) == 5
    for fold, split in folds.items():
        tested = {int(name.split("/")[-1]) for name, side in split.items() if side == "test"}
        assert tested == {number for number in CLIPS if fold_of(number) == fold + 1}
    assert manifest.notes["left_out"] == {
        "in no official list (no single label, or the authors found no face)": 1
    }
    assert manifest.notes["unused_files"]["first"] == ["Annotation/annotation.xlsx"]
    assert manifest.notes["protocol"]["metric"] == "war"
    unread = [remark for remark in manifest.notes["remarks"] if "ignored" in remark]
    assert [remark.split()[0] for remark in unread] == [
        "Clip/clip_224x224",
        "Clip/clip_224x224_16f",
    ]


def test_aligned_crops_and_their_gaps(both, tmp_path):
    """Without its crops a clip is taken from the next form: here the 16 frames."""
    clips = by_path(ingested("dfew", both, tmp_path, faces="aligned", image_fps=20.0))
    crop = clips["Clip/clip_224x224/00011"]
    assert (crop.label, crop.faces, crop.image_sequence, crop.frames, crop.fps) == (
        "anger",
        "aligned",
        True,
        6,
        20.0,
    )
    gap = clips["Clip/clip_224x224_16f/00035"]
    assert (gap.label, gap.faces, gap.frames) == ("fear", "aligned", 16)


def test_a_clip_without_crops_is_found_in_its_original(tmp_path):
    root = originals(crops(splits(tmp_path / "dfew"), range(1, 35)))
    manifest = ingested("dfew", root, tmp_path, faces="aligned")
    clip = by_path(manifest)["Clip/original/part_2/35.mp4"]
    assert (clip.faces, clip.image_sequence, clip.label) == ("detect", False, "fear")
    assert any(
        remark.endswith("34 from Clip/clip_224x224, 1 from Clip/original")
        for remark in manifest.notes["remarks"]
    )


def test_crops_alone_are_looked_at_as_images(tmp_path):
    """The older name of the folder, parts as they are unpacked, lists in folders of short names."""
    root = splits(tmp_path / "dfew", train="train", test="test")
    for number in CLIPS:
        part = f"Clip/jpg_256/part_{number % 3}"
        make_images(root / part / f"{number:05d}", range(1, 5))
    clip = by_path(ingested("dfew", root, tmp_path))["Clip/jpg_256/part_2/00011"]
    assert (clip.faces, clip.image_sequence, clip.label) == ("detect", True, "anger")


def test_videos_of_the_crops(tmp_path):
    root = splits(tmp_path / "dfew")
    for number in CLIPS:
        video(root / f"Clip/clip_224x224_avi/{number:05d}.avi", 6)
    clips = by_path(ingested("dfew", root, tmp_path, faces="aligned"))
    assert clips["Clip/clip_224x224_avi/00001.avi"].faces == "detect"


def test_a_listed_clip_without_a_file_is_quarantined(tmp_path):
    root = crops(splits(tmp_path / "dfew"), range(2, 36))
    clip = by_path(ingested("dfew", root, tmp_path))["Clip/clip_224x224/00001"]
    assert (clip.status, clip.reason) == ("quarantined", "file not found")


@pytest.mark.parametrize(
    ("place", "before", "after", "message"),
    [
        (
            "test(single-labeled)/set_1.csv",
            "3,3",
            "3,0",
            r"line 4 of set_1\.csv in test\(single-labeled\): unknown class '0'; known: 1 \(hap",
        ),
        (
            "test(single-labeled)/set_1.csv",
            "3,3",
            "three,3",
            r"line 4 of set_1\.csv in test\(single-labeled\): 'three' is not a clip",
        ),
        ("train(single-labeled)/set_1.csv", "9,2", "9", r"line 3 of set_1\.csv: 1 fields, 2 exp"),
        ("train(single-labeled)/set_2.csv", "video_name", "name", "has no column 'video_name'"),
        (
            "test(single-labeled)/set_2.csv",
            "8,1",
            "8,2",
            r"line 2 of set_2\.csv in test\(single-labeled\): clip 8 is sadness, but happiness in "
            r"line 2 of set_1\.csv in train\(single-labeled\)",
        ),
        (
            "test(single-labeled)/set_2.csv",
            "8,1",
            "1,1",
            r"line 2 of set_2\.csv in test\(single-labeled\): clip 1 is in "
            r"line 2 of set_2\.csv in train\(single-labeled\) too",
        ),
        (
            "train(single-labeled)/set_2.csv",
            "1,1\n",
            "",
            r"clip 1 \(line 2 of set_1\.csv in test.*\) is in neither list of set 2",
        ),
    ],
)
def test_lists_that_cannot_be_right(tmp_path, place, before, after, message):
    root = crops(splits(tmp_path / "dfew"), [1])
    edit(root, place, before, after)
    with pytest.raises(UserError, match=message):
        ingested("dfew", root, tmp_path)


def test_a_clip_that_two_folds_test(tmp_path):
    root = crops(splits(tmp_path / "dfew"), [1])
    edit(root, "train(single-labeled)/set_2.csv", "1,1\n", "")
    edit(root, "test(single-labeled)/set_2.csv", "8,1", "1,1\n8,1")
    with pytest.raises(UserError, match=r"clip 1 is tested by line 2 of set_1\.csv in test.* too"):
        ingested("dfew", root, tmp_path)


def test_a_clip_that_no_fold_tests(tmp_path):
    root = crops(splits(tmp_path / "dfew"), [1])
    edit(root, "test(single-labeled)/set_1.csv", "1,1\n", "")
    edit(root, "train(single-labeled)/set_1.csv", "8,1", "1,1\n8,1")
    with pytest.raises(UserError, match=r"clip 1 \(line 2 of set_1\.csv in train.*in no test list"):
        ingested("dfew", root, tmp_path)


def test_what_is_missing_is_named(tmp_path):
    root = splits(tmp_path / "all/dfew")
    with pytest.raises(UserError, match="dfew: no clip below Clip/original, Clip/clip_224x224 or"):
        ingested("dfew", root, tmp_path)
    crops(root, [1])
    (root / "EmoLabel_DataSplit/test(single-labeled)/set_5.csv").unlink()
    with pytest.raises(UserError, match=r"dfew: no EmoLabel_DataSplit/test\(single-.*/set_5\.csv"):
        ingested("dfew", root, tmp_path)


def test_links_out_of_the_root(tmp_path):
    root = crops(splits(tmp_path / "dfew"), range(2, 36))
    outside = make_images(tmp_path / "elsewhere", range(1, 4))
    (root / "Clip/clip_224x224/00001").symlink_to(outside)
    with pytest.raises(UserError, match="leads out of the data set's root"):
        ingested("dfew", root, tmp_path)


def test_wrong_root(tmp_path):
    text(tmp_path / "all/dfew/EmoLabel_DataSplit.zip", "an archive")
    with pytest.raises(
        UserError, match=r"dfew: no EmoLabel_DataSplit/train.*/set_1\.csv in .*all: "
    ):
        ingested("dfew", tmp_path / "all", tmp_path)
