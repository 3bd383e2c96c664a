"""`data/stills.json`: what tells DVC that the stills of fine-tuning are others than before."""

import json
import os
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.common.params import FinetuneParams, PretrainParams
from arpgnet.pipeline.stills import listed
from arpgnet.pipeline.stills.folder import list_folder
from arpgnet.pipeline.stills.listed import is_listed, unlabeled_digest, write_stills_list


@pytest.fixture
def stills(tmp_path: Path) -> Path:
    root = tmp_path / "stills"
    rng = np.random.default_rng(0)
    for label in ("happy", "sad"):
        (root / label / "ann").mkdir(parents=True)
        for number in range(3):
            image = rng.integers(0, 255, (32, 32, 3), np.uint8)
            cv2.imwrite(str(root / label / "ann" / f"{number}.png"), image)
    return root


def written(root: Path, path: Path) -> str:
    params = FinetuneParams(enabled=True, dataset="folder", root=str(root))
    write_stills_list(params, 2, path)
    return path.read_text()


def test_switched_off_nothing_is_looked_at(tmp_path: Path) -> None:
    path = tmp_path / "data/stills.json"
    write_stills_list(FinetuneParams(dataset="folder", root="/nowhere"), 1, path)
    assert json.loads(path.read_text()) == {"enabled": False}


def test_notices_what_changes_a_still_and_nothing_else(stills: Path, tmp_path: Path) -> None:
    path = tmp_path / "stills.json"
    before = written(stills, path)
    assert written(stills, path) == before
    # neither where the folder lies nor when a file was written
    moved = stills.rename(tmp_path / "moved")
    one = moved / "happy/ann/0.png"
    os.utime(one, (1, 1))
    assert written(moved, path) == before

    first = one.read_bytes()
    one.write_bytes((moved / "sad/ann/0.png").read_bytes())
    replaced = written(moved, path)
    one.write_bytes(first)
    assert written(moved, path) == before
    one.rename(moved / "sad/ann/3.png")
    relabeled = written(moved, path)
    (moved / "sad/ann/3.png").unlink()
    removed = written(moved, path)
    assert len({before, replaced, relabeled, removed}) == 4


def test_unchanged_files_are_not_read_again(
    stills: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from arpgnet.pipeline.datasets import file_cache

    read: list[str] = []
    original = file_cache.file_sha256
    monkeypatch.setattr(
        file_cache, "file_sha256", lambda path: read.append(path.name) or original(path)
    )
    before = written(stills, tmp_path / "stills.json")
    assert len(read) == 6
    assert written(stills, tmp_path / "stills.json") == before
    assert len(read) == 6
    (stills / "sad/ann/1.png").write_bytes(b"another")
    assert written(stills, tmp_path / "stills.json") != before
    assert read[6:] == ["1.png"]


def test_rendered_stills_are_told_by_their_settings_and_the_renderer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They need not be rendered for it."""
    from arpgnet.pipeline.stills import demo

    found = []
    for subjects, code in ((4, "a"), (5, "a"), (4, "b")):
        monkeypatch.setattr(demo, "code_version", lambda *_, code=code: code)
        params = FinetuneParams(enabled=True, dataset="demo", subjects=subjects)
        found.append(listed.stills_digest(params, 1))
    assert len(set(found)) == 3


def test_absent_stills_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"finetune\.root"):
        written(tmp_path / "nowhere", tmp_path / "stills.json")


@pytest.mark.skipif(sys.platform == "darwin", reason="its files have UTF-8 names")
def test_names_that_are_not_utf8_are_left_out_and_counted(stills: Path, tmp_path: Path) -> None:
    for folder in ("happy/ann", os.fsdecode(b"d\xe9go\xfbt")):
        (stills / folder).mkdir(exist_ok=True)
        name = os.fsdecode(b"caf\xe9.png")
        (stills / folder / name).write_bytes((stills / "sad/ann/0.png").read_bytes())
    found = list_folder(stills)
    assert (len(found.stills), found.classes) == (6, ["happy", "sad"])
    assert found.left_out == {"of a name that is not UTF-8": 2}
    # neither does a folder around all of them matter
    written(stills.rename(tmp_path / os.fsdecode(b"\xe9")), tmp_path / "stills.json")


def test_folders_without_labels_are_listed_beside(stills: Path, tmp_path: Path) -> None:
    path, off = tmp_path / "stills.json", FinetuneParams()
    used = PretrainParams(enabled=True, stills=[str(stills)])
    write_stills_list(off, 1, path, pretrain=PretrainParams(stills=["/nowhere"]))
    assert json.loads(path.read_text()) == {"enabled": False}
    assert not is_listed(off, path, pretrain=used)
    write_stills_list(off, 1, path, pretrain=used)
    before = path.read_text()
    assert is_listed(off, path, pretrain=used)
    assert not is_listed(FinetuneParams(enabled=True), path, pretrain=used)
    (stills / "sad/ann/deep").mkdir()
    (stills / "happy/ann/0.png").rename(stills / "sad/ann/deep/0.png")
    write_stills_list(off, 1, path, pretrain=used)
    moved = path.read_text()
    (stills / "sad/ann/deep/0.png").write_bytes(b"another")
    write_stills_list(off, 1, path, pretrain=used)
    assert len({before, moved, path.read_text()}) == 3
    # the rendered ones are told by their number, without rendering any
    few, many = (PretrainParams(enabled=True, stills=["demo"], subjects=n) for n in (4, 5))
    assert unlabeled_digest(few, 1) != unlabeled_digest(many, 1)
