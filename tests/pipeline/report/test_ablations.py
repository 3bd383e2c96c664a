"""The page's ablations: what a row shows, what is concluded, and when they are not the page's."""

import json
from pathlib import Path
from typing import Any

import pytest

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.report.ablations import ABLATION, ablations_view, read_ablations


def row(name: str, low: float, high: float, removes: str | None = None) -> dict[str, Any]:
    gap = {"mean": (low + high) / 2, "ci_low": low, "ci_high": high, "p": 0.2}
    score = {"mean": 0.5, "ci_low": 0.4, "ci_high": 0.6}
    return {
        "name": name, "group": "g", "what": f"what {name} does", "removes": removes,
        "status": "ok", "scores": {"uar": score}, "difference": {"uar": gap},
    }  # fmt: skip


def content(*rows: dict[str, Any]) -> dict[str, Any]:
    base = {
        "predictions_sha256": "mine", "confidence": 0.95, "bootstrap": 100,
        "interval_unit": "subject", "intervals_over": 12,
        "scores": {"uar": {"mean": 0.8, "std": 0.012, "ci_low": 0.7, "ci_high": 0.9}},
    }  # fmt: skip
    return {"base": base, "rows": list(rows)}


def view(*rows: dict[str, Any], digest: str = "mine") -> dict[str, Any]:
    found = ablations_view(content(*rows), digest)
    assert found is not None
    return found


def test_says_which_parts_help_do_not_or_harm() -> None:
    found = view(
        row("a", -0.2, -0.1, "part a"),
        row("b", -0.1, 0.1, "part b"),
        row("c", -0.05, 0.0, "part c"),
        row("d", 0.1, 0.2, "part d"),
        row("e", 0.1, 0.2),
        row("f", -0.1, 0.2),
    )
    helps, nothing, harms, better = found["findings"]
    assert helps.endswith("so they help: part a.")
    assert "no difference that 12 subjects can show" in nothing
    assert nothing.endswith("part b; part c.")
    assert harms.endswith("hurt: part d.")
    assert better.endswith("what e does (e).")
    assert [r["significant"] for r in found["rows"]] == [True, False, False, True, True, False]
    assert found["rows"][0]["gap_interval"] == "[-0.200, -0.100]"
    assert "of 6 such intervals, about 0.3" in found["note"]
    assert "(seeds alone move the full network by ±0.012)." in found["note"]


def test_rows_of_another_run_are_stale() -> None:
    assert not view(row("a", -0.1, 0.1))["stale"]
    assert view(row("a", -0.1, 0.1), digest="another")["stale"]


def test_failed_rows_are_listed_and_same_ones_are_not() -> None:
    failed = {"name": "x", "what": "w", "status": "failed", "reason": "no memory"}
    found = view(row("a", -0.1, 0.1), failed, {"name": "y", "status": "same"})
    assert found["failed"] == [failed]
    assert len(found["rows"]) == 1


def test_other_tasks_are_judged_by_their_own_score() -> None:
    text = json.dumps(content(row("a", 0.1, 0.2), row("b", -0.2, -0.1)))
    found = ablations_view(json.loads(text.replace('"uar"', '"ccc"')), "mine")
    assert found is not None
    assert found["score"] == "mean CCC"
    assert "its mean CCC minus the full network's" in found["note"]
    assert [shown["mean"] for shown in found["rows"]] == ["0.500", "0.500"]
    assert found["summary"].endswith("1 worse than the full one, 1 better")


def test_absent_and_damaged_files(tmp_path: Path) -> None:
    assert read_ablations(tmp_path) is None
    assert ablations_view(None, "mine") is None
    (tmp_path / ABLATION).parent.mkdir()
    (tmp_path / ABLATION).write_text("{")
    with pytest.raises(UserError, match="is damaged"):
        read_ablations(tmp_path)
    (tmp_path / ABLATION).write_text(json.dumps(content()))
    assert read_ablations(tmp_path) == content()
