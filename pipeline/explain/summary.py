"""Averages over views: over all of them, those of a class, and those of a confused pair.

Shape letters: V views, N regions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from arpgnet.pipeline.explain.agreement import agreement, gain
from arpgnet.pipeline.training.attention import OFFSETS, SOURCES, joined

DIGITS = 6


@dataclass(frozen=True)
class Explained:
    """V views: `clip` (str), `label` (-1: none) and `predicted` (class numbers), `probability` of
    the predicted class, `drop` and its estimate `relevance` [V, N], and the arrays of
    `region_attention` and, per stream, `time_attention` (both may be empty)."""

    clip: np.ndarray
    label: np.ndarray
    predicted: np.ndarray
    probability: np.ndarray
    drop: np.ndarray
    relevance: np.ndarray
    regions: Mapping[str, np.ndarray]
    time: Mapping[str, Mapping[str, np.ndarray]]


def concat(parts: list[Explained]) -> Explained:
    """Concatenate the views of all parts."""
    flat = ("clip", "label", "predicted", "probability", "drop", "relevance")
    arrays = {name: np.concatenate([getattr(part, name) for part in parts]) for name in flat}
    return Explained(
        **arrays,
        regions=joined([part.regions for part in parts]),
        time={name: joined([part.time[name] for part in parts]) for name in parts[0].time},
    )


def group(
    found: Explained, views: np.ndarray, seen_N: np.ndarray, kinds: list[str]
) -> dict[str, Any]:
    """Average over some views (bool [V], at least one true), and test whether attention and
    relevance agree with occlusion over them.

    `shown` is the map that does so better in single views, `relevance` where there is no attention.
    """
    drop_VN, relevance_VN = found.drop[views], found.relevance[views]
    hidden = not np.isnan(relevance_VN).any()
    statistics: dict[str, Any] = {
        "views": int(views.sum()),
        "clips": list(dict.fromkeys(found.clip[views])),
        "probability": rounded(found.probability[views].mean()),
        "drop": rounded(drop_VN.mean(0)),
        "attention": None,
        "uniform": None,
        "agreement": None,
        "relevance": rounded(relevance_VN.mean(0)),
        "relevance_agreement": agreement(relevance_VN, drop_VN, seen_N) if hidden else None,
        "relevance_gain": None,
        "shown": "relevance" if hidden else None,
        "edges": edges(found, views, kinds),
        "time": {stream: over_time(values, views) for stream, values in found.time.items()},
    }
    if found.regions:
        attention_VN = found.regions["attention"][views]
        uniform = found.regions["uniform"][views].mean(0)
        better = gain(relevance_VN, attention_VN, drop_VN, seen_N) if hidden else None
        statistics |= {
            "attention": rounded(attention_VN.mean(0)),
            "uniform": rounded(uniform),
            "agreement": agreement(attention_VN, drop_VN, seen_N, uniform),
            "relevance_gain": better,
            "shown": "relevance" if better and better["mean"] > 0 else "attention",
        }
    return statistics


def by_class(
    found: Explained, usual: np.ndarray, classes: list[str], seen_N: np.ndarray, kinds: list[str]
) -> Iterator[dict[str, Any]]:
    """Group the views by true class, whatever was predicted."""
    for number, name in enumerate(classes):
        views = usual & (found.label == number)
        if views.any():
            correct = int((found.predicted[views] == number).sum())
            yield {"label": name, "correct": correct, **group(found, views, seen_N, kinds)}


def pairs(
    found: Explained,
    ranked: Mapping[tuple[int, int], int],
    classes: list[str],
    seen_N: np.ndarray,
    kinds: list[str],
) -> Iterator[dict[str, Any]]:
    """Group the views of one class that are predicted as another, for each pair of `confused` that
    the explained networks confuse; `predictions` is how often all runs do."""
    for (label, predicted), count in ranked.items():
        views = (found.label == label) & (found.predicted == predicted)
        if views.any():
            names = {"label": classes[label], "predicted": classes[predicted]}
            yield {**names, "predictions": count, **group(found, views, seen_N, kinds)}


def edges(found: Explained, views: np.ndarray, kinds: list[str]) -> list[dict[str, Any]] | None:
    """Compute the share of attention that each kind of edge carries; None without graph layers."""
    if "edges" not in found.regions:
        return None
    share, uniform = (found.regions[name][views].mean(0) for name in ("edges", "uniform_edges"))
    return [
        {"kind": kind, "attention": rounded(share[n]), "uniform": rounded(uniform[n])}
        for n, kind in enumerate(kinds)
    ]


def over_time(every: Mapping[str, np.ndarray], views: np.ndarray) -> dict[str, Any]:
    """Average one stream's attention over time; sources that no layer reads are left out."""
    values = {name: array[views] for name, array in every.items()}
    shares, uniform = values["shares"].mean(0), values["uniform_shares"].mean(0)
    read = [n for n in range(len(SOURCES)) if uniform[n] > 0]
    offsets, uniform_offsets = values["offsets"].mean(0), values["uniform_offsets"].mean(0)
    parts, uniform_parts = values["parts"].sum(0), values["uniform_parts"].sum(0)
    return {
        "sources": {
            SOURCES[n]: {
                "share": rounded(shares[n]),
                "uniform": rounded(uniform[n]),
                "offsets": rounded(offsets[n]),
                "uniform_offsets": rounded(uniform_offsets[n]),
            }
            for n in read
        },
        "from": -OFFSETS,
        # 1: as much as with uniform attention; None: no clip is long enough for this part
        "parts": [
            rounded(part / uniform_part) if uniform_part > 0 else None
            for part, uniform_part in zip(parts, uniform_parts, strict=True)
        ],
    }


def rounded(values: Any) -> Any:
    """Round to plain numbers, None for NaN; adding 0 turns -0.0 into 0.0."""
    rounded: np.ndarray = np.round(np.asarray(values, np.float64), DIGITS) + 0.0
    return np.where(np.isnan(rounded), np.array(None), rounded.astype(object)).tolist()
