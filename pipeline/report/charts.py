"""Charts as inline SVG: same data, same bytes (fixed hash salt, no date)."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

# Okabe-Ito: told apart by color-blind readers too
BLUE, ORANGE = "#0072B2", "#D55E00"
STYLE: Any = {
    "svg.hashsalt": "arpgnet",  # else every run gets other element ids
    "svg.fonttype": "none",  # text stays text: small, searchable, sharp
    "font.size": 10,
    "font.family": "sans-serif",
    "axes.spines.top": False,
    "axes.spines.right": False,
}
THIN: Any = {"lw": 0.9, "alpha": 0.6}  # eight runs and more over each other


@dataclass(frozen=True)
class Curve:
    """One run's history: `epoch` int[E], `train_loss`, `val_loss`, `val_uar` float[E]."""

    epoch: Sequence[int]
    train_loss: Sequence[float]
    val_loss: Sequence[float]
    val_uar: Sequence[float]


def confusion_chart(counts: np.ndarray, classes: Sequence[str]) -> str:
    """Draw the row-normalized confusion matrix with counts.

    Args:
        counts: int[K,K], rows are the true class, columns the predicted one.
    """
    number = len(classes)
    rows = counts.sum(axis=1, keepdims=True)
    share = np.divide(counts, rows, out=np.zeros(counts.shape), where=rows > 0)
    with matplotlib.rc_context(STYLE):
        side = 1.6 + 0.62 * number
        figure = Figure(figsize=(side + 0.6, side))
        axes = figure.add_subplot()
        image = axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
        for row in range(number):
            for column in range(number):
                if counts[row, column]:
                    axes.text(
                        column,
                        row,
                        f"{share[row, column]:.0%}\n{counts[row, column]:g}",
                        ha="center",
                        va="center",
                        fontsize=8,
                        color="white" if share[row, column] > 0.55 else "black",
                    )
        axes.set_xticks(range(number), classes, rotation=40, ha="right")
        axes.set_yticks(range(number), classes)
        axes.set_xlabel("predicted class")
        axes.set_ylabel("true class")
        figure.colorbar(image, ax=axes, shrink=0.75, label="fraction of the true class")
        return to_svg(figure, "Confusion matrix")


def curves_chart(curves: Mapping[str, Curve]) -> str:
    """Draw losses and validation UAR over epochs, one thin line per run (fold and seed)."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(8.4, 3.4))
        left, right = figure.subplots(1, 2)
        for number, curve in enumerate(curves.values()):
            for name, loss, color in (
                ("training", curve.train_loss, BLUE),
                ("validation", curve.val_loss, ORANGE),
            ):
                label = None if number else name  # the legend names each color once
                left.plot(curve.epoch, loss, color=color, label=label, **THIN)
            right.plot(curve.epoch, curve.val_uar, color=ORANGE, **THIN)
        left.set(xlabel="epoch", ylabel="cross-entropy loss", title="Loss")
        left.legend(frameon=False)
        right.set(xlabel="epoch", ylabel="UAR (0 to 1)", title="Validation UAR", ylim=(0, 1))
        return to_svg(figure, "Training curves")


def reliability_chart(bins: Sequence[Mapping[str, Any]]) -> str:
    """Draw accuracy against the probability of the predicted class, and how many predictions.

    Args:
        bins: `from`, `to`, `confidence`, `right` (accuracy), `predictions` and, where known,
            `ci_low`, `ci_high` of each bin.
    """
    confidence = [row["confidence"] for row in bins]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(5.6, 5.0))
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
