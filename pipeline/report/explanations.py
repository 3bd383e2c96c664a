"""The page's part about what the networks attend to, and whether that can be trusted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup

from arpgnet.pipeline.common.wording import plural
from arpgnet.pipeline.report.effects import Effect, effect_of, title_of, words_of
from arpgnet.pipeline.report.face_parts import distinct, region_names
from arpgnet.pipeline.report.heat_maps import heat_maps, time_charts
from arpgnet.pipeline.report.images import mean_face
from arpgnet.pipeline.tables.shards import ShardReader

MOST_LISTED = 3  # regions in a sentence
FEWEST = 8  # views from which on two maps are compared in words


def explanations_view(found: Mapping[str, Any], faces: ShardReader) -> dict[str, Any]:
    """Return what the template needs of `reports/explanations.json`."""
    words = words_of(found)
    whole = _group(found["all"], found, faces, words["whole"], every=True)
    return {
        "words": words,
        "shown": _shown(found),
        "hidden_from": _hidden_from(found["hidden_from"]),
        "whole": whole | {"agreement": agreement_sentence(found["all"], found["agree_from"])},
        "pairs": [_group(pair, found, faces, _pair_title(pair)) for pair in found["pairs"]],
        "classes": [
            {
                **_group(values, found, faces, title_of(found, values["label"])),
                "correct": f"{values['correct']} of {values['views']} correct"
                if values["correct"] is not None
                else "",
            }
            for values in found["by_class"]
        ],
    }


def _edges(rows: Sequence[Mapping[str, Any]] | None) -> list[dict[str, str]]:
    return [
        {
            "kind": row["kind"],
            "attention": f"{row['attention']:.1%}",
            "uniform": f"{row['uniform']:.1%}",
            "ratio": f"{row['attention'] / row['uniform']:.2f}" if row["uniform"] else "",
        }
        for row in rows or []
    ]


def agreement_sentence(values: Mapping[str, Any], agree_from: float) -> str:
    """Say whether the maps of a group of views may be read as explanations."""
    if values["views"] < FEWEST:
        return "Too few to compare the maps with occlusion: examples, not evidence."
    said = [_attention_sentence(values, agree_from), _relevance_sentence(values)]
    return " ".join(one for one in said if one)


def _attention_sentence(values: Mapping[str, Any], agree_from: float) -> str:
    agreement = values["agreement"]
    if agreement is None:
        return "This network has no attention over regions."
    rho, regions = agreement["rho"], agreement["regions"]
    if rho is None:
        return (
            f"Attention and occlusion cannot be compared over {plural(regions, 'region')}: do not "
            "read the attention map as an explanation."
        )
    uniform, halves = agreement["uniform_rho"], agreement["halves_rho"]
    against = "" if uniform is None else f"; uniform attention over the same graph: {uniform:.2f}"
    said = f"rho {rho:.2f} over {regions} regions{against}"
    noise = "" if halves is None else (
        f" The occlusion maps of two halves of the clips agree with rho {halves:.2f}."
    )  # fmt: skip
    if agreement["agree"]:
        return f"Attention and occlusion agree: {said}.{noise}"
    why = "" if rho < agree_from else " more than uniform attention and occlusion do"
    return (
        f"Attention and occlusion do not agree{why}: {said}. Do not read the attention map as an "
        f"explanation.{noise}"
    )


def _relevance_sentence(values: Mapping[str, Any]) -> str:
    """Say how well relevance agrees, and by how much better than attention."""
    agreement = values["relevance_agreement"]
    if agreement is None or agreement["rho"] is None:
        return "Only occlusion tells what it uses."
    outcome = "agree" if agreement["agree"] else "do not agree"
    said = f"Relevance and occlusion {outcome}: rho {agreement['rho']:.2f}"
    if agreement["each"]:
        said += f", clip by clip {_with_interval(agreement['each'])}"
    better = values["relevance_gain"]
    if better is None or values["agreement"] is None:
        return f"{said}."
    certain = better["ci_low"] > 0 or better["ci_high"] < 0
    attention = _with_interval(values["agreement"]["each"])
    return (
        f"{said}; attention clip by clip {attention}, a difference of {_with_interval(better)}"
        f"{'' if certain else ', an interval that includes 0'}."
    )


def _with_interval(score: Mapping[str, float]) -> str:
    return f"{score['mean']:.2f} [{score['ci_low']:.2f}, {score['ci_high']:.2f}]"


def short_agreement(values: Mapping[str, Any]) -> str:
    """Say in a few words how well the map that is shown agrees, for groups after the whole."""
    shown = values["shown"]
    if shown is None or values["views"] < FEWEST:
        return "too few to compare the maps" if shown else "nothing to compare"
    agreement = values["agreement" if shown == "attention" else "relevance_agreement"]
    if agreement["rho"] is None:
        return "the maps cannot be compared"
    outcome = "agree" if agreement["agree"] else "do not agree"
    return f"{shown} and occlusion {outcome} (rho {agreement['rho']:.2f})"


def _shown(found: Mapping[str, Any]) -> str:
    whole, unit = found["all"], found["unit"]
    number = len(found["networks"])
    added = ""
    if unit == "clips" and "most_per_class" in found:
        more = found["most_per_class"]
        added = f" Up to {more} more clips per confused pair count for that pair alone."
    return (
        f"{plural(whole['views'], 'test ' + unit[:-1])} ({words_of(found)['drawn']}, drawn with a "
        f"fixed seed), each explained for a network that was not trained on it "
        f"({plural(number, 'network')}: the lowest seed of each fold). Regions that are visible in "
        f"less than {found['regions']['compared_from']:.0%} of the frames are not occluded and are "
        f"left blank.{added}"
    )


def _hidden_from(branches: Sequence[str]) -> str:
    if not branches:
        return (
            "No region can be occluded for this network: its appearance branch reads an embedding "
            "of the whole face, or two views of it, and there is no region graph."
        )
    where = {
        "relation": "the region graph, as if it lay outside the image",
        "appearance": "the appearance branch's mean feature map, where it is replaced by the "
        "region's mean over all these frames",
    }
    said = "An occluded region is removed from "
    said += ", and from ".join(where[name] for name in branches)
    if "appearance" not in branches:
        said += "; the appearance branch, if any, still sees the whole face"
    return said + "."


def _pair_title(pair: Mapping[str, Any]) -> str:
    return f"{pair['label']} predicted as {pair['predicted']}"


def _group(
    values: Mapping[str, Any],
    found: Mapping[str, Any],
    faces: ShardReader,
    title: str,
    *,
    every: bool = False,
) -> dict[str, Any]:
    """Return a group of views: its maps (attention or relevance, whichever agrees better with
    occlusion; `every`: both), sentences and charts."""
    regions, unit = found["regions"], found["unit"]
    seen = np.array(regions["seen"]) >= regions["compared_from"]
    drop = np.array(values["drop"], np.float64)
    maps = {}
    if values["attention"] is not None and (every or values["shown"] == "attention"):
        maps["attention"] = np.where(seen, np.array(values["attention"]), np.nan)
    if values["relevance_agreement"] and (every or values["shown"] == "relevance"):
        relevance = np.array(values["relevance"], np.float64)
        maps["relevance"] = _share(np.where(seen, relevance, np.nan))
    if not np.isnan(drop).all():
        maps["occlusion effect"] = _share(drop)
    face = mean_face(values["clips"], faces)
    effect = effect_of(found.get("kind"), values.get("label"))
    mean = f", {effect.mean} {values['probability']:.2f}" if effect.mean else ""
    views = values["views"]
    total = (
        f"; {plural(values['predictions'], 'such prediction')} in all runs"
        if "predictions" in values
        else ""
    )
    return {
        "title": title,
        "correct": "",
        "count": f"{plural(views, unit[:-1])}{mean}{total}",
        "maps": [Markup(svg) for svg in heat_maps(face, regions, maps, title)] if maps else [],
        "agreement": short_agreement(values),
        "words": _words(values, region_names(regions), drop, effect),
        "edges": _edges(values["edges"]),
        "main": _main(region_names(regions), drop),
        "edge_words": _edge_words(values["edges"]),
        "streams": list(_streams(values["time"])),
        "time": [Markup(svg) for svg in time_charts(values["time"])] if values["time"] else [],
    }


def _share(drop: np.ndarray) -> np.ndarray:
    """Normalize to sum 1; a region without which the class is more probable counts 0."""
    falls = np.clip(drop, 0, None)
    total = np.nansum(falls)
    return falls / total if total > 0 else falls


def _words(
    values: Mapping[str, Any], names: Sequence[str], drop: np.ndarray, effect: Effect
) -> str:
    parts = []
    if values["shown"] == "relevance":
        relevance = np.nan_to_num(_share(np.array(values["relevance"], np.float64)))
        most = [n for n in np.argsort(-relevance, kind="stable") if relevance[n] > 0]
        listed = "; ".join(
            f"{names[n]} {relevance[n]:.1%}" for n in distinct(most, names, MOST_LISTED)
        )
        parts.append(f"Most relevance: {listed}." if listed else "No region is relevant.")
    elif values["attention"] is not None:
        attention, uniform = np.array(values["attention"]), np.array(values["uniform"])
        most = distinct(np.argsort(-attention, kind="stable").tolist(), names, MOST_LISTED)
        listed = "; ".join(
            f"{names[n]} {attention[n]:.1%} (uniform attention {uniform[n]:.1%})" for n in most
        )
        parts.append(f"Most attention: {listed}.")
    falls = np.nan_to_num(drop)
    order = [n for n in np.argsort(-falls, kind="stable") if falls[n] > 0]
    if order:
        listed = "; ".join(
            f"{names[n]} {falls[n]:.4f}" for n in distinct(order, names, MOST_LISTED)
        )
        parts.append(f"Largest mean {effect.noun}: {listed}.")
    elif not np.isnan(drop).all():
        parts.append(f"No single occluded region {effect.verb}.")
    return " ".join(parts)


def _main(names: Sequence[str], drop: np.ndarray) -> str:
    falls = np.nan_to_num(drop)
    return names[int(falls.argmax())] if falls.max(initial=0.0) > 0 else ""


def _edge_words(rows: Sequence[Mapping[str, Any]] | None) -> str:
    """Name the kind of edge that is preferred most over uniform attention."""
    known = [row for row in rows or [] if row["uniform"]]
    if not known:
        return ""
    most = max(known, key=lambda row: row["attention"] / row["uniform"])
    ratio = most["attention"] / most["uniform"]
    return f"{most['kind']} edges carry {ratio:.2f} times uniform attention"


def _streams(time: Mapping[str, Mapping[str, Any]]) -> list[str]:
    said = []
    for stream, values in time.items():
        sources = values["sources"]
        if len(sources) == 2:
            own, other = sources["own"], sources["other"]
            said.append(
                f"A frame of the {stream} sequence gives {own['share']:.1%} of its attention to "
                f"its own sequence and {other['share']:.1%} to the other (uniform attention: "
                f"{own['uniform']:.1%} and {other['uniform']:.1%})."
            )
    return said
