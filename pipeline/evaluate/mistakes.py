"""The most confident mistakes: the first place to look for wrong labels and confounders."""

from __future__ import annotations

from typing import Any

import numpy as np

from arpgnet.pipeline.tables.predictions import Predictions

MOST = 8


def confident_mistakes(rows: Predictions, most: int = MOST) -> list[dict[str, Any]]:
    """List the wrong predictions with the highest probability; of labeled frames one per video.

    The probabilities of a clip (or frame) are averaged over the networks that tested it, one per
    seed, so that a mistake is one that they make together.

    Args:
        rows: one model's test predictions.

    Returns:
        By falling `probability` (of the prediction): `clip_id`, `frame_index` (None where clips
        are labeled), `label`, `predicted` (both class names), `probability`,
        `probability_of_label`, and how many of the `networks` predict a wrong class (`wrong`).
    """
    known = rows.select(rows.predicted >= 0)
    if not len(known.label):
        return []
    clips, clip = np.unique(known.clip_id.astype(str), return_inverse=True)
    keys = np.column_stack([clip, known.frame_index])
    units, first, unit = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    unit = unit.ravel()
    networks = np.bincount(unit)
    mean = np.zeros((len(units), len(known.classes)))
    np.add.at(mean, unit, known.probabilities)
    mean /= networks[:, None]
    label = known.label[first]
    predicted = mean.argmax(axis=1)
    wrong = np.bincount(unit, weights=known.predicted != known.label)
    found: dict[int, dict[str, Any]] = {}
    # a stable order: of equal probabilities the first by clip and frame
    for number in np.argsort(-mean.max(axis=1), kind="stable"):
        where = int(units[number, 0])
        if predicted[number] == label[number] or where in found:
            continue
        frame = int(units[number, 1])
        found[where] = {
            "clip_id": str(clips[where]),
            "frame_index": frame if frame >= 0 else None,
            "label": known.classes[label[number]],
            "predicted": known.classes[predicted[number]],
            "probability": float(mean[number, predicted[number]]),
            "probability_of_label": float(mean[number, label[number]]),
            "networks": int(networks[number]),
            "wrong": int(wrong[number]),
        }
        if len(found) == most:
            break
    return list(found.values())
