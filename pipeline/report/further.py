"""What the page and the card show of further tasks (`task.also`): the tables of each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from arpgnet.pipeline.common.wording import plural
from arpgnet.pipeline.report.score_tables import SCORES, columns, model_rows, output_rows
from arpgnet.pipeline.tables.facs import SCALES

CLASS_SCORES = ("uar", "war", "macro_f1")


def further_views(details: Mapping[str, Any], metrics: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return a view for each further task of the evaluation; none where there are none."""
    return [
        _view(kind, found, metrics["also"][kind]) for kind, found in details.get("also", {}).items()
    ]


def _view(kind: str, details: Mapping[str, Any], metrics: Mapping[str, Any]) -> dict[str, Any]:
    of_classes = kind not in SCALES
    scores = CLASS_SCORES if of_classes else details["scores"]
    title, scale = SCALES.get(kind, ("expressions", "one class each"))
    unit = "frame" if "frames" in metrics else "clip"
    return {
        "title": title,
        "scale": scale,
        "level": f"{details['confidence']:.0%}",
        "tested": f"{plural(metrics.get('frames', metrics['clips']), f'test {unit}')}, "
        f"{plural(details['intervals_over'], details['interval_unit'])}",
        "of_classes": of_classes,
        "scores": [SCORES[score] for score in scores],
        "models": list(model_rows(details, scores)),
        "outputs": [] if of_classes else list(output_rows(details)),
        "columns": "" if of_classes else columns(details, unit),
    }
