"""The page and the card of action units, and of valence and arousal."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from arpgnet.pipeline.common.params import EvaluateParams, Params
from arpgnet.pipeline.evaluate.targets import summarize_targets
from arpgnet.pipeline.report.page import Results, gather
from arpgnet.pipeline.report.settings import settings_digest
from arpgnet.pipeline.report.targets import claim, is_of_targets, render_targets, targets_card
from arpgnet.pipeline.tables.predictions import TargetPredictions
from helpers.report_outputs import EVIL, write_outputs

UNITS = ["au_1", "au_12", "au_99"]


def results(root: Path, kind: str, names: list[str], **settings: str) -> Results:
    """A run of two seeds over four subjects, whose network is right and whose baseline is not; the
    third target is never present."""
    write_outputs(root)
    rng = np.random.default_rng(0)
    tables = {"arpgnet": 0.2, "prevalence": 3.0}
    rows: dict[str, list[object]] = {
        key: [] for key in ("clip_id", "model", "seed", "split", "target", "values")
    }
    truth = rng.integers(0, 2, (40, len(names))).astype(float)
    truth[:, 2:] = 0
    truth[0, 0] = np.nan
    for model, noise in tables.items():
        for seed in (0, 1):
            for split in ("val", "test"):
                for number in range(40):
                    wrong = noise * rng.normal(size=len(names))
                    rows["clip_id"].append(f"clip{number % 4}")
                    rows["model"].append(model)
                    rows["seed"].append(seed)
                    rows["split"].append(split)
                    rows["target"].append(truth[number])
                    rows["values"].append(np.clip(np.nan_to_num(truth[number]) + wrong, 0, 1))
    count = len(rows["seed"])
    predictions = TargetPredictions(
        kind,
        names,
        np.array(rows["clip_id"], object),
        np.tile(np.arange(40), count // 40),
        np.array(rows["model"], object),
        np.zeros(count, np.int64),
        np.array(rows["seed"]),
        np.array(rows["split"], object),
        np.array(rows["target"]),
        np.array(rows["values"]),
    )
    people = [
        {"clip_id": f"clip{n}", "subject": EVIL if n == 0 else f"s{n}", "group": None,
         "recording": None} for n in range(4)
    ]  # fmt: skip
    params = EvaluateParams.model_validate({"bootstrap": 100, **settings})
    about = {"predictions_sha256": "d", "training": {}}
    metrics, details = summarize_targets(predictions, people, params, about)
    (root / "reports/metrics.json").write_text(json.dumps(metrics))
    (root / "reports/evaluation.json").write_text(json.dumps(details))
    score = details["scores"][0]
    curves = f"run,epoch,train_loss,val_loss,val_{score}\nfold0-seed0,0,1,1,0.5\n"
    (root / "reports/plots/curves.csv").write_text(curves)
    return gather(Params(), root)


def test_a_further_task_has_its_tables_on_the_page_and_the_card(tmp_path: Path) -> None:
    found = results(tmp_path, "action_units", UNITS)
    # the same scores again, as those of another task
    also = {"intensity": found.details | {"outputs": UNITS}}
    both = replace(
        found,
        details={**found.details, "also": also},
        metrics={**found.metrics, "also": {"intensity": found.metrics}},
    )
    page, card = render_targets(both), targets_card(both)
    assert page.count("inner brow raiser") == 2 * render_targets(found).count("inner brow raiser")
    assert "Learned too: intensities of action units" in page
    assert "### Learned too: intensities of action units" in card
    assert card.count("| lip corner puller |") == 2
    assert "Learned too" not in render_targets(found) + targets_card(found)


def test_every_unit_stands_with_its_name_and_its_score(tmp_path: Path) -> None:
    found = results(tmp_path, "action_units", UNITS)
    assert is_of_targets(found)
    page = render_targets(found)
    assert "<script>alert" not in page
    assert EVIL.replace("<", "&lt;").replace(">", "&gt;") in page
    assert "inner brow raiser" in page
    assert "Ablations. Not run yet" in page
    assert "lip corner puller" in page
    (row,) = re.findall(r"<tr><td>au_99</td>.*", page)
    assert row.count("not defined") == 1
    assert "probability of 0.5 on, in every model" in page
    for which in ("annotated", "predicted"):
        assert f"Co-occurrence of action units, {which}" in page
    assert not re.findall(r'(?:src|href)="(?!data:|#)', page)
    assert page == render_targets(found)
    card = targets_card(found)
    assert "| au\\_12 | lip corner puller |" in card or "| au_12 | lip corner puller |" in card
    assert "<script>" not in card
    # what `arpgnet publish` looks for
    assert settings_digest(Params()) in card
    assert "\n## What it must not be used for\n" in card
    assert "sha256 d.\n" in card
    said = claim(found)
    assert said.startswith("ARPGNet beats the best baseline, each unit's prevalence")
    assert "interval over only 4 subjects" in said


def test_thresholds_of_validation_are_told(tmp_path: Path) -> None:
    page = render_targets(results(tmp_path, "action_units", UNITS, threshold="validation"))
    assert "has the best F1 on validation" in page


def test_valence_and_arousal_have_scores_of_their_own(tmp_path: Path) -> None:
    page = render_targets(results(tmp_path, "valence_arousal", ["valence", "arousal"]))
    assert "CCC" in page
    assert "RMSE" in page
    assert "Co-occurrence" not in page
    assert "unpleasant, calm" in page
    assert "Annotated: the number of test frames" in page
    # what only action units have
    section = page[page.index('<h2 id="targets">') : page.index('<h2 id="faces">')]
    section = re.sub(r'data:[^"]*"', "", section)  # any letters may follow each other there
    assert "F1" not in section
    assert "present" not in section


@pytest.mark.parametrize(
    ("kind", "names", "said"),
    [
        ("action_units", UNITS,
         ["Largest mean drop in the unit&#39;s probability", "au_12 lip corner puller",
          "that show the unit, as annotated"]),
        pytest.param(
            "valence_arousal", ["valence", "arousal"],
            ["Largest mean change of arousal", "in which the target is annotated"],
            marks=pytest.mark.slow,
        ),
    ],
)  # fmt: skip
def test_regions_are_explained_for_every_target(
    tmp_path: Path, kind: str, names: list[str], said: list[str]
) -> None:
    found = results(tmp_path, kind, names)
    before = dict(found.explanations)
    group = before["by_class"][0]
    correct = None if kind == "valence_arousal" else 2
    each = [{**group, "label": name, "correct": correct} for name in names]
    del before["most_per_class"]
    explained = {**before, "kind": kind, "most": 64, "by_class": each, "pairs": []}
    explained["all"] = {**before["all"], "probability": None}
    page = render_targets(Results(**{**vars(found), "explanations": explained}))
    assert "(at most 64 in all, drawn with a fixed seed)" in page
    assert "Largest mean change of the predictions" in page
    assert "Per target" in page
    assert "predicted class" not in page
    for words in said:
        assert words in page
    # of a run before there were any
    old = render_targets(Results(**{**vars(found), "explanations": {"available": False}}))
    assert "What the network attends to" not in old


def test_without_a_baseline_nothing_is_claimed(tmp_path: Path) -> None:
    found = results(tmp_path, "action_units", UNITS)
    details = {**found.details, "gain_over_baselines": {}}
    alone = Results(**{**vars(found), "details": details})
    assert claim(alone).startswith("ARPGNet was not compared with any baseline; mean F1")


@pytest.mark.parametrize(("gain", "verb"), [((-0.2, -0.1), "does not beat"), ((-0.1, 0.1), "does "
                         "not clearly beat")])  # fmt: skip
def test_the_claim_follows_the_interval(
    tmp_path: Path, gain: tuple[float, float], verb: str
) -> None:
    found = results(tmp_path, "action_units", UNITS)
    low, high = gain
    gains = {"prevalence": {"f1": {"mean": (low + high) / 2, "ci_low": low, "ci_high": high}}}
    details = {**found.details, "gain_over_baselines": gains}
    assert f"ARPGNet {verb} the best" in claim(Results(**{**vars(found), "details": details}))
