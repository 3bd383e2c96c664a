"""RAVDESS: seven codes a name; with and without sound is one performance."""

from __future__ import annotations

import shutil

import pytest

from arpgnet.pipeline.common.errors import UserError
from helpers.dataset_trees import by_path, ingested, sides, text, video

ORDER = ["neutral", "calm", "happiness", "sadness", "anger", "fear", "disgust", "surprise"]


def name(modality, channel, emotion, actor, repetition=1):
    return f"{modality:02}-{channel:02}-{emotion:02}-01-01-{repetition:02}-{actor:02}"


def tree(root, actors=(1, 2, 5, 9), place="Actor_{:02}"):
    """Actors of three folds, speech, with and without sound of the same images."""
    for actor in actors:
        folder = root / place.format(actor)
        for emotion in range(1, 9):
            mute = video(folder / f"{name(2, 1, emotion, actor)}.mp4", frames=8)
            shutil.copy(mute, folder / f"{name(1, 1, emotion, actor)}.mp4")
            text(folder / f"{name(3, 1, emotion, actor)}.wav", "sound")
    return root


def song(root, actors):
    for actor in actors:
        for emotion in range(1, 7):
            video(root / f"Actor_{actor:02}/{name(1, 2, emotion, actor)}.mp4", frames=8)


def test_speech_by_blocks_of_four_actors(tmp_path):
    root = tree(tmp_path / "ravdess")
    song(root, (1, 2))
    text(root / "readme.txt", "about")
    manifest = ingested("ravdess", root, tmp_path)
    assert manifest.classes == ORDER
    assert len(manifest.clips) == 4 * 16
    clip = by_path(manifest)["Actor_02/01-01-08-01-01-01-02.mp4"]
    assert (clip.label, clip.subject, clip.fold) == ("surprise", "actor_02", 0)
    assert clip.trait_values == {"gender": "female"}
    duplicate = by_path(manifest)["Actor_02/02-01-08-01-01-01-02.mp4"]
    assert clip.group == duplicate.group
    assert manifest.notes["left_out"] == {
        "sound without images (03)": 32,
        "song (variant speech)": 12,
    }
    assert manifest.notes["unused_files"] == {"count": 1, "first": ["readme.txt"]}
    tested = [
        {one.split("/")[0] for one, side in split.items() if side == "test"}
        for split in sides(tmp_path).values()
    ]
    assert tested == [{"Actor_01", "Actor_02"}, {"Actor_05"}, {"Actor_09"}]


def test_song_has_fewer_classes(tmp_path):
    root = tree(tmp_path / "ravdess")
    song(root, (1, 2, 5, 9))
    manifest = ingested("ravdess", root, tmp_path, variant="song")
    assert manifest.classes == ORDER[:6]
    assert len(manifest.clips) == 24
    both = ingested("ravdess", root, tmp_path, variant="both")
    assert len(both.clips) == 24 + 64
    # speech and song of one sentence are two performances
    assert len({clip.group for clip in both.clips}) == 24 + 32


def test_each_performance_once(tmp_path):
    root = tree(tmp_path / "ravdess")
    (root / "Actor_05/02-01-03-01-01-01-05.mp4").unlink()
    manifest = ingested("ravdess", root, tmp_path, variant="speech_once")
    assert len(manifest.clips) == 32
    sounding = [clip.path for clip in manifest.clips if "/01-" in clip.path]
    assert sounding == ["Actor_05/01-01-03-01-01-01-05.mp4"]
    reason = "with sound (01), beside the same without (02)"
    assert manifest.notes["left_out"][reason] == 31


def test_pairs_stay_together_without_subjects(tmp_path):
    root = tree(tmp_path / "ravdess")
    ingested("ravdess", root, tmp_path, group_by="clip", protocol="holdout")
    for split in sides(tmp_path).values():
        for one, side in split.items():
            assert split[one.replace("/01-", "/02-")] == side


@pytest.mark.parametrize("place", ["Video_Speech_Actor_{0:02}/Actor_{0:02}", ""])
def test_other_places(tmp_path, place):
    assert len(ingested("ravdess", tree(tmp_path / "r", place=place), tmp_path).clips) == 64


def test_a_second_copy_is_not_a_clip(tmp_path):
    root = tree(tmp_path / "ravdess")
    shutil.copytree(root / "Actor_01", root / "copy/Actor_01")
    manifest = ingested("ravdess", root, tmp_path)
    assert len(manifest.clips) == 64
    assert manifest.notes["left_out"]["a second copy of a file"] == 16


def test_actors_of_one_fold_are_divided_anew(tmp_path):
    root = tree(tmp_path / "ravdess", actors=(1, 2, 3, 4))
    manifest = ingested("ravdess", root, tmp_path, folds=4)
    assert {clip.fold for clip in manifest.clips} == {None}
    assert len(sides(tmp_path)) == 4


def test_unknown_emotion(tmp_path):
    root = tree(tmp_path / "ravdess")
    video(root / "Actor_01/01-01-09-01-01-01-01.mp4")
    with pytest.raises(UserError, match=r"01-01-09-.*: unknown class '09'; known: 01 \(neutral\)"):
        ingested("ravdess", root, tmp_path)


def test_unknown_variant(tmp_path):
    tree(tmp_path / "ravdess")
    with pytest.raises(UserError, match="ravdess has no 'sing'; known: speech, song, both"):
        ingested("ravdess", tmp_path / "ravdess", tmp_path, variant="sing")


def test_wrong_root(tmp_path):
    text(tmp_path / "sound/Actor_01/03-01-01-01-01-01-01.wav", "sound")
    with pytest.raises(UserError, match=r"ravdess: no video named like Actor_01/01-01-03"):
        ingested("ravdess", tmp_path / "sound", tmp_path)


def test_no_song_for_the_variant(tmp_path):
    root = tree(tmp_path / "ravdess")
    with pytest.raises(UserError, match="no song"):
        ingested("ravdess", root, tmp_path, variant="song")
