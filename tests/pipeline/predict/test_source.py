"""Where `arpgnet predict` gets a run from: a published folder, a Git revision."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from arpgnet.pipeline.cli.main import app
from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.predict.model import load_model
from arpgnet.pipeline.predict.source import open_model
from arpgnet.pipeline.publish.sums import write_sums
from arpgnet.pipeline.store import file_sha256
from arpgnet.pipeline.tables.manifest import Clip, write_manifest
from helpers.face_videos import film_of_a_face
from helpers.untrained_run import CLASSES, publish_untrained, write_run


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = write_run(tmp_path_factory.mktemp("workspace"), {"decode": {"frames": 4}})
    # the median training clip has 0.4 s: windows of it slide over the video
    clips = [Clip(f"c{i}", f"c{i}.mp4", "0" * 64, duration_s=0.4) for i in range(3)]
    write_manifest(clips, root / "data/manifest.parquet", classes=CLASSES, dataset="folder")
    return root


@pytest.fixture(scope="module")
def published(workspace: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return publish_untrained(workspace, tmp_path_factory.mktemp("elsewhere") / "given")


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return film_of_a_face(tmp_path_factory.mktemp("video") / "one.mp4", 24)


def table_of(video: Path, out: Path, *arguments: str) -> pd.DataFrame:
    words = ["predict", str(video), "--out", str(out), "--format", "parquet", *arguments]
    done = CliRunner().invoke(app, words, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return pd.read_parquet(out / "one.parquet")


def test_a_published_folder_predicts_what_its_workspace_does(
    workspace: Path, published: Path, video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(workspace)
    expected = table_of(video, tmp_path / "a")
    monkeypatch.chdir(tmp_path)
    moved = shutil.copytree(published, tmp_path / "moved")
    workspace.rename(workspace.with_name("away"))
    try:
        found = table_of(video, tmp_path / "b", "--model", str(moved))
    finally:
        workspace.with_name("away").rename(workspace)
    assert expected["p_anger"].nunique() > 2
    pd.testing.assert_frame_equal(found, expected, check_exact=True)


def alter(folder: Path, name: str) -> None:
    (folder / name).write_bytes((folder / name).read_bytes() + b" ")


def other_pack(folder: Path) -> None:
    path = folder / "predict.json"
    pack = load_model(folder.parent / "workspace").pack
    path.write_text(path.read_text().replace(pack.models["landmark"].sha256, "0" * 64))
    write_sums(folder)


def of_old(folder: Path) -> None:
    (folder / "predict.json").unlink()
    write_sums(folder)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda folder: alter(folder, "model.safetensors"), "model.safetensors has other bytes"),
        (lambda folder: (folder / "params.yaml").unlink(), "params.yaml is absent"),
        (lambda folder: (folder / "SHA256SUMS").unlink(), "SHA256SUMS cannot be read"),
        (other_pack, r"another version of the face pack demo than .*demo \(landmark\)"),
        (of_old, "publish the run again"),
    ],
)
def test_a_folder_that_is_not_as_published_is_one_line(
    workspace: Path,
    published: Path,
    tmp_path: Path,
    change: Callable[[Path], None],
    said: str,
) -> None:
    (tmp_path / "workspace").symlink_to(workspace)
    folder = shutil.copytree(published, tmp_path / "given")
    change(folder)
    with pytest.raises(UserError, match=said) as caught:
        open_model(str(folder))
    assert "\n" not in str(caught.value)


def test_another_run_than_the_published_one(published: Path) -> None:
    with pytest.raises(UserError, match="contains the run fold0-seed0, not fold1-seed0"):
        open_model(str(published), "fold1-seed0")


def test_classes_that_are_not_the_runs_are_one_line(workspace: Path, tmp_path: Path) -> None:
    root = shutil.copytree(workspace, tmp_path / "root")
    write_manifest([], root / "data/manifest.parquet", classes=["joy", "rage"], dataset="folder")
    with pytest.raises(UserError, match=r"anger, happiness, neutral.*has joy, rage") as caught:
        open_model(str(root))
    assert "\n" not in str(caught.value)


DVC_YAML = """
stages:
  finetune: {cmd: "true", outs: [artifacts/backbone]}
  train: {cmd: "true", outs: [artifacts/runs]}
  ingest: {cmd: "true", outs: [data/manifest.parquet]}
"""


@pytest.fixture(scope="module")
def repository(workspace: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Commits: `empty` without a run, then `first`; other weights lie in the working tree."""
    root = tmp_path_factory.mktemp("repository") / "root"
    shutil.copytree(workspace, root)
    for name in ("artifacts/MODEL_CARD.md", "artifacts/predictions.parquet"):
        (root / name).unlink(missing_ok=True)
    run(root, "git", "init", "--quiet")
    run(root, "dvc", "init", "--quiet")
    (root / "dvc.yaml").write_text(DVC_YAML)
    (root / ".gitignore").write_text("/artifacts\n/data\n")
    commit(root, "empty")
    run(root, "dvc", "commit", "--force", "--quiet")
    commit(root, "first")
    other = write_run(tmp_path_factory.mktemp("other"), {"decode": {"frames": 4}}, seed=1)
    shutil.rmtree(root / "artifacts/runs")
    shutil.copytree(other / "artifacts/runs", root / "artifacts/runs")
    return root


def run(root: Path, *command: str) -> None:
    who = ("-c", "user.name=a", "-c", "user.email=a@example.org")
    words = [command[0], *(who if command[0] == "git" else ()), *command[1:]]
    subprocess.run(words, cwd=root, check=True, capture_output=True)


def commit(root: Path, name: str) -> None:
    run(root, "git", "add", "--all")
    run(root, "git", "commit", "--quiet", "--message", name)
    run(root, "git", "tag", name)


def state(root: Path) -> dict[str, str]:
    """Of every file outside .git and DVC's own notes."""
    return {
        path.relative_to(root).as_posix(): file_sha256(path)
        for path in sorted(root.rglob("*"))
        if path.is_file() and not {".git", "tmp"} & set(path.relative_to(root).parts)
    }


def test_a_revision_predicts_what_it_did_then(
    repository: Path,
    workspace: Path,
    video: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(repository)
    before = state(repository)
    then = table_of(video, tmp_path / "then", "--model", "first")
    now = table_of(video, tmp_path / "now")
    assert state(repository) == before
    assert np.abs(then["p_anger"] - now["p_anger"]).max() > 1e-3
    expected = table_of(video, tmp_path / "expected", "--model", str(workspace))
    pd.testing.assert_frame_equal(then, expected, check_exact=True)


def test_a_tuned_network_of_a_revision_is_there_as_long_as_the_model(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(repository)
    model = open_model("HEAD")
    assert model.copy is not None
    folder = Path(model.copy.name)
    assert (folder / "artifacts/backbone/backbone.json").is_file()
    del model
    assert not folder.exists()


def test_revisions_that_give_no_run_are_one_line(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = shutil.copytree(repository, tmp_path / "root")
    monkeypatch.chdir(root)
    shutil.rmtree(root / ".dvc/cache/files/md5")
    lines = {}
    for rev in ("nowhere", "empty", "first", str(tmp_path)):
        with pytest.raises(UserError) as caught:
            open_model(rev)
        lines[rev] = str(caught.value)
        assert "\n" not in lines[rev]
    assert "no workspace with a params.yaml, no published folder" in lines["nowhere"]
    assert "revision 'empty' has no trained run" in lines["empty"]
    assert "of revision 'first' is not in the cache: `dvc fetch" in lines["first"]
    assert "no published folder" in lines[str(tmp_path)]


def test_a_revision_outside_a_repository_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="no revision") as caught:
        open_model("main")
    assert "\n" not in str(caught.value)
