"""The page's part about the mistakes that the network is surest of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.report.pictures import plain_face
from pipeline.shards import ShardReader


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
