"""Files of DVC that a killed run left half written are found and deleted."""

from __future__ import annotations

from pathlib import Path

import pytest
from dvc.dvcfile import Lockfile
from dvc.exceptions import DvcException
from dvc.repo import Repo
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from arpgnet.pipeline.cli.dvc_files import damaged, remove_damaged
from helpers.in_process import arpgnet

ENTRY = """  {stage}:
    cmd: python -m arpgnet.stages.{stage}
    deps:
    - path: data/manifest.parquet
      hash: md5
      md5: a5e1b2c3d4e5f60718293a4b5c6d7e8f
      size: 65536
    params:
      params.yaml:
        sample.fps: 10
"""
WHOLE = "schema: '2.0'\nstages:\n" + "".join(ENTRY.format(stage=s) for s in ("decode", "align"))


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Repo:
    return Repo.init(str(tmp_path_factory.mktemp("project")), no_scm=True)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(length=st.integers(0, len(WHOLE)))
def test_a_lock_is_damaged_where_dvc_refuses_it(repository: Repo, length: int) -> None:
    lock = Path(repository.root_dir) / "dvc.lock"
    lock.write_text(WHOLE[:length], encoding="utf-8")
    try:
        Lockfile(repository, str(lock)).load()
        refused = False
    except DvcException:
        refused = True
    assert damaged(Path(repository.root_dir)) == ([Path("dvc.lock")] if refused else [])


@pytest.mark.parametrize("content", ["", '{"write": {"/data": '])
def test_a_lock_of_accesses_is_deleted(tmp_path: Path, content: str) -> None:
    lock = tmp_path / ".dvc/tmp/rwlock"
    lock.parent.mkdir(parents=True)
    lock.write_text('{"write": {}, "read": {}}')
    assert remove_damaged(tmp_path) == []
    lock.write_text(content)
    assert remove_damaged(tmp_path) == [Path(".dvc/tmp/rwlock")]
    assert not lock.exists()


def test_doctor_finds_and_repairs(tmp_path: Path) -> None:
    (tmp_path / "dvc.lock").write_text("")
    assert "dvc.lock" in arpgnet("doctor", folder=tmp_path).stdout
    done = arpgnet("doctor", "--repair", folder=tmp_path)
    assert done.stdout.startswith("deleted dvc.lock")
    assert done.returncode == 0
    assert arpgnet("doctor", "--repair", folder=tmp_path).stdout == ""
