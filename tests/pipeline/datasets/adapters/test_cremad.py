"""CREMA-D: names carry actor, sentence, intended emotion and level."""

from __future__ import annotations

import shutil

import pytest

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.datasets.adapters.cremad import CLASSES
from helpers.dataset_trees import by_path, ingested, sides, text, video

ORDER = ["anger", "disgust", "fear", "happiness", "neutral", "sadness"]


def flash(path):
    """The tests' codec is not one of Flash: what tells a format is a file's bytes."""
    return video(path.with_suffix(".mp4")).rename(path)


def tree(root, actors=("1001", "1002", "1019", "1091"), ending=".flv"):
    """Actors of the folds 0, 0, 1 and 4."""
    make = flash if ending == ".flv" else video
    for actor in actors:
        for code in CLASSES:
            make(root / f"VideoFlash/{actor}_DFA_{code}_XX{ending}")
    return root


def test_folds_are_blocks_of_eighteen_actors(tmp_path):
    root = tree(tmp_path / "crema")
    flash(root / "VideoFlash/1001_IEO_ANG_HI.flv")
    manifest = ingested("cremad", root, tmp_path)
    assert manifest.classes == ORDER
    clips = by_path(manifest)
    assert len(clips) == 4 * 6 + 1
    assert {(clip.subject, clip.fold) for clip in manifest.clips} == {
        ("1001", 0),
        ("1002", 0),
        ("1019", 1),
        ("1091", 4),
    }
    high = clips["VideoFlash/1001_IEO_ANG_HI.flv"]
    assert (high.label, high.group) == ("anger", None)
    assert clips["VideoFlash/1019_DFA_NEU_XX.flv"].label == "neutral"
    tested = [
        {name.split("/")[1][:4] for name, side in split.items() if side == "test"}
        for split in sides(tmp_path).values()
    ]
    assert tested == [{"1001", "1002"}, {"1019"}, {"1091"}]
    assert manifest.notes["protocol"]["metric"] == "war"


def test_folds_are_made_of_actors_of_one_block(tmp_path):
    root = tree(tmp_path / "crema", [f"10{number:02}" for number in range(1, 7)])
    manifest = ingested("cremad", root, tmp_path)
    assert {clip.fold for clip in manifest.clips} == {None}
    assert len(sides(tmp_path)) == 5


def test_one_of_a_clip_and_its_conversion(tmp_path):
    root = tree(tmp_path / "crema")
    shutil.copytree(root / "VideoFlash", root / "MP4")
    for path in (root / "MP4").iterdir():
        path.rename(path.with_suffix(".mp4"))
    video(root / "MP4/1002_TIE_SAD_X.mp4")
    manifest = ingested("cremad", root, tmp_path)
    assert manifest.notes["left_out"] == {"another file of the same clip": 24}
    converted = [clip.path for clip in manifest.clips if clip.path.endswith(".mp4")]
    assert converted == ["MP4/1002_TIE_SAD_X.mp4"]
    assert manifest.notes["unused_files"]["count"] == 0


def test_conversions_alone_and_flat(tmp_path):
    tree(tmp_path / "flat/x", ending=".mp4")
    root = (tmp_path / "flat/x/VideoFlash").rename(tmp_path / "mp4s")
    assert len(ingested("cremad", root, tmp_path).clips) == 24


def test_sound_and_votes_are_unused(tmp_path):
    root = tree(tmp_path / "crema")
    text(root / "AudioWAV/1001_DFA_ANG_XX.wav", "sound")
    text(root / "processedResults/summaryTable.csv", "votes")
    flash(root / "VideoFlash/trailer.flv")
    unused = ingested("cremad", root, tmp_path).notes["unused_files"]
    assert unused["first"] == [
        "AudioWAV/1001_DFA_ANG_XX.wav",
        "VideoFlash/trailer.flv",
        "processedResults/summaryTable.csv",
    ]


def test_files_that_were_not_fetched_are_quarantined(tmp_path):
    """What a clone without git lfs leaves."""
    root = tree(tmp_path / "crema")
    text(root / "VideoFlash/1002_DFA_ANG_XX.flv", "version https://git-lfs.github.com/spec/v1\n")
    manifest = ingested("cremad", root, tmp_path)
    bad = by_path(manifest)["VideoFlash/1002_DFA_ANG_XX.flv"]
    assert (bad.status, bad.label) == ("quarantined", "anger")


def test_unknown_emotion(tmp_path):
    root = tree(tmp_path / "crema")
    flash(root / "VideoFlash/1001_DFA_SUR_XX.flv")
    with pytest.raises(UserError, match=r"1001_DFA_SUR_XX\.flv: unknown class 'SUR'; known: ANG"):
        ingested("cremad", root, tmp_path)


def test_wrong_root(tmp_path):
    video(tmp_path / "other/a.mp4")
    tree(tmp_path / "all/crema")
    with pytest.raises(UserError, match=r"cremad: no video named like VideoFlash/1001_DFA_ANG_XX"):
        ingested("cremad", tmp_path / "other", tmp_path)
