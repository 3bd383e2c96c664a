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
    video = next((tmp_path / "clips").rglob("*.mp4"))
    out = tmp_path / "out"
    words = ["predict", "--model", str(workspace.root), "--out", str(out), str(video)]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    table = pd.read_csv(next(out.glob("*.csv")))
    seen = table[table["success"]]
    assert seen[["au_4", "au_12"]].apply(lambda column: column.between(0, 1)).all(axis=None)
    assert seen[["valence", "arousal"]].apply(lambda column: column.between(-1, 1)).all(axis=None)
    explained = json.loads((workspace.root / "reports/explanations.json").read_text())
    assert explained["classes"] == ["anger", "happiness", "surprise"]
