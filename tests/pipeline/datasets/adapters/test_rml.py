"""RML: names carry the class, folders the speaker, languages a level of their own."""

from __future__ import annotations

import pytest

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.datasets.adapters.rml import CLASSES
from helpers.dataset_trees import by_path, ingested, sides, text, video


def tree(root):
    """Eight speakers; s1 speaks two languages; s6 to s8 lie in the second archive."""
    for number in range(1, 9):
        part = "rml-1" if number < 6 else "rml-2"
        languages = ("English", "Mandarin") if number == 1 else ("",)
        for language in languages:
            for code in CLASSES:
                video(root / part / f"s{number}" / language / f"{code}1.avi")
    text(root / "readme.txt", "about")
    return root


def test_leave_one_speaker_out(tmp_path):
    manifest = ingested("rml", tree(tmp_path / "rml"), tmp_path)
    assert manifest.classes == ["anger", "disgust", "fear", "happiness", "sadness", "surprise"]
    assert len(manifest.clips) == 9 * 6
    clip = by_path(manifest)["rml-1/s1/Mandarin/sa1.avi"]
    assert (clip.label, clip.subject) == ("sadness", "s1")
    folds = sides(tmp_path)
    assert len(folds) == 8
    for split in folds.values():
        tested = {name.split("/")[1] for name, side in split.items() if side == "test"}
        assert len(tested) == 1
    assert manifest.notes["protocol"]["metric"] == "war"
    assert manifest.notes["unused_files"] == {"count": 1, "first": ["readme.txt"]}


def test_one_archive_or_none(tmp_path):
    for number in (1, 2, 3):
        for code in CLASSES:
            video(tmp_path / f"rml/s{number}/{code}1.avi")
    assert len(ingested("rml", tmp_path / "rml", tmp_path).clips) == 18


def test_unknown_class(tmp_path):
    root = tree(tmp_path / "rml")
    video(root / "rml-1/s2/ne1.avi")
    with pytest.raises(UserError, match=r"rml-1/s2/ne1\.avi: unknown class 'ne'; known: an"):
        ingested("rml", root, tmp_path)


def test_wrong_root(tmp_path):
    tree(tmp_path / "all/rml")
    with pytest.raises(UserError, match=r"rml: no video below rml-1/s1 .* found rml/; set "):
        ingested("rml", tmp_path / "all", tmp_path)
