"""The page's part about single subjects."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from pipeline.report.sentences import number

# a longer table is not read: of more subjects the page says how they are spread
MOST_ROWS = 60


def subjects_view(found: Mapping[str, Any]) -> dict[str, Any]:
    """What the page shows: `rows` (empty where there are too many), `note` and `spread`.

    Args:
        found: `subjects` of `reports/evaluation.json`.
    """
    rows = found["rows"]
    if not rows:
        return {"rows": [], "spread": "", "note": "The data set does not say who is in its clips."}
    fewest = min(row["predictions"] for row in rows)
    note = (
        "Each subject's own test part, averaged over seeds, lowest UAR first. "
        f"A score of few clips is coarse: of the subject with fewest predictions ({fewest}) a "
        f"single one moves WAR by {1 / fewest:.2f}."
    )
    if found["unnamed"]:
        note += f" {found['unnamed']} test clips name nobody and stand in no row."
    return {
        "rows": [_row(row) for row in rows] if len(rows) <= MOST_ROWS else [],
        "spread": spread(found) + ("" if len(rows) <= MOST_ROWS else f" {histogram(rows)}"),
        "note": note,
    }


def spread(found: Mapping[str, Any]) -> str:
    """The lowest, median and highest UAR and WAR, in a sentence; empty where nobody is scored."""
    said = [
        f"{name} from {number(values[0])} to {number(values[-1])}, median {number(values[2])}, "
        f"middle half {number(values[1])} to {number(values[3])}"
        for name, values in ((key.upper(), found["quartiles"][key]) for key in ("uar", "war"))
        if values
    ]
    return f"Over {len(found['rows'])} subjects: {'; '.join(said)}." if said else ""


def histogram(rows: list[dict[str, Any]]) -> str:
    """How many subjects have a UAR in each tenth, in a sentence."""
    # the last tenth holds 1.0 too; a whisker more, because 0.3 * 10 is 2.9999999999999996
    tenths = Counter(min(9, int(row["uar"] * 10 + 1e-9)) for row in rows if row["uar"] is not None)
    parts = [f"{tenths[n]} from {n / 10:.1f} to {(n + 1) / 10:.1f}" for n in sorted(tenths)]
    return f"Subjects by UAR: {', '.join(parts)}."


def _row(row: Mapping[str, Any]) -> dict[str, str]:
    uar, war = row["uar"], row["war"]
    counted = f"{row['clips']}"
    if row["predictions"] != row["clips"]:
        counted += f" ({row['predictions']} frames)"
    return {
        "name": row["subject"],
        "clips": counted,
        "percent": f"{100 * (uar or 0):.1f}",
        "uar": "no prediction" if uar is None else number(uar),
        "war": "" if war is None else number(war),
    }
