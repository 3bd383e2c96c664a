"""What a network attends to, and the effect of hiding it, as heat maps over the mean face."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import PatchCollection
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Circle, Patch, Rectangle

from arpgnet.pipeline.report.charts import BLUE, ORANGE, STYLE, to_svg

# even steps look even, and color-blind readers see the same (Nunez et al. 2018, PLoS ONE 13(7))
COLORS = "cividis"
OPACITY = 0.75
RADIUS = 0.055  # of a landmark region's disc, as a fraction of the crop
# inches: an image's side, from one to the next, and what its scale takes. Fixed positions are drawn
# three times as fast as a computed layout, and a page has two dozen of these.
SIDE, STEP, SCALE = 2.5, 2.65, 0.75


def heat_maps(
    face: np.ndarray | None, regions: Mapping[str, Any], maps: Mapping[str, np.ndarray], title: str
) -> str:
    """Draw the mean face and, beside it, each of `maps` over it, all on one color scale.

    Args:
        face: uint8 [S, S, 3]; None leaves the background white.
        regions: `kind` and `xy` of `reports/explanations.json`.
        maps: title -> share of the total for each region, NaN where there is none (left blank).
    """
    top = max(float(np.nanmax(values, initial=0.0)) for values in maps.values()) or 1.0
    norm = Normalize(0, 100 * top)
    with matplotlib.rc_context(STYLE):
        width, height = STEP * (1 + len(maps)) + SCALE, SIDE + 0.45
        figure = Figure(figsize=(width, height))
        for number, (name, values) in enumerate([("mean face", None), *maps.items()]):
            place = 0.05 + STEP * number, 0.1, SIDE, SIDE
            panel = figure.add_axes(_part(place, width, height))
            _ground(panel, face)
            panel.set_title(name, fontsize=10)
            if values is not None:
                _heat(panel, regions, 100 * values, norm)
        beside = figure.add_axes(_part((width - SCALE, 0.3, 0.13, SIDE - 0.4), width, height))
        figure.colorbar(ScalarMappable(norm, COLORS), beside, label="share of the total (%)")
        return to_svg(figure, title, tight=False)


def _part(
    inches: tuple[float, float, float, float], width: float, height: float
) -> tuple[float, float, float, float]:
    left, bottom, across, up = inches
    return left / width, bottom / height, across / width, up / height


def _ground(panel: Axes, face: np.ndarray | None) -> None:
    if face is not None:
        # gray and pale, so that the colors on it keep their meaning
        gray = face.astype(np.float64).mean(axis=2) / 255
        panel.imshow(gray, cmap="gray", vmin=0, vmax=1, extent=(0, 1, 1, 0))
    panel.set(xlim=(0, 1), ylim=(1, 0), xticks=[], yticks=[], aspect="equal")
    panel.spines[:].set_visible(False)


def _heat(panel: Axes, regions: Mapping[str, Any], percent: np.ndarray, norm: Normalize) -> None:
    shown = np.flatnonzero(~np.isnan(percent))
    shapes = [shape for n, shape in enumerate(_shapes(regions)) if n in shown]
    patches = PatchCollection(shapes, cmap=COLORS, norm=norm, alpha=OPACITY, edgecolor="white")
    patches.set(array=percent[shown], linewidth=0.4)
    panel.add_collection(patches)


def _shapes(regions: Mapping[str, Any]) -> list[Patch]:
    count = len(regions["xy"])
    if regions["kind"] != "grid":
        return [Circle((x, y), RADIUS) for x, y in regions["xy"]]
    side = round(count**0.5)
    return [
        Rectangle((n % side / side, n // side / side), 1 / side, 1 / side) for n in range(count)
    ]


def time_chart(time: Mapping[str, Mapping[str, Any]]) -> str:
    """Draw a frame's attention to frames before and after it, and to each part of the clip."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(8.6, 3.2))
        figure.subplots_adjust(left=0.075, right=0.985, bottom=0.16, top=0.9, wspace=0.22)
        left, right = figure.subplots(1, 2)
        for (stream, found), color in zip(time.items(), (BLUE, ORANGE), strict=False):
            for source, line in (("own", "-"), ("other", "--")):
                if source in found["sources"]:
                    values = found["sources"][source]["offsets"]
                    steps = [
                        n for n, v in enumerate(found["sources"][source]["uniform_offsets"]) if v
                    ]
                    left.plot(
                        [found["from"] + n for n in steps],
                        [100 * values[n] for n in steps],
                        color=color,
                        ls=line,
                        marker="o",
                        ms=3.5,
                        label=f"{stream} to {_target(stream, source, time)}",
                    )
            parts = [np.nan if value is None else value for value in found["parts"]]
            middles = (np.arange(len(parts)) + 0.5) / len(parts)
            right.plot(middles, parts, color=color, marker="o", ms=3.5, label=f"by {stream}")
        left.set(
            xlabel="frames away (below 0: earlier)", ylabel="share of the attention (%)",
            title="Before and after", ylim=(0, None),
        )  # fmt: skip
        right.axhline(1, color="0.45", lw=1, ls=":", label="uniform attention")
        right.set(
            xlabel="position in the clip (0: start, 1: end)",
            ylabel="attention / uniform attention",
            title="Over the clip",
        )  # fmt: skip
        for panel in (left, right):
            panel.legend(frameon=False, fontsize=8)
        return to_svg(figure, "Attention over time", tight=False)


def _target(stream: str, source: str, streams: Sequence[str] | Mapping[str, Any]) -> str:
    return stream if source == "own" else next(name for name in streams if name != stream)
