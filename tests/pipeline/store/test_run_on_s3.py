"""Stages whose store is on S3: the bytes of a local run, whatever the server does meanwhile."""

import re
import shutil
from pathlib import Path

import pytest

from arpgnet.pipeline.demo import render_dataset
from helpers.s3_server import Remote
from helpers.support import TINY, Workspace

CLIPS = 8
STAGES = ("ingest", "decode", "align")
# not "stall": a request costs seconds then; one stalls in any case
BY_CHANCE = ("500", "503", "drop", "half", "lose", "garble")

# a minute
pytestmark = pytest.mark.slow


@pytest.fixture
def settings(tmp_path: Path) -> dict[str, object]:
    """Rendered clips in two classes that mean nothing."""
    folder = tmp_path / "videos"
    render_dataset(folder, subjects=2, clips_per_class=1, frame_px=192, fps=4, seed=0, workers=1)
    names = [path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*.mp4"))]
    lines = ["path,label", *(f"{name},{'ab'[n % 2]}" for n, name in enumerate(names[:CLIPS]))]
    (folder / "clips.csv").write_text("\n".join(lines) + "\n")
    return {
        **TINY,
        "dataset.name": "csv",
        "dataset.root": str(folder),
        "dataset.manifest": str(folder / "clips.csv"),
        "dataset.group_by": "clip",
        "engine.workers": 2,
    }


def run(workspace: Workspace, *stages: str) -> list[str]:
    """What the stages say."""
    said = []
    for stage in stages:
        done = workspace.stage(stage)
        assert done.returncode == 0, done.stderr
        said.append(done.stdout)
    return said


def written(remote: Remote, namespace: str) -> list[str]:
    """The keys of a namespace that were sent, each as often as it was."""
    names = [path for method, path in remote.server.requests if method == "PUT"]
    return [name for name in names if f"/{namespace}/" in name and ".table" in name]


def test_a_run_on_a_failing_server_is_the_run_in_a_folder(
    settings: dict[str, object], remote: Remote, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = remote.server
    with monkeypatch.context() as calm:
        calm.setenv("ARPGNET_STORE", str(tmp_path / "store"))
        local = Workspace(tmp_path / "local", settings)
        run(local, *STAGES)
    workspace = Workspace(tmp_path / "project", settings)

    # access is withdrawn after two clips: one line, and finished results are cached
    run(workspace, "ingest")
    server.fail("403", "PUT", "/decode/", after=2)
    done = workspace.stage("decode")
    assert done.returncode == 1
    # on a busy machine progress is told besides
    (line,) = (one for one in done.stderr.splitlines() if not re.match(r"decode: \d+/", one))
    assert f"error: {remote.store.root}/decode/" in line
    assert "cannot write it" in line
    assert "set credentials" in line
    finished = [name for name in remote.objects() if name.startswith("decode/")]
    assert len(finished) == 2
    server.heal()

    # one that fails now and then
    server.requests.clear()
    server.fail("stall", "GET", "decode/", times=1)
    server.fail("lose", "PUT", "align/", times=1)
    server.fail_by_chance(0.1, 0, BY_CHANCE)
    run(workspace, "decode", "align")
    assert workspace.outputs() == local.outputs()
    sent = written(remote, "decode")
    assert not [name for key in finished for name in sent if key in name], "computed again"
    assert len(set(sent)) == CLIPS - 2

    # what is there is computed no more
    server.heal()
    server.requests.clear()
    shutil.rmtree(workspace.root / "data/frames")
    shutil.rmtree(workspace.root / "data/faces")
    for said in run(workspace, "decode", "align"):
        assert f"0 computed, {CLIPS} reused, 0 quarantined" in said
    assert written(remote, "decode") == written(remote, "align") == []
    assert workspace.outputs() == local.outputs()

    # the same entries, byte for byte
    entries = (path for path in (tmp_path / "store").glob("*/*/*.*") if path.is_file())
    assert remote.objects() == {
        path.relative_to(tmp_path / "store").as_posix(): path.read_bytes() for path in entries
    }
