"""One network of three tasks on one's own clips, from a csv file to the page and a prediction."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from arpgnet.pipeline.cli.main import app
from arpgnet.pipeline.tables.predictions import further_path, read_target_predictions
from helpers.rendered_csv import render_csv
from helpers.support import Workspace
from helpers.whole_runs import reproduce, results

# of each class: two units, valence and arousal; 9, -5 and nothing: not annotated
VALUES = {
    "anger": ("1", "0", "-0.6", "0.5"),
    "happiness": ("0", "1", "0.8", "0.4"),
    "surprise": ("9", "0", "-5", ""),
}


def add_targets(path: Path) -> None:
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    names = ("au_4", "au_12", "valence", "arousal")
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, [*rows[0], *names])
        writer.writeheader()
        for row in rows:
            writer.writerow(row | dict(zip(names, VALUES[row["label"]], strict=True)))


def predicted(workspace: Workspace, video: Path, out: Path) -> pd.DataFrame:
    """The rows with a face of what the command line predicts."""
    words = ["predict", "--model", str(workspace.root), "--out", str(out), str(video)]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    table = pd.read_csv(next(out.glob("*.csv")))
    return table[table["success"]]


@pytest.mark.slow
@pytest.mark.usefixtures("module_store")
def test_a_csv_file_of_three_tasks_to_metrics_page_and_prediction(tmp_path: Path) -> None:
    settings = render_csv(tmp_path / "clips")
    add_targets(tmp_path / "clips/clips.csv")
    workspace = Workspace(
        tmp_path / "project",
        {
            **settings,
            "engine.workers": 1,
            "train.folds": [0],
            "task.also": ["action_units", "valence_arousal"],
        },
    )
    metrics, _, page, _ = results(reproduce(workspace))
    also = metrics["also"]
    assert metrics["clips"] == also["action_units"]["clips"] == 6
    # surprise has neither valence nor arousal
    assert also["valence_arousal"]["clips"] == 4
    assert 0 <= also["action_units"]["f1"]["ci_low"] <= also["action_units"]["f1"]["ci_high"] <= 1
    assert "Learned too: valence and arousal" in page
    units = read_target_predictions(workspace.root / further_path("action_units"))
    assert units.names == ["au_4", "au_12"]
    seen = predicted(workspace, next((tmp_path / "clips").rglob("*.mp4")), tmp_path / "out")
    assert seen[["au_4", "au_12"]].apply(lambda column: column.between(0, 1)).all(axis=None)
    assert seen[["valence", "arousal"]].apply(lambda column: column.between(-1, 1)).all(axis=None)
    explained = json.loads((workspace.root / "reports/explanations.json").read_text())
    assert explained["classes"] == ["anger", "happiness", "surprise"]


def add_frame_targets(path: Path) -> None:
    """Add valence and arousal of each clip, and units of its first frames, in a file per clip."""
    add_targets(path)
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    with path.open("w", newline="") as file:
        names = ["path", "label", "subject", "valence", "arousal", "frame_targets"]
        writer = csv.DictWriter(file, names, extrasaction="ignore")
        writer.writeheader()
        for number, row in enumerate(rows):
            units = path.with_name(f"units{number}.csv")
            lines = [f"{frame},{row['au_4']},{row['au_12']}" for frame in range(12)]
            units.write_text("\n".join(["frame,au_4,au_12", *lines]) + "\n")
            writer.writerow(row | {"frame_targets": units.name})


@pytest.mark.slow
@pytest.mark.usefixtures("module_store")
def test_labels_of_clips_and_of_frames_to_metrics_page_and_prediction(tmp_path: Path) -> None:
    settings = render_csv(tmp_path / "clips")
    add_frame_targets(tmp_path / "clips/clips.csv")
    own = {"engine.workers": 1, "train.folds": [0], "train.window": 4, "train.stride": 4}
    own["task.also"] = ["action_units", "valence_arousal"]
    workspace = Workspace(tmp_path / "project", {**settings, **own})
    metrics, _, page, _ = results(reproduce(workspace))
    also = metrics["also"]
    assert "frames" not in metrics
    assert also["action_units"]["frames"] > also["action_units"]["clips"] == metrics["clips"] == 6
    assert also["valence_arousal"]["clips"] == 4
    assert "Learned too: action units" in page
    assert "Learned too: valence and arousal" in page
    seen = predicted(workspace, next((tmp_path / "clips").rglob("*.mp4")), tmp_path / "out")
    # the video is one clip: its values are one, those of units follow the four frames shown
    assert seen[["p_anger", "valence"]].nunique().max() == 1
    assert seen[["au_4", "au_12"]].nunique().min() == 4
