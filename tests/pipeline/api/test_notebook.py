"""docs/notebook.ipynb, cell by cell, as a kernel would run it."""

import json
import shutil
import warnings
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pytest

from arpgnet.pipeline.tables.manifest import MANIFEST, Clip, write_manifest
from helpers.face_videos import film_of_a_face
from helpers.own_predictions import write_arpgnet
from helpers.support import TINY, Workspace
from helpers.synthetic_data import write_data
from helpers.untrained_run import CLASSES as OF_RUN
from helpers.untrained_run import write_run

NOTEBOOK = Path(__file__).resolve().parents[3] / "docs/notebook.ipynb"


def run_notebook(path: Path, **parameters: Any) -> dict[str, Any]:
    """Run all cells; what the cell of parameters sets is replaced by `parameters`."""
    names: dict[str, Any] = {"__name__": "notebook"}
    for cell in code_cells(path):
        exec(compile("".join(cell["source"]), cell["id"], "exec"), names)
        if "parameters" in cell["metadata"].get("tags", []):
            assert parameters.keys() <= names.keys()
            names |= parameters
    return names


def code_cells(path: Path) -> list[dict[str, Any]]:
    return [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]


@pytest.fixture(autouse=True)
def no_windows(monkeypatch: pytest.MonkeyPatch) -> Any:
    plt.switch_backend("Agg")
    yield
    plt.close("all")


def test_outputs_are_cleared() -> None:
    for cell in code_cells(NOTEBOOK):
        assert cell["outputs"] == []
        assert cell["execution_count"] is None


def test_it_runs_from_a_folder_that_is_not_the_project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model, root = write_run(tmp_path / "run", {"decode": {"frames": 4}}), tmp_path / "workspace"
    clips = [Clip("one", "one.mp4", "00", label="anger", label_index=0, duration_s=0.5)]
    write_manifest(clips, model / MANIFEST, classes=OF_RUN, dataset="synthetic")
    write_data(root, signal=8.0)
    write_arpgnet(root)
    (root / "params.yaml").write_text("evaluate:\n  bootstrap: 200\n")
    film_of_a_face(tmp_path / "talk.mp4", 12)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    video = tmp_path / "talk.mp4"
    names = run_notebook(NOTEBOOK, ROOT=root, MODEL=model, VIDEO=video, EPOCHS=6)
    time_series, drawn_graph = (plt.figure(number).axes[0] for number in plt.get_fignums())
    assert len(time_series.lines) == len(names["model"].classes)
    assert len(drawn_graph.lines) == names["one"].num_edges
    uar = names["found"].scores.loc["uar"]
    assert uar["b"] > 0.45, "chance is 1 / 3"
    beats = uar["ci_low"] > 0
    assert names["verdict"].startswith(f"RegionNet {'beats' if beats else 'does not beat'} ARPGNet")
    assert f"{uar['difference']:+.3f}" in names["verdict"]
    assert names["verdict"] in capsys.readouterr().out
    assert names["own"] == root / "artifacts/regionnet.parquet"
    assert not list(Path.cwd().iterdir())


@pytest.mark.slow
def test_it_runs_beside_the_demo_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace = Workspace(tmp_path, TINY)
    workspace.dvc("repro", "train")
    (tmp_path / "docs").mkdir()
    notebook = Path(shutil.copy(NOTEBOOK, tmp_path / "docs"))
    monkeypatch.chdir(notebook.parent)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "This network was trained on rendered faces only")
        names = run_notebook(notebook)
    assert len(names["table"]) > 0
    assert names["found"].numbers["clips"] == 32
    assert np.isfinite(names["found"].scores.to_numpy(float)).all()
