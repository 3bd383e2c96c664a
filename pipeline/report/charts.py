"""Charts as inline SVG: same data, same bytes (fixed hash salt, no date)."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import matplotlib
from matplotlib.figure import Figure
from matplotlib.ticker import FormatStrFormatter, MaxNLocator

# Okabe-Ito: told apart by color-blind readers too
BLUE, ORANGE = "#0072B2", "#D55E00"
STYLE: Any = {
    "svg.hashsalt": "arpgnet",  # else every run gets other element ids
    "svg.fonttype": "none",  # text stays text: small, searchable, sharp
    "text.parse_math": False,  # a class may be called "$"
    "font.size": 10,
    "font.family": "sans-serif",
    "axes.spines.top": False,
    "axes.spines.right": False,
}
THIN: Any = {"lw": 0.9, "alpha": 0.6}  # eight runs and more over each other


@dataclass(frozen=True)
class Curve:
    """One run's history: `epoch` int[E], `train_loss`, `val_loss`, `val_score` float[E]."""

    epoch: Sequence[int]
    train_loss: Sequence[float]
    val_loss: Sequence[float]
    val_score: Sequence[float]


def curves_charts(
    curves: Mapping[str, Curve], *, score: str = "UAR", loss: str = "cross-entropy loss"
) -> list[str]:
    """Draw losses, and a validation score, over epochs, one thin line per run (fold and seed)."""
    with matplotlib.rc_context(STYLE):
        loss_figure, score_figure = Figure(figsize=(4.3, 3.1)), Figure(figsize=(4.3, 3.1))
        losses, scores = loss_figure.subplots(), score_figure.subplots()
        for number, curve in enumerate(curves.values()):
            for name, values, color in (
                ("training", curve.train_loss, BLUE),
                ("validation", curve.val_loss, ORANGE),
            ):
                label = None if number else name  # the legend names each color once
                losses.plot(curve.epoch, values, color=color, label=label, **THIN)
            scores.plot(curve.epoch, curve.val_score, color=ORANGE, **THIN)
        losses.set(xlabel="epoch", ylabel=loss, title="Loss")
        losses.legend(frameon=False)
        title = f"Validation {score}"
        scores.set(xlabel="epoch", ylabel=f"{score} (0 to 1)", title=title, ylim=(0, 1))
        for axes in (losses, scores):
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        return [
            to_svg(loss_figure, "Training curves: loss"),
            to_svg(score_figure, f"Training curves: validation {score}"),
        ]


def reliability_chart(bins: Sequence[Mapping[str, Any]]) -> str:
    """Draw accuracy against the probability of the predicted class, and how many predictions.

    Args:
        bins: `from`, `to`, `confidence`, `right` (accuracy), `predictions` and, where known,
            `ci_low`, `ci_high` of each bin.
    """
    confidence = [row["confidence"] for row in bins]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(4.9, 4.0))
        above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
        above.plot([0, 1], [0, 1], color="0.45", lw=1, ls="--", label="perfect calibration")
        known = [row for row in bins if row.get("ci_low") is not None]
        above.vlines(
            [row["confidence"] for row in known],
            [row["ci_low"] for row in known],
            [row["ci_high"] for row in known],
            color=BLUE,
            lw=1.2,
        )
        correct = [row["correct"] for row in bins]
        above.plot(confidence, correct, color=BLUE, **THIN)
        above.plot(confidence, correct, "o", color=BLUE, ms=5, label="ARPGNet")
        above.set(ylabel="accuracy (0 to 1)", title="Reliability", ylim=(-0.02, 1.02))
        # where an underconfident network has no dots
        above.legend(frameon=False, loc="lower right")
        below.bar(
            [row["from"] for row in bins],
            [row["predictions"] for row in bins],
            width=[row["to"] - row["from"] for row in bins],
            align="edge",
            color=BLUE,
            edgecolor="white",
        )
        below.set(
            xlabel="probability of the predicted class (0 to 1)", ylabel="predictions", xlim=(0, 1)
        )
        below.yaxis.set_major_locator(MaxNLocator(3, integer=True))
        return to_svg(figure, "Reliability diagram")


def views_charts(counts: Mapping[str, Any]) -> list[str]:
    """Draw how many frames have a face turned so far, and one so large.

    Args:
        counts: of `yaw` in degrees and `size` in pixels; each has the `limits` of its bins, and the
            `frames` in them.
    """
    drawn = []
    with matplotlib.rc_context(STYLE):
        for name, label, title in (
            ("yaw", "yaw (degrees, to the image's right)", "Yaw of the heads"),
            ("size", "shorter side of the face's box (pixels)", "Size of the faces"),
        ):
            limits, frames = counts[name]["limits"], counts[name]["frames"]
            figure = Figure(figsize=(4.3, 2.6))
            axes = figure.subplots()
            axes.bar(
                limits[:-1],
                frames,
                width=[high - low for low, high in pairwise(limits)],
                align="edge",
                color=BLUE,
                edgecolor="white",
            )
            axes.set(xlabel=label, ylabel="frames", title=title)
            if name == "size":
                filled = [place for place, count in enumerate(frames) if count] or [0]
                axes.set_xscale("log", base=2)
                low, high = limits[filled[0]], limits[filled[-1] + 1]
                # whole octaves: at least two ticks
                axes.set_xlim(2 ** math.floor(math.log2(low)), 2 ** math.ceil(math.log2(high)))
                axes.xaxis.set_major_formatter(FormatStrFormatter("%d"))
            axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
            drawn.append(to_svg(figure, title))
    return drawn


def to_svg(figure: Figure, title: str, *, tight: bool = True) -> str:
    """Convert a figure to SVG that can be part of HTML; the same figure gives the same text.

    Args:
        tight: crop the margins, for which it is drawn twice.
    """
    buffer = io.StringIO()
    figure.savefig(
        buffer,
        format="svg",
        bbox_inches="tight" if tight else None,
        transparent=True,
        metadata={"Date": None, "Creator": None, "Title": title},
    )
    text = buffer.getvalue()
    # without the XML prologue it can be part of HTML
    return text[text.index("<svg") :]
