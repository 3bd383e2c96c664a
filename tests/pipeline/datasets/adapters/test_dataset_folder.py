"""Folders as labels."""

from __future__ import annotations

from pathlib import Path

import pytest

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.common.params import DatasetParams
from arpgnet.pipeline.datasets.adapters.folder import list_clips
from arpgnet.pipeline.datasets.base import Listing, Wanted
from arpgnet.pipeline.datasets.corpora import corpora


def listing(root: Path, *files: str) -> Listing:
    for name in files:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")
    return list_clips(Wanted(root))


def test_classes(tmp_path):
    found = listing(
        tmp_path, "joy/b.MP4", "joy/a.webm", "fear/a.avi", "joy/.hidden.mp4", ".git/a.mp4"
    )
    assert [(clip.path, clip.label, clip.split) for clip in found.clips] == [
        ("fear/a.avi", "fear", None),
        ("joy/a.webm", "joy", None),
        ("joy/b.MP4", "joy", None),
    ]
    assert found.unused == []


def test_splits(tmp_path):
    found = listing(tmp_path, "Train/joy/a.mp4", "valid/joy/a.mp4", "TEST/fear/b.mp4", "LICENSE")
    assert {(clip.path, clip.label, clip.split) for clip in found.clips} == {
        ("Train/joy/a.mp4", "joy", "train"),
        ("valid/joy/a.mp4", "joy", "val"),
        ("TEST/fear/b.mp4", "fear", "test"),
    }
    assert found.unused == ["LICENSE"]


def test_what_is_not_used_is_named(tmp_path):
    found = listing(tmp_path, "joy/a.mp4", "joy/a.txt", "joy/deeper/c.mp4", "top.mp4")
    assert [clip.path for clip in found.clips] == ["joy/a.mp4"]
    assert found.unused == ["joy/a.txt", "joy/deeper/c.mp4", "top.mp4"]


def test_split_and_class_folders_mixed(tmp_path):
    with pytest.raises(UserError, match="'train' looks like a split and 'joy' like a class"):
        listing(tmp_path, "train/joy/a.mp4", "joy/a.mp4")


def test_no_video(tmp_path):
    with pytest.raises(UserError, match="no video at <class>/<clip>"):
        listing(tmp_path, "a.mp4", "joy/a.txt")
    with pytest.raises(UserError, match="no video at <class>/<clip>") as refused:
        corpora(DatasetParams(name="folder", root=str(tmp_path)))[0].listing()
    assert str(refused.value).count(str(tmp_path)) == 1
    assert str(refused.value).count("<split>/<class>") == 1


def test_link_out_of_the_root(tmp_path):
    (tmp_path / "outside.mp4").write_bytes(b"x")
    root = tmp_path / "root"
    (root / "joy").mkdir(parents=True)
    (root / "joy" / "a.mp4").symlink_to(tmp_path / "outside.mp4")
    with pytest.raises(UserError, match="out of the data set's root"):
        corpora(DatasetParams(name="folder", root=str(root)))[0].listing()
