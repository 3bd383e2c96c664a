"""SAVEE: letters of the name are the class, folders the speaker."""

from __future__ import annotations

import pytest

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.datasets.adapters.savee import CLASSES, SPEAKERS
from helpers.dataset_trees import by_path, ingested, sides, text, video


def tree(root, below="AudioVisualClip"):
    """Four speakers, two sentences a class, and recordings without images."""
    for speaker in SPEAKERS:
        for code in CLASSES:
            for number in (1, 2):
                video(root / below / speaker / f"{code}{number}.avi")
        text(root / "AudioData" / speaker / "a01.wav", "sound")
    return root


def test_leave_one_speaker_out(tmp_path):
    manifest = ingested("savee", tree(tmp_path / "savee"), tmp_path)
    assert manifest.classes == [
        *("anger", "disgust", "fear", "happiness", "neutral", "sadness", "surprise"),
    ]
    assert len(manifest.clips) == 4 * 7 * 2
    clips = by_path(manifest)
    for name, label in {
        "a1": "anger",
        "sa2": "sadness",
        "su1": "surprise",
        "n2": "neutral",
    }.items():
        clip = clips[f"AudioVisualClip/JK/{name}.avi"]
        assert (clip.label, clip.subject, clip.group) == (label, "JK", None)
    folds = sides(tmp_path)
    assert len(folds) == 4
    for split in folds.values():
        assert len({name.split("/")[1] for name, side in split.items() if side == "test"}) == 1
    assert manifest.notes["protocol"]["metric"] == "war"


def test_recordings_without_images_are_unused_files(tmp_path):
    notes = ingested("savee", tree(tmp_path / "savee"), tmp_path).notes
    assert notes["unused_files"]["count"] == 4
    assert notes["unused_files"]["first"][0] == "AudioData/DC/a01.wav"


@pytest.mark.parametrize("below", ["", "audiovisualclip", "AudioVisualClip/AudioVisualClip"])
def test_other_places_of_the_speakers(tmp_path, below):
    assert len(ingested("savee", tree(tmp_path / "savee", below), tmp_path).clips) == 56


def test_unknown_class(tmp_path):
    root = tree(tmp_path / "savee")
    video(root / "AudioVisualClip/DC/s1.avi")
    with pytest.raises(UserError, match=r"Clip/DC/s1\.avi: unknown class 's'; known: a \(anger\)"):
        ingested("savee", root, tmp_path)


def test_wrong_root(tmp_path):
    tree(tmp_path / "all/savee")
    with pytest.raises(UserError, match=r"savee: no video below AudioVisualClip/DC, .*; set "):
        ingested("savee", tmp_path / "all", tmp_path)
