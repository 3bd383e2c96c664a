"""What page and card say of the groups of people that a data set names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pipeline.report.sentences import number


def traits_view(found: Mapping[str, Any]) -> dict[str, Any]:
    """`tables`, one a trait: its name, rows of text, how many test clips do not say; and `note`.

    Args:
        found: `traits` of `reports/evaluation.json`.
    """
    return {
        "tables": [
            {"trait": one["trait"], "unnamed": one["unnamed"], "rows": list(_rows(one["rows"]))}
            for one in found["tables"]
        ],
        "note": "Each group's own test clips, as the data set labels them. Intervals that overlap "
        "show no difference, and a difference does not tell why: groups also differ in clips, "
        f"light and how the expressions were made. Of fewer than {found['fewest_clips']} clips or "
        f"{found['fewest_subjects']} subjects nothing but the count is shown.",
    }


def _rows(rows: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, str]]:
    for row in rows:
        yield {
            "value": row["value"],
            "clips": f"{row['clips']}",
            "subjects": f"{row['subjects']}",
            "uar": _score(row.get("uar")),
            "war": _score(row.get("war")),
        }


def _score(score: Mapping[str, float] | None) -> str:
    if score is None:
        return "too few"
    return f"{number(score['mean'])} ({score['ci_low']:.3f} to {score['ci_high']:.3f})"
