"""MAFW: lists of five folds for the single and the compound set; videos, images and faces."""

from __future__ import annotations

import pytest

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.datasets.adapters.mafw import EMOTIONS
from helpers.dataset_trees import by_path, ingested, make_images, sides, text, video

LISTS = "Train & Test Set"
COMPOUND = [*EMOTIONS, "anger_disgust", "fear_sadness_anxiety"]


def labeled(labels):
    """Four clips of each class, the classes in turn."""
    return dict(enumerate([*labels] * 4, 25))


def splits(root, clips, variant="single", place=LISTS):
    """The official lists: `00025.mp4 anger`, clips dealt to the folds in turn."""
    for fold in range(1, 6):
        for side in ("train", "test"):
            lines = [
                f"{number:05d}.mp4 {label}\n"
                for number, label in clips.items()
                if (number % 5 + 1 == fold) == (side == "test")
            ]
            text(root / place / variant / f"no_caption/set_{fold}/{side}.txt", "".join(lines))
    return root


def videos(root, numbers, place="data/clips"):
    for number in numbers:
        video(root / place / f"{number:05d}.mp4", 6)
    return root


def faces(root, numbers, place="data/faces", frames=5):
    for number in numbers:
        make_images(root / place / f"{number:05d}", range(1, frames + 1))
    return root


SINGLE = labeled(EMOTIONS)


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """The single and the compound set; clip 90 is in neither list."""
    root = splits(tmp_path_factory.mktemp("sets") / "mafw", SINGLE)
    compound = labeled(COMPOUND)
    splits(root, compound, "compound")
    videos(root, [*compound, 90])
    text(root / LISTS / "single/with_caption/set_1/train.txt", "00025.mp4\tanger\t...\n")
    return root


def test_single_set(both, tmp_path):
    manifest = ingested("mafw", both, tmp_path)
    assert manifest.classes == list(EMOTIONS)
    assert len(manifest.clips) == 44
    clip = by_path(manifest)["data/clips/00027.mp4"]
    assert (clip.label, clip.fold, clip.subject, clip.image_sequence) == ("fear", 3, None, False)
    folds = sides(tmp_path)
    assert len(folds) == 5
    for fold, split in folds.items():
        tested = {int(name[-5:]) for name, side in split.items() if side == "test"}
        assert tested == {number for number in SINGLE if number % 5 == fold}
    assert manifest.notes["left_out"] == {"not in the lists of the single set": 9}
    unused = manifest.notes["unused_files"]
    assert unused["count"] == 11
    assert all("compound" in name or "with_caption" in name for name in unused["first"])


def test_compound_set(both, tmp_path):
    """The single classes in the set's order, then the compound ones by name."""
    manifest = ingested("mafw", both, tmp_path, variant="compound")
    assert manifest.classes == COMPOUND
    assert by_path(manifest)["data/clips/00036.mp4"].label == "anger_disgust"
    assert manifest.notes["left_out"] == {"not in the lists of the compound set": 1}


def test_an_unknown_variant(both, tmp_path):
    with pytest.raises(UserError, match="mafw has no 'multi'; known: single, compound"):
        ingested("mafw", both, tmp_path, variant="multi")


def test_compound_label_in_the_single_set(tmp_path):
    root = videos(splits(tmp_path / "mafw", {**SINGLE, 25: "anger_disgust"}), [25])
    message = r"line 1 of test\.txt in set_1: unknown class 'anger_disgust'; known: anger \(ang"
    with pytest.raises(UserError, match=message):
        ingested("mafw", root, tmp_path)


def test_an_unknown_part_of_a_compound_label(tmp_path):
    root = splits(tmp_path / "mafw", {**SINGLE, 25: "anger_joy"}, "compound")
    with pytest.raises(UserError, match="unknown class 'joy'"):
        ingested("mafw", videos(root, [25]), tmp_path, variant="compound")


def test_faces_and_their_gaps(tmp_path):
    root = videos(splits(tmp_path / "mafw", SINGLE), SINGLE)
    faces(root, list(SINGLE)[1:])
    clips = by_path(ingested("mafw", root, tmp_path, faces="aligned"))
    assert (clips["data/faces/00026"].faces, clips["data/faces/00026"].frames) == ("aligned", 5)
    assert (clips["data/clips/00025.mp4"].faces, clips["data/clips/00025.mp4"].label) == (
        "detect",
        "anger",
    )
    assert not any(clip.image_sequence for clip in ingested("mafw", root, tmp_path).clips)


def test_whole_images_are_no_faces(tmp_path):
    """`frames` shows the whole image; crops may lie in a folder inside it."""
    root = faces(splits(tmp_path / "mafw", SINGLE, place="split"), SINGLE, "data/frames", 7)
    faces(root, list(SINGLE)[:-1], "data/frames/frames_crop_align_224")
    whole = by_path(ingested("mafw", root, tmp_path))["data/frames/00025"]
    assert (whole.faces, whole.frames) == ("detect", 7)
    clips = by_path(ingested("mafw", root, tmp_path, faces="aligned"))
    assert clips["data/frames/frames_crop_align_224/00025"].faces == "aligned"
    assert clips["data/frames/00068"].faces == "detect"


def test_a_listed_clip_without_a_file_is_quarantined(tmp_path):
    root = videos(splits(tmp_path / "mafw", SINGLE), list(SINGLE)[1:], "clips/unzip")
    clip = by_path(ingested("mafw", root, tmp_path))["clips/00025.mp4"]
    assert (clip.status, clip.reason, clip.label) == ("quarantined", "file not found", "anger")


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("00026.mp4 disgust", "00026.mp4", r"line 1 of test\.txt: 1 fields, 2 expected"),
        ("00026.mp4", "a.mp4", r"line 1 of test\.txt in set_2: 'a\.mp4' is not a clip: expected"),
        (
            "00026.mp4 disgust",
            "00026.mp4 fear",
            r"line 1 of test\.txt in set_2: clip 26 is fear, but disgust in line . of train",
        ),
        (
            "00026.mp4",
            "00025.mp4",
            r"test\.txt in set_2: clip 25 is in line 1 of train\.txt in set_2 too",
        ),
    ],
)
def test_lists_that_cannot_be_right(tmp_path, before, after, message):
    root = videos(splits(tmp_path / "mafw", SINGLE), [25])
    path = root / LISTS / "single/no_caption/set_2/test.txt"
    path.write_text(path.read_text().replace(before, after, 1))
    with pytest.raises(UserError, match=message):
        ingested("mafw", root, tmp_path)


def test_what_is_missing_is_named(tmp_path):
    root = splits(tmp_path / "mafw", SINGLE)
    with pytest.raises(UserError, match="mafw: no clip below data/clips, data/frames or data/fa"):
        ingested("mafw", root, tmp_path)
    videos(root, [25])
    with pytest.raises(UserError, match=rf"mafw: no {LISTS}/compound/no_caption/set_1/train\.txt"):
        ingested("mafw", root, tmp_path, variant="compound")
    (root / LISTS / "single/no_caption/set_4/test.txt").unlink()
    with pytest.raises(UserError, match=rf"no {LISTS}/single/no_caption/set_4/test\.txt in "):
        ingested("mafw", root, tmp_path)


def test_wrong_root(tmp_path):
    root = videos(splits(tmp_path / "mafw", SINGLE), [25])
    with pytest.raises(UserError, match=r"set dataset\.root to .*/mafw$"):
        ingested("mafw", root / "data", tmp_path)
