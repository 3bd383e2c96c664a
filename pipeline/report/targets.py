"""The page and the model card of tasks with target values: action units, intensities, valence and
arousal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import matplotlib
import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure

from arpgnet.pipeline.common.wording import plural, unit_note
from arpgnet.pipeline.report.ablations import ablations_view
from arpgnet.pipeline.report.card import data_sets, settings_rows
from arpgnet.pipeline.report.charts import STYLE, curves_charts, to_svg
from arpgnet.pipeline.report.explanations import explanations_view
from arpgnet.pipeline.report.further import further_views
from arpgnet.pipeline.report.page import (
    Results,
    coverage_view,
    dataset_name,
    faces_view,
    settings_text,
    tested,
)
from arpgnet.pipeline.report.score_tables import (
    BASELINES,
    SCORES,
    cell,
    columns,
    model_rows,
    output_rows,
)
from arpgnet.pipeline.report.sentences import interval, number, plus_minus, smoothing
from arpgnet.pipeline.report.settings import settings_digest
from arpgnet.pipeline.report.templates import render_card, render_page
from arpgnet.pipeline.report.verdict import VERBS, outcome_of, rendered, unit_warning
from arpgnet.pipeline.tables.facs import SCALES
from arpgnet.pipeline.tables.predictions import NETWORK


def is_of_targets(results: Results) -> bool:
    """Whether the run's task has target values, not classes."""
    return "kind" in results.details


def claim(results: Results) -> str:
    """Judge the network by the best of its baselines, in a sentence with its limits."""
    details = results.details
    score = details["scores"][0]
    name = SCORES[score][0]
    gains = details["gain_over_baselines"]
    own = details["models"][NETWORK]["scores"][score]
    said = f"mean {name} {number(own['mean'])} {interval(own)}"
    whom = f"tested on {plural(details['intervals_over'], details['interval_unit'])}"
    limits = list(_limits(results))
    if not gains:
        return f"ARPGNet was not compared with any baseline; {said}, {whom}."
    nearest = min(gains, key=lambda one: gains[one][score]["mean"])
    gain = gains[nearest][score]
    beside = f" ({'; '.join(limits)})" if limits else ""
    return (
        f"ARPGNet {VERBS[outcome_of(gain)]} the best baseline, {BASELINES.get(nearest, nearest)}: "
        f"{gain['mean']:+.3f} {name} {interval(gain)}; {said}{beside}, {whom}."
    )


def _limits(results: Results) -> Iterator[str]:
    manifest = results.manifest
    if faces := rendered(manifest):
        yield faces
    if manifest.notes["protocol"]["group_by"] != "subject":
        yield "not subject-disjoint"
    if few := unit_warning(results.details):
        yield few
    if results.metrics["seeds"] == 1:
        yield "one seed"


def render_targets(results: Results) -> str:
    """Render the page's HTML; every text from data is escaped."""
    faces = results.shards["faces"].metadata
    score = results.details["scores"][0]
    return render_page(
        "targets.html.j2",
        **_common(results),
        **faces_view(results),
        charts=[Markup(svg) for svg in co_occurrence_charts(results.details).values()],
        curves=[
            Markup(svg)
            for svg in curves_charts(results.curves, score=SCORES[score][0], loss="loss")
        ],
        explanations=explanations_view(results.explanations, results.shards["faces"])
        if "all" in results.explanations
        else None,
        ablations=ablations_view(results.ablations, results.details["predictions_sha256"]),
        provenance=results.provenance,
        pack=f"{faces['pack']} (license of the weights: {faces['license']})",
        settings=settings_text(results.params),
    )


def targets_card(results: Results) -> str:
    """Render the model card; every text from data is escaped."""
    faces = results.shards["faces"].metadata
    return render_card(
        "targets_card.md.j2",
        **_common(results),
        pack=faces["pack"],
        pack_license=faces["license"],
        sets=data_sets(results.manifest),
        settings=list(settings_rows(results)),
        provenance=results.provenance,
        settings_digest=settings_digest(results.params),
        digest=results.details["predictions_sha256"],
    )


def _common(results: Results) -> dict[str, Any]:
    """Return what page and card show of the results."""
    details, metrics, manifest = results.details, results.metrics, results.manifest
    title, scale = SCALES[details["kind"]]
    scores = details["scores"]
    protocol = manifest.notes["protocol"]
    level = f"{details['confidence']:.0%}"
    return {
        "title": title,
        "scale": scale,
        "verdict": claim(results),
        "rendered": rendered(manifest),
        "dataset": dataset_name(results),
        "protocol": f"{protocol['protocol']}, {plural(metrics['folds'], 'fold')}, "
        f"{plural(metrics['seeds'], 'seed')}{_official(protocol)}",
        "tested": tested(metrics),
        "level": level,
        "interval_note": f"Brackets: {level} interval from {details['bootstrap']} bootstrap "
        f"resamples of {plural(details['intervals_over'], details['interval_unit'])}"
        f"{unit_note(details['interval_unit'])}. ±: standard deviation over seeds.",
        "scores": [SCORES[score] for score in scores],
        "tiles": [
            {
                "name": f"mean {SCORES[score][0]}",
                "value": number(metrics[score]["mean"]),
                "detail": f"{interval(metrics[score])}{plus_minus(metrics[score])}",
            }
            for score in scores
        ]
        + [
            {
                "name": "coverage",
                "value": f"{metrics['coverage']['mean']:.1%}",
                "detail": f"of {tested(metrics)} have a prediction",
            }
        ],
        "models": list(model_rows(details, scores)),
        "outputs": list(output_rows(details)),
        "columns": columns(details, "frame" if "frames" in metrics else "clip"),
        "threshold": _threshold(details),
        "missing": _missing(details),
        "smoothing": smoothing(details).strip(),
        "subjects": [
            {"name": row["subject"], "score": cell(row[scores[0]])} for row in details["subjects"]
        ],
        "coverage": coverage_view(results),
        "also": further_views(details, metrics),
    }


def _official(protocol: Mapping[str, Any]) -> str:
    """Say whether the clips were split as in the data set's publications."""
    if not protocol["published"]:
        return ""
    words = protocol["words"]
    return f" (the data set's own: {words})" if words else " (not the data set's own)"


def _threshold(details: Mapping[str, Any]) -> str:
    if details["threshold"] is None:
        return ""
    if details["threshold"] == "fixed":
        return "A unit counts as present from a probability of 0.5 on, in every model."
    values = np.array(list(details["thresholds"].values()))
    return (
        "A unit counts as present from the probability that has the best F1 on validation. It is "
        f"chosen for each run and unit ({values.min():.2f} to {values.max():.2f}), and in the same "
        "way for the linear models."
    )


def _missing(details: Mapping[str, Any]) -> str:
    if details["threshold"] is not None and details["missing"] == "wrong":
        return "Where there is no prediction, the opposite of the annotation counts as predicted."
    return "What has no prediction is not scored."


def targets_plots(results: Results) -> dict[str, str]:
    """Return SVG by file name, for `dvc plots`; equal results give equal text."""
    score = results.details["scores"][0]
    loss, scores = curves_charts(results.curves, score=SCORES[score][0], loss="loss")
    units = co_occurrence_charts(results.details)
    found = {"loss": loss, f"val_{score}": scores}
    found |= {f"co_occurrence_{kind}": svg for kind, svg in units.items()}
    return {f"{name}.svg": text for name, text in found.items()}


def co_occurrence_charts(details: Mapping[str, Any]) -> dict[str, str]:
    """Draw how often each unit is present where another is: `annotated`, and `predicted`."""
    charts: dict[str, str] = {}
    names = [name.removeprefix("au_") for name in details["outputs"]]
    with matplotlib.rc_context(STYLE):
        for kind, shares in (details["co_occurrence"] or {}).items():
            figure = Figure(figsize=(4.6, 4.1))
            axes = figure.subplots()
            values = np.array(shares, dtype=np.float64)
            image = axes.imshow(values, cmap="Blues", vmin=0, vmax=1)
            axes.set(
                xlabel="is present, too",
                ylabel="where this unit is present",
                title=f"Co-occurrence, {kind}",
                xticks=range(len(names)),
                yticks=range(len(names)),
            )
            axes.set_xticklabels(names, fontsize=8)
            axes.set_yticklabels(names, fontsize=8)
            figure.colorbar(image, ax=axes, label="fraction", shrink=0.8)
            charts[kind] = to_svg(figure, f"Co-occurrence of action units, {kind}")
    return charts
