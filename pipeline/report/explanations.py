"""The page's part about what the networks attend to, and whether that can be believed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup

from arpgnet.pipeline.report.heat_maps import heat_maps, time_chart
from arpgnet.pipeline.report.images import mean_face
from arpgnet.pipeline.tables.shards import ShardReader

MOST_NAMED = 3  # regions that a sentence names
FEWEST = 8  # views from which on two maps are compared in words


def explanations_view(found: Mapping[str, Any], faces: ShardReader) -> dict[str, Any]:
    """What the template needs of `reports/explanations.json`."""
    return {
        "shown": _shown(found),
        "hidden_from": _hidden_from(found["hidden_from"]),
        "groups": [
            _group(facts, found, faces, title)
            for title, facts in (
                ("All classes", found["all"]),
                *((_pair_title(pair), pair) for pair in found["pairs"]),
            )
        ],
        "classes": [
            {
                **_group(facts, found, faces, facts["label"]),
                "right": f"{facts['right']} of {facts['views']} named rightly",
            }
            for facts in found["by_class"]
        ],
    }


def _edges(rows: Sequence[Mapping[str, Any]] | None) -> list[dict[str, str]]:
    return [
        {
            "kind": row["kind"],
            "attention": f"{row['attention']:.1%}",
            "even": f"{row['even']:.1%}",
            "ratio": f"{row['attention'] / row['even']:.2f}" if row["even"] else "",
        }
        for row in rows or []
    ]


def agreement_sentence(facts: Mapping[str, Any], agree_from: float) -> str:
    """Whether the attention map of a group of views may be read as a reason."""
    agreement = facts["agreement"]
    if agreement is None:
        return "This network has no attention over regions: only hiding them says what it uses."
    if facts["views"] < FEWEST:
        return "Too few to compare attention and occlusion: examples, not evidence."
    rho, regions = agreement["rho"], agreement["regions"]
    if rho is None:
        return (
            f"Attention and occlusion cannot be compared over {regions} regions: do not read the "
            "attention map as a reason."
        )
    even, halves = agreement["even_rho"], agreement["halves_rho"]
    against = "" if even is None else f"; an even attention over the same graph: {even:.2f}"
    said = f"rho {rho:.2f} over {regions} regions{against}"
    noise = "" if halves is None else (
        f" Two halves of the clips give occlusion maps that agree with rho {halves:.2f}."
    )  # fmt: skip
    if agreement["agree"]:
        return f"Attention and occlusion agree: {said}.{noise}"
    why = "" if rho < agree_from else " more than an even attention and occlusion do"
    return (
        f"Attention and occlusion do not agree{why}: {said}. Do not read the attention map as a "
        f"reason; the occlusion map says what made a difference.{noise}"
    )


def _shown(found: Mapping[str, Any]) -> str:
    whole, unit = found["all"], found["unit"]
    number = len(found["networks"])
    added = f" At most {found['most_a_class']} more a confused pair count for that pair alone."
    return (
        f"{whole['views']} test {unit} (at most {found['most_a_class']} a class, drawn with a "
        f"fixed seed), each by the network that did not train on it ({number} "
        f"network{'s' * (number > 1)}: the lowest seed of each fold). Regions that less than "
        f"{found['regions']['compared_from']:.0%} of the frames show are not hidden and are left "
        f"blank.{added if unit == 'clips' else ''}"
    )


def _hidden_from(branches: Sequence[str]) -> str:
    if not branches:
        return (
            "No region can be hidden from this network: its appearance branch reads an embedding "
            "of the whole face, and there is no region graph."
        )
    where = {
        "relation": "the region graph, as if it lay outside the picture",
        "appearance": "the appearance branch's mean map, where the region's mean over all these "
        "frames takes its place",
    }
    said = "A region is hidden from " + ", and from ".join(where[name] for name in branches)
    if "appearance" not in branches:
        said += "; an appearance branch still sees the whole face"
    return said + "."


def _pair_title(pair: Mapping[str, Any]) -> str:
    return f"{pair['label']} named {pair['named']}"


def _group(
    facts: Mapping[str, Any], found: Mapping[str, Any], faces: ShardReader, title: str
) -> dict[str, Any]:
    regions, unit = found["regions"], found["unit"]
    seen = np.array(regions["seen"]) >= regions["compared_from"]
    drop = np.array(facts["drop"], np.float64)
    maps = {}
    if facts["attention"] is not None:
        maps["attention to a region"] = np.where(seen, np.array(facts["attention"]), np.nan)
    if not np.isnan(drop).all():
        maps["drop when it is hidden"] = _share(drop)
    face = mean_face(facts["clips"], faces)
    views = facts["views"]
    total = (
        f"; {facts['predictions']} such predictions in all runs" if "predictions" in facts else ""
    )
    return {
        "title": title,
        "count": f"{views} {unit if views > 1 else unit[:-1]}, named with probability "
        f"{facts['probability']:.2f} on average{total}",
        "picture": Markup(heat_maps(face, regions, maps, title)) if maps else None,
        "agreement": agreement_sentence(facts, found["agree_from"]),
        "words": _words(facts, regions["names"], drop),
        "edges": _edges(facts["edges"]),
        "streams": list(_streams(facts["time"])),
        "time": Markup(time_chart(facts["time"])) if facts["time"] else None,
    }


def _share(drop: np.ndarray) -> np.ndarray:
    """Of the sum of all drops; a region without which the class is more probable counts 0."""
    falls = np.clip(drop, 0, None)
    total = np.nansum(falls)
    return falls / total if total > 0 else falls


def _words(facts: Mapping[str, Any], names: Sequence[str], drop: np.ndarray) -> str:
    parts = []
    if facts["attention"] is not None:
        attention, even = np.array(facts["attention"]), np.array(facts["even"])
        most = np.argsort(-attention, kind="stable")[:MOST_NAMED]
        listed = "; ".join(
            f"{names[n]} {attention[n]:.1%} (even attention {even[n]:.1%})" for n in most
        )
        parts.append(f"Most attended: {listed}.")
    falls = np.nan_to_num(drop)
    fallen = [n for n in np.argsort(-falls, kind="stable")[:MOST_NAMED] if falls[n] > 0]
    if fallen:
        listed = "; ".join(f"{names[n]} {falls[n]:.4f}" for n in fallen)
        parts.append(f"Largest mean drop of the named class's probability: {listed}.")
    elif not np.isnan(drop).all():
        parts.append("Hiding a single region lowers the named class's probability nowhere.")
    return " ".join(parts)


def _streams(time: Mapping[str, Mapping[str, Any]]) -> list[str]:
    said = []
    for stream, facts in time.items():
        sources = facts["sources"]
        if len(sources) == 2:
            own, other = sources["own"], sources["other"]
            said.append(
                f"A frame of the {stream} sequence gives {own['share']:.1%} of its attention to "
                f"its own sequence and {other['share']:.1%} to the other (evenly: "
                f"{own['even']:.1%} and {other['even']:.1%})."
            )
    return said
