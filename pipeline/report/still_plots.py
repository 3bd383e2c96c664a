"""The plots of `dvc plots` as SVG files: the interactive ones need scripts from a network."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from arpgnet.pipeline.report.charts import (
    BLUE,
    STYLE,
    curves_charts,
    reliability_chart,
    to_svg,
)
from arpgnet.pipeline.report.face_parts import region_names
from arpgnet.pipeline.report.page import Results
from arpgnet.pipeline.tables.predictions import NETWORK

MOST_BARS = 60  # more are no longer read one by one
NUMBERS_UP_TO = 15  # classes, for which a number fits into a cell


def still_plots(results: Results) -> dict[str, str]:
    """Return SVG by file name; equal results give equal text."""
    return {f"{name}.svg": text for name, text in _plots(results)}


def _plots(results: Results) -> Iterator[tuple[str, str]]:
    details, classes = results.details, results.manifest.classes
    counts = np.asarray(details["models"][NETWORK]["confusion"], dtype=float)
    yield "confusion", _confusion(counts, classes)
    loss, score = curves_charts(results.curves)
    yield "loss", loss
    yield "val_uar", score
    yield "reliability", reliability_chart(details["reliability"])
    rows = details["subjects"]["rows"]
    subjects = [(row["subject"], row["uar"]) for row in rows if row["uar"] is not None]
    yield from _bars("subjects", "UAR per subject", "UAR", subjects)
    names, every = region_names(results.explanations["regions"]), results.explanations["all"]
    if every["attention"]:
        pairs = zip(names, every["attention"], every["uniform"], strict=True)
        times = [(name, own / even) for name, own, even in pairs if even]
        title = "Attention per region"
        yield from _bars("attention", title, "times uniform attention", times)
    drop = [pair for pair in zip(names, every["drop"], strict=True) if pair[1] is not None]
    title = "Occlusion effect"
    yield from _bars("occlusion", title, "drop in the predicted class's probability", drop)


def _confusion(counts: np.ndarray, classes: list[str]) -> str:
    """Draw [K, K or K + 1] counts as fractions of the true class; the last is no prediction."""
    columns = [*classes, "none"][: counts.shape[1]]
    part = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = max(3.5, 0.45 * len(columns) + 1.5)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(side, side))
        axes = figure.subplots()
        axes.imshow(part, cmap="Blues", vmin=0, vmax=1)
        axes.set_xticks(range(len(columns)), columns, rotation=45, ha="right")
        axes.set_yticks(range(len(classes)), classes)
        axes.set(xlabel="predicted", ylabel="actual", title="Confusion (fraction of actual)")
        if len(classes) <= NUMBERS_UP_TO:
            for (row, column), value in np.ndenumerate(part):
                color = "white" if value > 0.5 else "black"
                axes.text(column, row, f"{value:.2f}", ha="center", va="center", color=color,
                          fontsize=8)  # fmt: skip
        return to_svg(figure, "Confusion matrix")


def _bars(
    file: str, title: str, label: str, values: Sequence[tuple[str, float]]
) -> Iterator[tuple[str, str]]:
    """Draw a bar per name, the highest first; nothing where there is none."""
    ranked = sorted(values, key=lambda pair: -pair[1])[:MOST_BARS]
    if not ranked:
        return
    names, lengths = zip(*ranked, strict=True)
    shown = title if len(ranked) == len(values) else f"{title}, the highest {MOST_BARS}"
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(5.5, 0.2 * len(ranked) + 1.2))
        axes = figure.subplots()
        axes.barh(range(len(ranked)), lengths, color=BLUE)
        axes.set_yticks(range(len(ranked)), names, fontsize=8)
        axes.invert_yaxis()
        axes.set(xlabel=label, title=shown)
        axes.xaxis.set_major_locator(MaxNLocator(6))
        yield file, to_svg(figure, title)
