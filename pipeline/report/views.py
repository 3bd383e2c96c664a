"""What the page and the card show of mistakes, subjects and groups of people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from arpgnet.pipeline.report.images import plain_face
from arpgnet.pipeline.report.sentences import number
from arpgnet.pipeline.tables.shards import ShardReader


def mistakes_view(
    mistakes: Sequence[Mapping[str, Any]], faces: ShardReader
) -> list[dict[str, str]]:
    """A face and its caption for each of `mistakes` of `reports/evaluation.json`."""
    shown = []
    for row in mistakes:
        image = plain_face(row["clip_id"], faces, row["frame_index"])
        if image is not None:
            shown.append({"image": image, "clip": row["clip_id"], **_caption(row)})
    return shown


def _caption(row: Mapping[str, Any]) -> dict[str, str]:
    frame = row["frame_index"]
    networks = row["networks"]
    return {
        "label": row["label"],
        "named": row["named"],
        "sure": f"{row['probability']:.2f}",
        "label_sure": f"{row['probability_of_label']:.2f}",
        "frame": "" if frame is None else f"frame {frame}",
        "networks": f"{row['wrong']} of {networks} networks wrong" if networks > 1 else "",
    }


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
