"""What the page and the card show about mistakes, subjects, groups of people and head pose."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from arpgnet.pipeline.common.wording import plural
from arpgnet.pipeline.report.images import plain_face
from arpgnet.pipeline.report.sentences import number
from arpgnet.pipeline.tables.shards import ShardReader

NO_CLIP = "no test clip"
DARK_FROM = 0.55  # fraction of a row from which on a cell's text is white


FIRST = 6  # mistakes, and faces, that are shown before the others are unfolded


def confusion_view(
    counts: np.ndarray, classes: Sequence[str], recalls: Mapping[str, float]
) -> list[dict[str, Any]]:
    """Return a row per true class: its name, a cell per predicted class, and its recall.

    Args:
        counts: int [K, K], rows are the true class, columns the predicted one.
        recalls: by class; one without a test clip is not in it.
    """
    totals = counts.sum(axis=1)
    return [
        {
            "name": name,
            "cells": [
                _share_cell(int(count), int(totals[row]), diagonal=row == column)
                for column, count in enumerate(counts[row].tolist())
            ],
            "percent": f"{100 * recalls.get(name, 0.0):.1f}",
            "recall": number(recalls[name]) if name in recalls else NO_CLIP,
        }
        for row, name in enumerate(classes)
    ]


def _share_cell(count: int, total: int, *, diagonal: bool) -> dict[str, Any]:
    share = count / total if total else 0.0
    return {
        "percent": f"{share:.0%}" if count else "",
        "count": f"{count}" if count else "",
        "shade": f"{share:.2f}",
        "dark": share > DARK_FROM,
        "diagonal": diagonal,
    }


def mistakes_view(
    mistakes: Sequence[Mapping[str, Any]], faces: ShardReader
) -> list[dict[str, str]]:
    """Return a face and its caption for each of `mistakes` of `reports/evaluation.json`."""
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
        "predicted": row["predicted"],
        "probability": f"{row['probability']:.2f}",
        "label_probability": f"{row['probability_of_label']:.2f}",
        "frame": "" if frame is None else f"frame {frame}",
        "networks": f"{row['wrong']} of {networks} networks wrong" if networks > 1 else "",
    }


# nobody reads a longer table: for more subjects, the page shows how their scores are distributed
MOST_ROWS = 60


def subjects_view(found: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the page shows: `rows` (empty if there are too many), `note` and `spread`.

    Args:
        found: `subjects` of `reports/evaluation.json`.
    """
    rows = found["rows"]
    if not rows:
        return {"rows": [], "spread": "", "note": "The data set does not say who is in its clips."}
    fewest = min(row["predictions"] for row in rows)
    note = (
        "Each subject's own test part, averaged over seeds, lowest UAR first. "
        f"A score over few clips is coarse: for the subject with the fewest predictions "
        f"({fewest}), a single one changes WAR by {1 / fewest:.2f}."
    )
    if found["unnamed"]:
        note += f" Not in the table: {plural(found['unnamed'], 'test clip')} without a subject."
    return {
        "rows": [_row(row) for row in rows] if len(rows) <= MOST_ROWS else [],
        "spread": spread(found) + ("" if len(rows) <= MOST_ROWS else f" {histogram(rows)}"),
        "note": note,
    }


def spread(found: Mapping[str, Any]) -> str:
    """Give the lowest, median and highest UAR and WAR; empty if nobody is scored."""
    said = [
        f"{name} from {number(values[0])} to {number(values[-1])}, median {number(values[2])}, "
        f"quartiles {number(values[1])} and {number(values[3])}"
        for name, values in ((key.upper(), found["quartiles"][key]) for key in ("uar", "war"))
        if values
    ]
    return f"Over {plural(len(found['rows']), 'subject')}: {'; '.join(said)}." if said else ""


def histogram(rows: list[dict[str, Any]]) -> str:
    """Say how many subjects have a UAR in each tenth."""
    # the last tenth includes 1.0; 1e-9 because 0.3 * 10 is 2.9999999999999996
    tenths = Counter(min(9, int(row["uar"] * 10 + 1e-9)) for row in rows if row["uar"] is not None)
    parts = [f"{tenths[n]} from {n / 10:.1f} to {(n + 1) / 10:.1f}" for n in sorted(tenths)]
    return f"Subjects by UAR: {', '.join(parts)}."


def _row(row: Mapping[str, Any]) -> dict[str, str]:
    uar, war = row["uar"], row["war"]
    counted = f"{row['clips']}"
    if row["predictions"] != row["clips"]:
        counted += f" ({plural(row['predictions'], 'frame')})"
    return {
        "name": row["subject"],
        "clips": counted,
        "percent": f"{100 * (uar or 0):.1f}",
        "uar": "no prediction" if uar is None else number(uar),
        "war": "" if war is None else number(war),
    }


def traits_view(found: Mapping[str, Any]) -> dict[str, Any]:
    """Return `note` and `tables`, one per trait: name, rows of text, count of unlabeled clips.

    Args:
        found: `traits` of `reports/evaluation.json`.
    """
    return {
        "tables": [
            {
                "trait": one["trait"],
                "unlabeled": plural(one["unnamed"], "test clip") if one["unnamed"] else "",
                "rows": list(_rows(one["rows"])),
            }
            for one in found["tables"]
        ],
        "note": "Each group's own test clips, as the data set labels them. Overlapping intervals "
        "do not show a difference, and a difference does not tell its cause: groups also differ "
        "in clips, lighting and how the expressions were elicited. For fewer than "
        f"{found['fewest_clips']} clips or {found['fewest_subjects']} subjects, only the count is "
        "shown.",
    }


# what a bin is of: its title, and the unit of its limits
_BINS = {"yaw": ("Yaw to either side", "°"), "size": ("Shorter side of the face's box", " px")}


def pose_view(found: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return `note`, `masked` and `tables`, one by yaw and one by size; None if nothing is known.

    Args:
        found: `views` of `reports/evaluation.json`.
    """
    if found is None:
        return None
    masked = [
        f"{plural(found[key], 'frame')} ({setting})"
        for key, setting in (("small", "align.min_face_px"), ("turned", "graph.max_yaw"))
        if found[key]
    ]
    return {
        "tables": [
            {
                "name": _BINS[one["by"]][0],
                "unknown": plural(one["unknown"], "test clip") if one["unknown"] else "",
                "rows": list(
                    _rows([{**row, "value": _bin(row, one["by"])} for row in one["rows"]])
                ),
            }
            for one in found["tables"]
        ],
        "masked": f"Masked: {', '.join(masked)}." if masked else "",
        "note": f"The charts count {plural(found['frames'], 'frame')} with a face; in the tables a "
        "clip counts by its median. The pose is fitted to the landmarks: its median error on "
        "rendered faces is 3 degrees at most. Overlapping intervals do not show a difference, and "
        "classes and subjects are not spread evenly over the bins. For fewer than "
        f"{found['fewest_clips']} clips, only the count is shown.",
    }


def _bin(row: Mapping[str, Any], by: str) -> str:
    unit = _BINS[by][1]
    if row["to"] is None:
        return f"{row['from']:g}{unit} and more"
    return f"{row['from']:g} to {row['to']:g}{unit}"


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
