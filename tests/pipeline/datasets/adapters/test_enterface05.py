"""eNTERFACE'05: folders carry subject and class, names are not to be trusted."""

from __future__ import annotations

import pytest

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.datasets.adapters.enterface05 import CODES, fold_of
from helpers.dataset_trees import by_path, ingested, sides, text, video


def tree(root, sentences=("sentence 1/", "sentence 2/"), space=" "):
    """Subjects of all folds, two of the first; 6 is uncut, and names of subject 11 say 12."""
    for number in (1, 3, 6, 11, 20, 29, 38):
        for name, code in CODES.items():
            folder = root / f"subject{space}{number}" / name
            if number == 6:
                video(folder / f"s6_{code}.avi")
                continue
            said = 12 if number == 11 else number
            for take, sentence in enumerate(sentences, 1):
                video(folder / f"{sentence}s{said}_{code}_{take}.avi")
    text(root / f"subject{space}1/anger/Thumbs.db", "x")
    return root


def test_five_folds_of_subjects(tmp_path):
    manifest = ingested("enterface05", tree(tmp_path / "db"), tmp_path)
    assert manifest.classes == ["anger", "disgust", "fear", "happiness", "sadness", "surprise"]
    assert len(manifest.clips) == 6 * 6 * 2
    clip = by_path(manifest)["subject 3/sadness/sentence 2/s3_sa_2.avi"]
    assert (clip.label, clip.subject, clip.group) == ("sadness", "s3", None)
    folds = sides(tmp_path)
    assert len(folds) == 5
    for split in folds.values():
        of = {side: set() for side in ("train", "val", "test")}
        for name, side in split.items():
            of[side].add(name.split("/")[0])
        assert not of["test"] & (of["train"] | of["val"])
    assert manifest.notes["protocol"]["metric"] == "war"
    assert "1-5 and 7-10, 11-19" in manifest.notes["protocol"]["words"]


def test_the_folds_of_the_public_list(tmp_path):
    manifest = ingested("enterface05", tree(tmp_path / "db"), tmp_path)
    of = {clip.subject: clip.fold for clip in manifest.clips}
    assert of == {"s1": 0, "s3": 0, "s11": 1, "s20": 2, "s29": 3, "s38": 4}
    tested = [
        {name.split("/")[0] for name, side in split.items() if side == "test"}
        for split in sides(tmp_path).values()
    ]
    others = [{f"subject {number}"} for number in (11, 20, 29, 38)]
    assert tested == [{"subject 1", "subject 3"}, *others]
    blocks = ([*range(1, 6), *range(7, 11)], range(11, 20), range(20, 29), range(29, 38))
    for fold, block in enumerate([*blocks, range(38, 45)]):
        assert {fold_of(number) for number in block} == {fold}


def test_subjects_of_one_fold_are_divided_anew(tmp_path):
    root = tmp_path / "db"
    for number in (1, 2, 3, 4, 5):
        for name, code in CODES.items():
            video(root / f"subject {number}/{name}/sentence 1/s{number}_{code}_1.avi")
    manifest = ingested("enterface05", root, tmp_path)
    assert {clip.fold for clip in manifest.clips} == {None}
    assert len(sides(tmp_path)) == 5


def test_uncut_sessions_are_counted_not_used(tmp_path):
    manifest = ingested("enterface05", tree(tmp_path / "db"), tmp_path)
    left = {"recordings of a whole session, not cut into sentences": 6}
    assert manifest.notes["left_out"] == left
    assert manifest.notes["unused_files"]["first"] == ["subject 1/anger/Thumbs.db"]


def test_folders_are_believed_before_names(tmp_path):
    root = tree(tmp_path / "db")
    video(root / "subject 3/fear/sentence 3/s3_ha_3.avi")
    video(root / "subject 3/fear/sentence 4/s_3_fe_4avi.avi")
    manifest = ingested("enterface05", root, tmp_path)
    clips = by_path(manifest)
    assert clips["subject 11/fear/sentence 1/s12_fe_1.avi"].subject == "s11"
    assert clips["subject 3/fear/sentence 3/s3_ha_3.avi"].label == "fear"
    said = manifest.notes["remarks"]
    assert sum("12 clips with another subject in the name" in remark for remark in said) == 1
    assert sum("1 clip with another class in the name" in remark for remark in said) == 1


@pytest.mark.parametrize("space", ["-", "_"])
def test_copies_without_blanks_or_sentence_folders(tmp_path, space):
    root = tree(tmp_path / "db", sentences=("", ""), space=space)
    manifest = ingested("enterface05", root, tmp_path)
    assert len(manifest.clips) == 6 * 6 * 2
    assert len(manifest.notes["left_out"]) == 1


def test_deeper_folders(tmp_path):
    root = tree(tmp_path / "db")
    video(root / "subject 1/anger/sentence 1/again/s1_an_1b.avi")
    assert len(ingested("enterface05", root, tmp_path).clips) == 6 * 6 * 2 + 1


def test_unknown_class(tmp_path):
    root = tree(tmp_path / "db")
    video(root / "subject 20/neutral/sentence 1/s20_ne_1.avi")
    with pytest.raises(UserError, match=r"subject 20/neutral: unknown class 'neutral'; known: an"):
        ingested("enterface05", root, tmp_path)


def test_wrong_root(tmp_path):
    tree(tmp_path / "all/enterface database")
    with pytest.raises(UserError, match=r"no video below subject 1/.* found enterface data.*set"):
        ingested("enterface05", tmp_path / "all", tmp_path)
