"""The import name `arpgnet`, from the repository and from a wheel, beside packages of a user.

A project that has folders `models` and `pipeline` of its own must neither hide ours nor be hidden.
"""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pandas as pd
import pytest

from helpers.face_videos import film_of_a_face
from helpers.untrained_run import write_run

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).resolve().parents[1]
PACKAGES = ("arpgnet", "models", "pipeline", "stages")
FRAMES = 16

# says which files of ours were imported, here and in a worker, and what else could have been
SCRIPT = """
import inspect, json, sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import arpgnet
from arpgnet.models.arpgnet import ARPGNet
from arpgnet.pipeline.cli.main import main

if __name__ == "__main__":
    sys.argv[1:] = ["predict", *sys.argv[1:]]
    try:
        main()
    except SystemExit as end:
        assert not end.code, end.code
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        in_worker = pool.submit(inspect.getfile, ARPGNet).result()
    ours = [module for name, module in sys.modules.items() if name.split(".")[0] == "arpgnet"]
    report = {
        "files": [in_worker, *(file for one in ours if (file := getattr(one, "__file__", None)))],
        "others": sorted({"models", "pipeline", "stages"} & set(sys.modules)),
        "path": [str(Path(place).resolve()) for place in sys.path],
    }
    Path("report.json").write_text(json.dumps(report))
"""


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    settings = {"decode": {"frames": 4}, "engine": {"workers": 1}}
    return write_run(tmp_path_factory.mktemp("run"), settings)


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return film_of_a_face(tmp_path_factory.mktemp("video") / "face.mp4", FRAMES)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A built wheel's files in a folder; the build leaves nothing in the repository."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in PACKAGES:
        unwanted = shutil.ignore_patterns("__pycache__")
        shutil.copytree(REPOSITORY / name, source / name, symlinks=True, ignore=unwanted)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(REPOSITORY / name, source)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "--quiet"]
    options = ["--no-deps", "--no-build-isolation", "--wheel-dir", str(target)]
    done = subprocess.run([*pip, *options, str(source)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (built,) = target.glob("arpgnet-*.whl")
    with zipfile.ZipFile(built) as archive:
        archive.extractall(target / "unpacked")
    return target / "unpacked"


def predict_beside(folder: Path, place: Path, workspace: Path, video: Path) -> dict[str, list[str]]:
    """Predict from a user's project in `folder`, `place` being all that is on PYTHONPATH."""
    for name in ("models", "pipeline"):
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text("raise ImportError('a package of the user')\n")
    (folder / "mine.py").write_text(SCRIPT)
    words = ["--model", str(workspace), "--window", "0.6", "--page", "--out", "out", str(video)]
    done = subprocess.run(
        [sys.executable, "mine.py", *words],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(place)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    report: dict[str, list[str]] = json.loads((folder / "report.json").read_text())
    table = pd.read_csv(folder / "out/face.csv")
    assert table["frame"].tolist() == list(range(FRAMES))
    assert table["success"].all()
    assert list((folder / "out").glob("*.html"))
    assert report["others"] == []
    return report


def test_from_the_repository(workspace: Path, video: Path, tmp_path: Path) -> None:
    report = predict_beside(tmp_path, REPOSITORY, workspace, video)
    assert len(report["files"]) > 20
    for file in report["files"]:
        assert Path(file).is_relative_to(REPOSITORY / "arpgnet")


def test_from_a_wheel(wheel: Path, workspace: Path, video: Path, tmp_path: Path) -> None:
    assert {path.name for path in wheel.iterdir() if not path.name.endswith(".dist-info")} == {
        "arpgnet"
    }
    report = predict_beside(tmp_path, wheel, workspace, video)
    assert len(report["files"]) > 20
    assert str(REPOSITORY) not in report["path"]
    for file in report["files"]:
        assert Path(file).is_relative_to(wheel / "arpgnet")
        assert not Path(file).resolve().is_relative_to(REPOSITORY)
