"""Where a relative root is found."""

from __future__ import annotations

import pytest

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.datasets.root import resolve_root


@pytest.fixture
def repository(tmp_path, monkeypatch):
    (tmp_path / "videos").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_relative_absolute_and_home(repository, monkeypatch):
    monkeypatch.setenv("HOME", str(repository))
    for name in ("videos", str(repository / "videos"), "~/videos"):
        assert resolve_root(name) == repository / "videos"


@pytest.mark.parametrize("workspace", ["standalone/tmpa1", "tmpa1"])
def test_experiment_uses_the_folder_of_the_repository(repository, monkeypatch, workspace):
    inner = repository / ".dvc" / "tmp" / "exps" / workspace
    inner.mkdir(parents=True)
    monkeypatch.chdir(inner)
    assert resolve_root("videos") == repository / "videos"


def test_experiment_prefers_its_own_folder(repository, monkeypatch):
    inner = repository / ".dvc" / "tmp" / "exps" / "standalone" / "tmpa1"
    (inner / "videos").mkdir(parents=True)
    monkeypatch.chdir(inner)
    assert resolve_root("videos") == inner / "videos"


def test_project_in_a_folder_of_the_repository(repository, monkeypatch):
    (repository / "project" / "clips").mkdir(parents=True)
    inner = repository / ".dvc" / "tmp" / "exps" / "standalone" / "tmpa1" / "project"
    inner.mkdir(parents=True)
    monkeypatch.chdir(inner)
    assert resolve_root("clips") == repository / "project" / "clips"


def test_absent(repository):
    with pytest.raises(UserError, match=r"dataset\.root: 'nowhere' does not exist"):
        resolve_root("nowhere")


def test_file(repository):
    (repository / "file").write_text("")
    with pytest.raises(UserError, match="'file' is a file"):
        resolve_root("file")
