"""Two runs of action units or values on the same clips: a paired test of the task's score."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from rich.console import Console

from arpgnet.pipeline.api.compare import Comparison
from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.common.params import EvaluateParams
from arpgnet.pipeline.compare.run import compare
from arpgnet.pipeline.compare.sources import read_side
from arpgnet.pipeline.compare.table import sentences, table
from arpgnet.pipeline.evaluate.targets import summarize_targets
from arpgnet.pipeline.evaluate.units import origins
from arpgnet.pipeline.tables.manifest import read_manifest
from arpgnet.pipeline.tables.predictions import read_target_predictions
from helpers.predictions_tables import write_run, write_target_run

PARAMS = EvaluateParams.model_validate({"bootstrap": 200})


def test_a_better_run_is_found_and_each_side_scores_as_in_evaluate(tmp_path: Path) -> None:
    worse = write_target_run(tmp_path / "a", 1.5, seeds=(0, 1))
    better = write_target_run(tmp_path / "b", 0.1)
    found = compare(read_side(str(worse)), read_side(str(better)), PARAMS)
    gap = found["scores"]["f1"]["difference"]
    assert gap["ci_low"] > 0
    assert gap["p"] < 0.05
    assert (found["interval_unit"], found["intervals_over"], found["units"]) == ("subject", 6, 24)
    people = list(origins(read_manifest(tmp_path / "a/data/manifest.parquet")).values())
    metrics, _ = summarize_targets(read_target_predictions(worse), people, PARAMS, {})
    assert found["scores"]["f1"]["a"] == pytest.approx(metrics["f1"])
    assert gap["mean"] == pytest.approx(
        found["scores"]["f1"]["b"]["mean"] - metrics["f1"]["mean"], abs=1e-6
    )
    said = list(sentences(found))
    assert said[0] == "B is better than A in mean F1."
    assert "Single targets whose interval leaves zero out: au_" in said[1]
    assert "of 2, about 0.1 would by chance alone" in said[1]
    console = Console(width=200)
    with console.capture() as capture:
        console.print(table(found))
    assert "mean F1" in capture.get()
    assert "mean F1" in str(Comparison(found))


def test_sides_swap_and_a_run_equals_itself(tmp_path: Path) -> None:
    sides = [
        read_side(str(write_target_run(tmp_path / name, noise, kind="intensity")))
        for name, noise in (("a", 0.4), ("b", 0.8))
    ]
    there, back = compare(*sides, PARAMS), compare(*sides[::-1], PARAMS)
    assert list(there["scores"]) == ["icc", "mae"]
    for name in there["scores"]:
        one, other = (found["scores"][name]["difference"] for found in (there, back))
        assert one["mean"] == pytest.approx(-other["mean"], abs=2e-6)
        assert one["ci_low"] == pytest.approx(-other["ci_high"], abs=2e-6)
    same = compare(sides[0], sides[0], PARAMS)
    assert "No difference in mean ICC(3,1) that 6 subjects can show." in list(sentences(same))
    assert isinstance(Comparison(same).scores, pd.DataFrame)


def test_what_cannot_be_paired_is_refused(tmp_path: Path) -> None:
    units = read_side(str(write_target_run(tmp_path / "a", 0.4)))
    classes = read_side(str(write_run(tmp_path / "b", {0: set()})))
    with pytest.raises(UserError, match=r"different tasks: .* action_units, .* of expression"):
        compare(units, classes, PARAMS)
    other = read_side(str(write_target_run(tmp_path / "c", 0.4, names=["au_4", "au_6"])))
    with pytest.raises(UserError, match=r"different targets: au_4, au_12 in"):
        compare(units, other, PARAMS)
    relabeled = read_side(str(write_target_run(tmp_path / "d", 0.4, blank=False)))
    with pytest.raises(UserError, match=r"1 of 24 test clips have another label .*s0-3"):
        compare(units, relabeled, PARAMS)
