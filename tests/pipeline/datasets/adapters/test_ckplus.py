"""CK+: images in one tree, emotions of some of them in another, landmarks in a third."""

from __future__ import annotations

import pytest

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.datasets.adapters.ckplus import CLASSES
from helpers.dataset_trees import by_path, ingested, make_images, sides, text

SUBJECTS = ("S005", "S010", "S501", "S999")


def sequence(root, subject, number, code=None, images="cohn-kanade-images"):
    name = f"{subject}_{number}"
    make_images(root / images / subject / number, (1, 2, 3), name=name + "_{:08d}.png")
    if code is not None:
        label(root, subject, number, f"   {float(code):.7e}\n")


def label(root, subject, number, content, last=3):
    name = f"{subject}_{number}_{last:08d}_emotion.txt"
    text(root / "Emotion" / subject / number / name, content)


def tree(root, subjects=SUBJECTS):
    """Each subject shows each emotion, and one sequence that is none."""
    for subject in subjects:
        for code in CLASSES:
            sequence(root, subject, f"{int(code):03}", code)
        sequence(root, subject, "008")
    # the release has folders without a file
    (root / "Emotion/S005/008").mkdir()
    text(root / "FACS/S005/001/S005_001_00000003_facs.txt", "4.0 1.0")
    return root


def landmarks(root, subject, number):
    for image in (1, 2, 3):
        name = f"{subject}_{number}_{image:08d}_landmarks.txt"
        text(root / "Landmarks" / subject / number / name, "1.0 2.0\n" * 68)


def test_labeled_sequences_in_folds_of_subjects(tmp_path):
    root = tree(tmp_path / "ck")
    manifest = ingested("ckplus", root, tmp_path)
    assert manifest.classes == [
        *("anger", "contempt", "disgust", "fear", "happiness", "sadness", "surprise")
    ]
    assert len(manifest.clips) == 4 * 7
    clip = by_path(manifest)["cohn-kanade-images/S010/005"]
    assert (clip.label, clip.subject, clip.fold) == ("happiness", "S010", 1)
    assert (clip.image_sequence, clip.frames, clip.fps, clip.faces) == (True, 3, 30.0, "detect")
    assert manifest.notes["left_out"] == {"sequence without an emotion": 4}
    assert manifest.notes["unused_files"]["first"] == ["FACS/S005/001/S005_001_00000003_facs.txt"]
    folds = sides(tmp_path)
    assert len(folds) == 4
    for split in folds.values():
        assert len({name.split("/")[1] for name, side in split.items() if side == "test"}) == 1


def test_folds_are_every_tenth_subject(tmp_path):
    """Emotion-FAN's list has S005 and S035, the eleventh with an emotion, in its first fold."""
    root = tmp_path / "ck"
    subjects = ("S005", "S010", "S011", "S014", "S022", "S026", "S028", "S029", "S032", "S034")
    for subject in (*subjects, "S035", "S037"):
        for code in ("1", "7"):
            sequence(root, subject, f"{int(code):03}", code)
    sequence(root, "S012", "001")
    manifest = ingested("ckplus", root, tmp_path)
    fold = {clip.subject: clip.fold for clip in manifest.clips}
    assert [fold[subject] for subject in subjects] == list(range(10))
    assert (fold["S035"], fold["S037"]) == (0, 1)


def test_six_classes(tmp_path):
    manifest = ingested("ckplus", tree(tmp_path / "ck"), tmp_path, variant="six")
    assert "contempt" not in manifest.classes
    assert len(manifest.classes) == 6
    assert manifest.notes["left_out"]["contempt (variant six)"] == 4


def test_own_landmarks_where_there_are_some(tmp_path):
    root = tree(tmp_path / "ck")
    for code in CLASSES:
        landmarks(root, "S005", f"{int(code):03}")
    clips = by_path(ingested("ckplus", root, tmp_path, faces="aligned"))
    clip = clips["cohn-kanade-images/S005/001"]
    assert (clip.faces, clip.landmarks) == ("landmarks", "Landmarks/S005/001")
    clip = clips["cohn-kanade-images/S010/001"]
    assert (clip.faces, clip.landmarks) == ("detect", None)
    assert by_path(ingested("ckplus", root, tmp_path))["cohn-kanade-images/S005/001"].faces == (
        "detect"
    )


def test_archives_in_folders_of_their_names(tmp_path):
    root = tmp_path / "ck"
    tree(root)
    place = root / "Extended-Cohn-Kanade-Images"
    place.mkdir()
    (root / "cohn-kanade-images").rename(place / "Cohn-Kanade-Images")
    (root / "Emotion").rename(root / "Emotion_labels")
    manifest = ingested("ckplus", root, tmp_path)
    assert "Extended-Cohn-Kanade-Images/Cohn-Kanade-Images/S005/001" in by_path(manifest)


def test_an_emotion_without_images_is_quarantined(tmp_path):
    root = tree(tmp_path / "ck")
    label(root, "S010", "011", "   7.0000000e+00\n")
    clip = by_path(ingested("ckplus", root, tmp_path))["cohn-kanade-images/S010/011"]
    assert (clip.status, clip.reason, clip.label) == ("quarantined", "file not found", "surprise")


@pytest.mark.parametrize(
    ("content", "error"),
    [
        ("   9.0000000e+00\n", r"line 1 of S005_009_00000003_emotion\.txt: unknown class '9'"),
        ("   0.0000000e+00\n", "unknown class '0'; known: 1"),
        ("   2.5\n", r"unknown class '2\.5'"),
        ("happy\n", r"line 1 of S005_009_00000003_emotion\.txt: 'happy' is not a number"),
        ("\n", r"S005_009_00000003_emotion\.txt: 0 lines, one is expected"),
        ("1\n2\n", r"S005_009_00000003_emotion\.txt: 2 lines, one is expected"),
    ],
)
def test_malformed_emotion(tmp_path, content, error):
    root = tree(tmp_path / "ck")
    sequence(root, "S005", "009")
    label(root, "S005", "009", content)
    with pytest.raises(UserError, match=error):
        ingested("ckplus", root, tmp_path)


def test_two_emotions_of_a_sequence(tmp_path):
    root = tree(tmp_path / "ck")
    label(root, "S005", "001", "   2.0000000e+00\n", last=4)
    with pytest.raises(UserError, match=r"S005_001_00000004_emotion\.txt: two emotions of one seq"):
        ingested("ckplus", root, tmp_path)


def test_wrong_root(tmp_path):
    root = tree(tmp_path / "all/ck")
    with pytest.raises(UserError, match=r"ckplus: no folder cohn-kanade-images .*; set dataset\."):
        ingested("ckplus", tmp_path / "all", tmp_path)
    (root / "Emotion").rename(tmp_path / "Emotion")
    with pytest.raises(UserError, match="ckplus: no folder Emotion beside cohn-kanade-images"):
        ingested("ckplus", root, tmp_path)
    (root / "Emotion").mkdir()
    with pytest.raises(UserError, match="ckplus: no file Emotion/S005/001/S005_001_00000011_em"):
        ingested("ckplus", root, tmp_path)
