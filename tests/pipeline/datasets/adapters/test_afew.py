"""AFEW: its own release with provided faces, and the layout of frames that is passed around."""

from __future__ import annotations

import shutil

import pytest

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.datasets.adapters.afew import CLASSES
from helpers.dataset_trees import by_path, ingested, make_images, sides, text, video

EACH = {"Train_AFEW": 4, "Val_AFEW": 2}
FACES = {
    "Train_AFEW": "AlignedFaces_LBPTOP_Points/Faces",
    "Val_AFEW": "AlignedFaces_LBPTOP_Points_Val/Faces",
}


def release(root):
    """EmotiW's release; names are repeated in Train and Val."""
    for part, count in EACH.items():
        for row, folder in enumerate(CLASSES):
            for number in range(count):
                video(root / part / folder / f"{100 * row + number:09d}.avi")
    return root


def with_faces(root):
    """Faces of every clip but one: no face was detected there."""
    for part, count in EACH.items():
        for row in range(len(CLASSES)):
            for number in range(count):
                name = f"{100 * row + number:09d}"
                if (part, name) != ("Val_AFEW", "000000100"):
                    make_images(root / part / FACES[part] / name, range(6), "{:03d}.jpg")
    text(root / "Train_AFEW/AlignedFaces_LBPTOP_Points/Points/000000000.mat", "points")
    return root


def frames(root):
    """Emotion-FAN's layout: a folder of frames a clip."""
    for part, count in (("train_afew", 4), ("val_afew", 2)):
        for row, folder in enumerate(CLASSES):
            for number in range(count):
                make_images(root / part / folder / f"{100 * row + number:09d}", range(1, 8))
    return root


def test_videos(tmp_path):
    root = release(tmp_path / "afew")
    video(root / "Test_AFEW/000000007.avi")
    manifest = ingested("afew", root, tmp_path)
    assert manifest.classes == list(CLASSES.values())
    assert len(manifest.clips) == 7 * 6
    # the same name in both parts is two clips
    assert {clip.split for clip in manifest.clips if clip.path.endswith("000000001.avi")} == {
        "train", "val",
    }  # fmt: skip
    (split,) = sides(tmp_path).values()
    tested = {name for name, side in split.items() if side == "test"}
    assert tested == {clip.clip_id for clip in manifest.clips if clip.split == "val"}
    assert manifest.notes["left_out"] == {"of the test part, whose labels are not public": 1}
    remark = "no test split is provided: the provided val is used as the test split"
    assert remark in manifest.notes["remarks"]
    assert manifest.notes["unused_files"]["count"] == 0


def test_provided_faces_and_a_video_where_there_are_none(tmp_path):
    root = with_faces(release(tmp_path / "afew"))
    manifest = ingested("afew", root, tmp_path, faces="aligned")
    assert len(manifest.clips) == 7 * 6
    clips = by_path(manifest)
    clip = clips["Train_AFEW/AlignedFaces_LBPTOP_Points/Faces/000000203"]
    assert (clip.label, clip.split, clip.image_sequence, clip.faces) == (
        "fear",
        "train",
        True,
        "aligned",
    )
    assert (clip.frames, clip.fps) == (6, 25.0)
    fallen = clips["Val_AFEW/Disgust/000000100.avi"]
    assert (fallen.label, fallen.faces) == ("disgust", "detect")
    remark = "1 clip without provided faces: faces are detected instead"
    assert remark in manifest.notes["remarks"]
    assert manifest.notes["unused_files"]["count"] == 0


def test_folders_of_frames(tmp_path):
    manifest = ingested("afew", frames(tmp_path / "afew"), tmp_path, faces="aligned")
    assert len(manifest.clips) == 7 * 6
    clip = by_path(manifest)["val_afew/Sad/000000500"]
    assert (clip.clip_id, clip.label, clip.split) == ("val_afew/Sad/000000500", "sadness", "val")
    detected = ingested("afew", tmp_path / "afew", tmp_path / "b")
    assert {clip.faces for clip in detected.clips} == {"detect"}


def test_the_same_clip_on_both_sides(tmp_path):
    root = release(tmp_path / "afew")
    shutil.copy(root / "Train_AFEW/Sad/000000500.avi", root / "Val_AFEW/Sad/000000501.avi")
    with pytest.raises(UserError, match="are the same file but are in train and test"):
        ingested("afew", root, tmp_path)


def test_half_a_download(tmp_path):
    root = release(tmp_path / "afew")
    shutil.rmtree(root / "Val_AFEW")
    with pytest.raises(UserError, match=r"no clip below Val_AFEW or val_afew/.* found Train_AF"):
        ingested("afew", root, tmp_path)


def test_a_folder_that_is_no_class(tmp_path):
    root = release(tmp_path / "afew")
    video(root / "Val_AFEW/Calm/1.avi")
    with pytest.raises(UserError, match="Val_AFEW/Calm: unknown class 'calm'; known: angry"):
        ingested("afew", root, tmp_path)


def test_another_set(tmp_path):
    with pytest.raises(UserError, match=r"rml: no video .* this looks like dataset\.name: afew"):
        ingested("rml", release(tmp_path / "afew"), tmp_path)
