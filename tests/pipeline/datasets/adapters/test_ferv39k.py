"""FERV39k: two lists of one place, class and number a clip; crops, and whole images beside."""

from __future__ import annotations

import pytest

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.datasets.adapters.ferv39k import CLASSES, CROPS, SCENES
from helpers.dataset_trees import by_path, ingested, make_images, sides, text

TEST = [f"Action/{name}/{number:04d}" for name in CLASSES for number in range(1)]
TRAIN = [f"War/{name}/{number:04d}" for name in CLASSES for number in range(2)]


def lists(root, train=TRAIN, test=TEST, place="4_setups/All_scenes"):
    for side, clips in (("train", train), ("test", test)):
        lines = "".join(f"{clip} {clip.split('/')[1]}\n" for clip in clips)
        text(root / place / f"{side}_All.csv", lines)
    return root


def clips(root, names=(*TRAIN, *TEST), form=CROPS, frames=6):
    for name in names:
        make_images(root / form / name, range(frames), "{:02d}.jpg")
    return root


def test_official_parts(tmp_path):
    root = clips(lists(tmp_path / "ferv39k"))
    clips(root, ["War/Sad/0007"])
    make_images(root / CROPS / "War", [1], "notes{}.jpg")
    text(root / "4_setups/22_scenes/test_Action.csv", "")
    manifest = ingested("ferv39k", root, tmp_path)
    assert manifest.classes == [
        "happiness",
        "sadness",
        "neutral",
        "anger",
        "surprise",
        "disgust",
        "fear",
    ]
    assert len(manifest.clips) == 21
    clip = by_path(manifest)[f"{CROPS}/Action/Angry/0000"]
    assert (clip.label, clip.split, clip.subject, clip.faces) == ("anger", "test", None, "detect")
    assert (clip.image_sequence, clip.frames, clip.first_image) == (True, 6, None)
    (split,) = sides(tmp_path).values()
    assert {name for name, side in split.items() if side == "test"} == {
        f"{CROPS}/{name}" for name in TEST
    }
    assert set(split.values()) == {"train", "val", "test"}
    assert manifest.notes["left_out"] == {"in neither official list": 1}
    assert manifest.notes["unused_files"]["first"] == [
        f"{CROPS}/War/notes1.jpg",
        "4_setups/22_scenes/test_Action.csv",
    ]
    assert manifest.notes["protocol"]["metric"] == "war"


def test_whole_images_or_crops(tmp_path):
    """Each clip in the form that is wanted; in the other where that one lacks it."""
    root = clips(lists(tmp_path / "ferv39k"), [*TRAIN, *TEST[1:]])
    clips(root, [*TRAIN[1:], *TEST], SCENES, frames=9)
    whole = by_path(ingested("ferv39k", root, tmp_path))
    assert whole[f"{SCENES}/{TEST[0]}"].faces == "detect"
    assert whole[f"{CROPS}/{TRAIN[0]}"].faces == "detect"
    crops = by_path(ingested("ferv39k", root, tmp_path, faces="aligned", image_fps=30.0))
    assert (crops[f"{CROPS}/{TEST[1]}"].faces, crops[f"{CROPS}/{TEST[1]}"].fps) == ("aligned", 30.0)
    assert crops[f"{SCENES}/{TEST[0]}"].faces == "detect"
    assert len(whole) == len(crops) == 21


def test_as_archives_unpack(tmp_path):
    """Lists in a folder of their own, crops in one of their own name twice."""
    root = lists(tmp_path / "ferv39k", place="FERV39k/4_setups/All_scenes")
    clips(root, form=f"{CROPS}/{CROPS}")
    manifest = ingested("ferv39k", root, tmp_path)
    assert f"{CROPS}/{CROPS}/{TEST[0]}" in by_path(manifest)
    assert manifest.notes["unused_files"] == {"count": 0, "first": []}


def test_a_listed_clip_without_images_is_quarantined(tmp_path):
    root = clips(lists(tmp_path / "ferv39k"), [*TRAIN, *TEST[:-1]])
    clip = by_path(ingested("ferv39k", root, tmp_path))[f"{CROPS}/{TEST[-1]}"]
    assert (clip.status, clip.reason, clip.split) == ("quarantined", "file not found", "test")


@pytest.mark.parametrize(
    ("test", "message"),
    [
        ("Action/Happy/0000 happy", r"line 1 of test_All\.csv: unknown class 'happy'; known: Hap"),
        ("Action/Happy/0000 0", r"line 1 of test_All\.csv: unknown class '0'"),
        ("Action/Happy/0000", r"line 1 of test_All\.csv: 1 fields, 2 expected"),
        (
            "War/Happy/0000 Happy",
            r"line 1 of test_All\.csv: War/Happy/0000 is in line 1 of train_All\.csv too",
        ),
        (
            "Action/Sad/0000 Sad\nAction/Sad/0000 Sad",
            r"line 2 of test_All\.csv: Action/Sad/0000 is in line 1 of test_All\.csv too",
        ),
        ("../../etc/0000 Sad", r"path '2_ClipsforFaceCrop/\.\./\.\./etc/0000' must be relative"),
    ],
)
def test_lists_that_cannot_be_right(tmp_path, test, message):
    root = clips(lists(tmp_path / "ferv39k"), TRAIN)
    text(root / "4_setups/All_scenes/test_All.csv", test)
    with pytest.raises(UserError, match=message):
        ingested("ferv39k", root, tmp_path)


def test_what_is_missing_is_named(tmp_path):
    root = lists(tmp_path / "ferv39k")
    with pytest.raises(UserError, match=f"ferv39k: no {CROPS}/<scene>/<class>/<clip> in "):
        ingested("ferv39k", root, tmp_path)
    clips(root, TRAIN)
    (root / "4_setups/All_scenes/test_All.csv").unlink()
    with pytest.raises(UserError, match=r"ferv39k: no 4_setups/All_scenes/test_All\.csv in "):
        ingested("ferv39k", root, tmp_path)


def test_wrong_root(tmp_path):
    root = clips(lists(tmp_path / "ferv39k"), TRAIN)
    with pytest.raises(
        UserError, match=r"ferv39k: no 4_setups.*; set dataset\.root to .*/ferv39k$"
    ):
        ingested("ferv39k", root / CROPS, tmp_path)
