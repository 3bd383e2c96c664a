"""Aff-Wild2: a label a frame, images counted from 1 with gaps, two people in a video."""

from __future__ import annotations

import os
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.ingest.run import ingest
from arpgnet.pipeline.tables.manifest import FRAME_LABELS, MANIFEST, SPLITS
from arpgnet.pipeline.tables.targets import TARGETS, read_targets
from helpers.dataset_trees import by_path, ingested, make_images, sides, text, video

EIGHT = "Neutral,Anger,Disgust,Fear,Happiness,Sadness,Surprise,Other"
SEVEN = "Neutral,Anger,Disgust,Fear,Happiness,Sadness,Surprise"
YEAR = "6th_ABAW_Annotations/EXPR_Classification_Challenge"
FRAMES = 16
PARTS = {
    "Train_Set": ["1-30-1280x720", "video10_1_left", "video10_1_right", "video2", "video3"],
    "Validation_Set": ["video59", "video59_right"],
}


def labels(root, year=YEAR, head=EIGHT, name="", codes=None, part="Train_Set"):
    classes = head.count(",") + 1
    content = [head, *map(str, codes or [n % classes if n % 5 else -1 for n in range(FRAMES)])]
    text(root / year / part / f"{name}.txt", "\n".join(content) + "\n")


def tree(root, year=YEAR, head=EIGHT):
    """Write images 1 to 16, of which some have no face and so no file; and the videos."""
    for part, names in PARTS.items():
        for name in names:
            labels(root, year, head, name, part=part)
            numbers = [n for n in range(1, FRAMES + 1) if n not in (4, 5, 9)]
            make_images(root / "cropped_aligned" / name, numbers)
    for name in ("1-30-1280x720", "video2", "video59"):
        video(root / "batch1" / f"{name}.mp4", FRAMES)
    for name in ("video10_1", "video3"):
        video(root / "batch2" / f"{name}.avi", FRAMES)
    text(root / "names_of_videos_expr_test_set_release.txt", "video70\nvideo71_left\n")
    return root


def test_images_are_counted_from_one_and_have_gaps(tmp_path):
    manifest = ingested("affwild2", tree(tmp_path / "aw"), tmp_path, faces="aligned")
    assert manifest.classes == [name.lower() for name in EIGHT.split(",")]
    assert len(manifest.clips) == 7
    clip = by_path(manifest)["cropped_aligned/video10_1_left"]
    assert (clip.first_image, clip.frames, clip.faces, clip.split) == (1, 16, "aligned", "train")
    assert {c.group for c in manifest.clips if "video10" in c.path} == {"video10_1"}
    table = pq.read_table(tmp_path / FRAME_LABELS).to_pandas()
    found = table[table.clip_id == clip.clip_id].label_index.to_numpy()
    assert (found == [n % 8 if n % 5 else -1 for n in range(FRAMES)]).all()
    (split,) = sides(tmp_path).values()
    assert {name for name, side in split.items() if side == "test"} == {
        "cropped_aligned/video59", "cropped_aligned/video59_right",
    }  # fmt: skip
    assert manifest.notes["protocol"]["metric"] == "macro_f1"
    assert any("2 videos of names_of" in remark for remark in manifest.notes["remarks"])


def test_two_people_of_one_video_stay_together_and_are_told_apart(tmp_path):
    root = tree(tmp_path / "aw")
    shutil.rmtree(root / "cropped_aligned")
    manifest = ingested("affwild2", root, tmp_path)
    persons = {clip.clip_id: clip.person for clip in manifest.clips if clip.person}
    assert persons == {
        "batch2/video10_1@left": "left",
        "batch2/video10_1@right": "right",
        # of two people with one file named after a side, the other file is about the other side
        "batch1/video59@left": "left",
        "batch1/video59@right": "right",
    }
    (split,) = sides(tmp_path).values()
    assert split["batch2/video10_1@left"] == split["batch2/video10_1@right"]


def test_crops_are_missing_for_one_video(tmp_path):
    root = tree(tmp_path / "aw")
    shutil.rmtree(root / "cropped_aligned/video2")
    manifest = ingested("affwild2", root, tmp_path, faces="aligned")
    assert by_path(manifest)["batch1/video2.mp4"].faces == "detect"
    assert "1 video without cropped faces" in " ".join(manifest.notes["remarks"])


def test_labels_of_2020_have_seven_classes_and_another_score(tmp_path):
    root = tree(tmp_path / "aw", "annotations/EXPR_Set", SEVEN)
    (root / "annotations/EXPR_Set/Train_Set").rename(root / "annotations/EXPR_Set/Training_Set")
    manifest = ingested("affwild2", root, tmp_path, faces="aligned")
    assert len(manifest.classes) == 7
    assert manifest.notes["protocol"]["metric"] == "abaw2"


def test_labels_of_two_years(tmp_path):
    root = tree(tree(tmp_path / "aw"), "Third ABAW Annotations/EXPR_Classification_Challenge")
    with pytest.raises(UserError, match="labels of several years"):
        ingested("affwild2", root, tmp_path, faces="aligned")
    chosen = ingested("affwild2", root, tmp_path, faces="aligned", manifest=YEAR)
    assert len(chosen.clips) == 7


def test_class_orders_that_disagree(tmp_path):
    root = tree(tmp_path / "aw")
    labels(root, head=SEVEN, name="video3")
    with pytest.raises(UserError, match=r"class orders disagree: 1-30.*other, video3\.txt says"):
        ingested("affwild2", root, tmp_path, faces="aligned")


@pytest.mark.parametrize(
    ("codes", "said"),
    [
        ([0, 1, 9], r"line 4 of video3\.txt: unknown class 9; known: -1, 0 \(neutral\)"),
        ([0, "x"], r"line 3 of video3\.txt: 'x' is not a number"),
        ([0, "²"], r"line 3 of video3\.txt: '²' is not a number"),
        ([0, ""], r"line 3 of video3\.txt|longer"),
    ],
)
def test_a_wrong_label(tmp_path, codes, said):
    root = tree(tmp_path / "aw")
    labels(root, name="video3", codes=[*codes, 0])
    with pytest.raises(UserError, match=said):
        ingested("affwild2", root, tmp_path, faces="aligned")


def test_labels_longer_and_shorter_than_the_video(tmp_path):
    root = tree(tmp_path / "aw")
    shutil.rmtree(root / "cropped_aligned")
    labels(root, name="video2", codes=[n % 8 for n in range(FRAMES + 3)])
    labels(root, name="video3", codes=[n % 8 for n in range(FRAMES - 2)])
    remarks = ingested("affwild2", root, tmp_path).notes["remarks"]
    assert any("unused labels: 3" in remark for remark in remarks)
    assert any("unlabeled, unused frames: 2" in remark for remark in remarks)


def test_videos_without_a_labeled_frame_are_counted(tmp_path):
    root = tree(tmp_path / "aw")
    labels(root, name="video3", codes=[-1] * FRAMES)
    manifest = ingested("affwild2", root, tmp_path, faces="aligned")
    assert manifest.notes["left_out"] == {"videos without a labeled frame": 1}


def test_images_alone_and_videos_wanted(tmp_path):
    root = tree(tmp_path / "aw")
    shutil.rmtree(root / "batch1")
    with pytest.raises(UserError, match=r"only its images: set faces\.source=aligned"):
        ingested("affwild2", root, tmp_path)


def test_other_is_left_out_by_frame(tmp_path):
    root = tree(tmp_path / "aw")
    manifest = ingested("affwild2", root, tmp_path, faces="aligned", exclude=["other"])
    table = pq.read_table(tmp_path / FRAME_LABELS)
    assert np.unique(table.column("label_index")).tolist() == list(range(-1, 7))
    assert manifest.classes == [name.lower() for name in SEVEN.split(",")]


def garble(folder):
    """Other bytes in every image below a folder, of the same length and time of change."""
    for path in folder.rglob("*.jpg"):
        status = path.stat()
        path.write_bytes(bytes(status.st_size))
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


# more than 100 folders are listed by workers
@pytest.mark.parametrize(
    ("videos", "workers"), [(6, 1), pytest.param(104, 2, marks=pytest.mark.slow)]
)
def test_a_second_run_reads_no_image(tmp_path, videos, workers):
    root = tmp_path / "aw"
    for number in range(videos):
        part = "Validation_Set" if number % 3 == 2 else "Train_Set"
        labels(root, name=f"video{number}", codes=[n % 8 for n in range(8)], part=part)
        make_images(root / "cropped_aligned" / f"video{number}", range(1, 3), side=16)
    written = []
    for run in ("first", "second"):
        out = tmp_path / run
        ingested("affwild2", root, out, faces="aligned", workers=workers)
        written.append([(out / name).read_bytes() for name in (MANIFEST, SPLITS, FRAME_LABELS)])
        garble(root / "cropped_aligned")
    assert written[0] == written[1]
    os.utime(root / "cropped_aligned" / "video0" / "00001.jpg")
    third = ingested("affwild2", root, tmp_path / "third", faces="aligned", workers=workers)
    assert [clip.path for clip in third.clips if clip.reason] == ["cropped_aligned/video0"]


def test_images_without_labels_are_not_looked_at(tmp_path, monkeypatch):
    root = tree(tmp_path / "aw")
    first = ingested("affwild2", root, tmp_path / "a", faces="aligned")
    monkeypatch.setitem(ingest.__globals__, "assign_splits", None)
    make_images(root / "cropped_aligned" / "video70", range(1, 4))
    assert ingested("affwild2", root, tmp_path / "b", faces="aligned") == first


def targets_tree(root, folder, head, rows):
    """Write the labels of another challenge, and the images of two videos."""
    for part, name in (
        ("Train_Set", "video2"),
        ("Train_Set", "video3"),
        ("Validation_Set", "video59"),
    ):
        text(root / folder / part / f"{name}.txt", "\n".join([head, *rows]) + "\n")
        make_images(root / "cropped_aligned" / name, [1, 2, 3])
    return root


def test_action_units_of_frames_with_their_code_for_none(tmp_path):
    rows = ["1,0,-1", "-1,-1,-1", "0,1,1"]
    root = targets_tree(tmp_path / "aw", "AU_Detection_Challenge", "AU1,AU2,AU25", rows)
    manifest = ingested("affwild2", root, tmp_path, faces="aligned", variant="action_units")
    assert manifest.classes == []
    assert [(clip.label, clip.split) for clip in manifest.clips] == [
        (None, "train"), (None, "train"), (None, "val"),
    ]  # fmt: skip
    assert manifest.notes["protocol"]["metric"] == "f1"
    table = read_targets(tmp_path / TARGETS)
    assert table.names == ["au_1", "au_2", "au_25"]
    own = table.select(table.clip_id == "cropped_aligned/video3")
    assert own.frame_index.tolist() == [0, 1, 2]
    np.testing.assert_array_equal(
        own.values, np.array([[1, 0, np.nan], [np.nan] * 3, [0, 1, 1]], np.float32)
    )


def test_valence_and_arousal_of_frames(tmp_path):
    rows = ["0.5,-1", "-5,-5", "-1,0.25"]
    root = targets_tree(tmp_path / "aw", "VA_Estimation_Challenge", "valence,arousal", rows)
    manifest = ingested("affwild2", root, tmp_path, faces="aligned", variant="valence_arousal")
    assert manifest.notes["protocol"]["metric"] == "ccc"
    table = read_targets(tmp_path / TARGETS)
    own = table.select(table.clip_id == "cropped_aligned/video2")
    np.testing.assert_array_equal(
        own.values, np.array([[0.5, -1], [np.nan, np.nan], [-1, 0.25]], np.float32)
    )


@pytest.mark.parametrize(
    ("head", "rows", "said"),
    [
        ("AU1,smile", ["1,0"], r"line 1 of video2\.txt must name action units"),
        ("valence,arousal", ["1,0"], r"must name action units .*found: valence,arousal"),
        ("AU1_r,AU2_r", ["1,0"], r"line 1 of video2\.txt must name action units"),
        ("AU1,AU01", ["1,0"], r"line 1 of video2\.txt must name action units .* each once"),
        ("AU1,AU2", ["1"], r"line 2 of video2\.txt: 1 value, the first line names 2"),
        ("AU1,AU2", ["1,3"], r"line 2 of video2\.txt: au_2 '3' is not 0 or 1"),
    ],
)
def test_wrong_labels_of_units(tmp_path, head, rows, said):
    root = targets_tree(tmp_path / "aw", "AU_Detection_Challenge", head, rows)
    with pytest.raises(UserError, match=said):
        ingested("affwild2", root, tmp_path, faces="aligned", variant="action_units")


def test_labels_of_another_challenge_are_not_those_of_the_variant(tmp_path):
    root = targets_tree(tmp_path / "aw", "AU_Detection_Challenge", "AU1,AU2", ["1,0"])
    with pytest.raises(UserError, match=r"no folder VA_\.\.\. with Train_Set"):
        ingested("affwild2", root, tmp_path, faces="aligned", variant="valence_arousal")
