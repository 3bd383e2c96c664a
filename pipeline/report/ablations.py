"""The page's table of ablations, from the file that `arpgnet ablate` writes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.common.wording import SCORE_NAMES, first_score, plural, unit_note
from arpgnet.pipeline.report.sentences import interval, plus_minus

ABLATION = Path("comparisons/ablation.json")
# a row was measured; could not be; has the full network's own settings
OK, FAILED, SAME = "ok", "failed", "same"


def read_ablations(root: Path = Path()) -> dict[str, Any] | None:
    """Read the file's content; None if there is none.

    Raises:
        UserError: the file is damaged.
    """
    try:
        found: dict[str, Any] = json.loads((root / ABLATION).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError:
        raise UserError(f"{ABLATION} is damaged: delete it and run `arpgnet ablate`") from None
    return found


def ablations_view(
    found: Mapping[str, Any] | None, predictions_sha256: str
) -> dict[str, Any] | None:
    """Return what the page shows: `rows`, `failed`, `findings` (sentences), `stale`, `note`.

    Args:
        predictions_sha256: of the page's own run; rows measured against another one are `stale`.
    """
    if found is None:
        return None
    base, rows = found["base"], found["rows"]
    first = first_score(base["scores"])
    measured = [row for row in rows if row["status"] == OK]
    chance = len(measured) * (1 - base["confidence"])
    unit = plural(base["intervals_over"], base["interval_unit"])
    units = unit + unit_note(base["interval_unit"])
    spread = plus_minus(base["scores"][first]).strip()
    seeds = f" (seeds alone move the full network by {spread})" if spread else ""
    return {
        "stale": base["predictions_sha256"] != predictions_sha256,
        "score": SCORE_NAMES[first],
        "full": score(base["scores"][first]),
        "rows": [_row(row) for row in measured],
        "failed": [row for row in rows if row["status"] == FAILED],
        "findings": list(findings(measured, unit)),
        "summary": _summary(measured),
        "note": f"Each network is the full one with one thing changed, retrained on the same "
        f"folds and seeds. Difference: its {SCORE_NAMES[first]} minus the full network's, with the "
        f"{base['confidence']:.0%} interval and the two-sided p-value from {base['bootstrap']} "
        f"paired bootstrap resamples of {units}. They account for the choice of "
        f"{base['interval_unit']}s, not of seeds{seeds}. There is no correction for multiple "
        f"comparisons: of {plural(len(measured), 'such interval')}, about {chance:.1f} would "
        f"exclude zero by chance alone.",
    }


def _summary(measured: list[dict[str, Any]]) -> str:
    found = [outcome(row) for row in measured]
    return (
        f"{plural(len(found), 'changed network')}, {found.count(-1)} worse than the full one, "
        f"{found.count(1)} better"
    )


def _row(row: Mapping[str, Any]) -> dict[str, Any]:
    first = first_score(row["scores"])
    own, gap = row["scores"][first], row["difference"][first]
    return {
        "group": row["group"],
        "name": row["name"],
        "what": row["what"],
        "mean": f"{own['mean']:.3f}",
        "interval": interval(own),
        "gap": f"{gap['mean']:+.3f}",
        "gap_interval": f"[{gap['ci_low']:+.3f}, {gap['ci_high']:+.3f}]",
        "p": "< 0.001" if gap["p"] < 0.001 else f"{gap['p']:.3f}",
        "significant": outcome(row) != 0,
    }


def outcome(row: Mapping[str, Any]) -> int:
    """Return -1 or 1 if the interval of the difference lies below or above zero, else 0."""
    gap = row["difference"][first_score(row["difference"])]
    return int(gap["ci_low"] > 0) - int(gap["ci_high"] < 0)


def findings(measured: list[dict[str, Any]], unit: str) -> Iterator[str]:
    """Say which parts help and which do not.

    Args:
        unit: what the intervals are over, e.g. `12 subjects`.
    """
    removed: dict[int, list[str]] = {-1: [], 0: [], 1: []}
    for row in measured:
        if row["removes"]:
            removed[outcome(row)].append(row["removes"])
    if removed[-1]:
        yield f"Removing these makes the network worse, so they help: {'; '.join(removed[-1])}."
    if removed[0]:
        yield (
            f"Removing these makes no difference that {unit} can show, so there is no evidence "
            f"that they help: {'; '.join(removed[0])}."
        )
    if removed[1]:
        parts = "; ".join(removed[1])
        yield f"Removing these makes the network better, so here they hurt: {parts}."
    better = [f"{row['what']} ({row['name']})" for row in measured
              if not row["removes"] and outcome(row) > 0]  # fmt: skip
    if better:
        yield f"Better than the full network's setting: {'; '.join(better)}."


def score(values: Mapping[str, float]) -> str:
    return f"{values['mean']:.3f} {interval(values)}"
