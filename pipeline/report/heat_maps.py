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
# inches: an image's side, its title, and what the color scale takes below it. Fixed positions are
# drawn three times as fast as a computed layout, and a page has four dozen of these.
SIDE, TITLE, SCALE = 2.1, 0.28, 0.5


def heat_maps(
    face: np.ndarray | None, regions: Mapping[str, Any], maps: Mapping[str, np.ndarray], title: str
) -> list[str]:
    """Draw the mean face and each of `maps` over it, all on one color scale.

    Each is an image of its own, so that a narrow screen puts them below each other.

    Args:
        face: uint8 [S, S, 3]; None leaves the background white.
        regions: `kind` and `xy` of `reports/explanations.json`.
        maps: title -> share of the total for each region, NaN where there is none (left blank).
    """
    top = max(float(np.nanmax(values, initial=0.0)) for values in maps.values()) or 1.0
    return [
        _panel(face, regions, name, values, 100 * top, f"{title}: {name}")
        for name, values in [("mean face", None), *maps.items()]
    ]


def _panel(
    face: np.ndarray | None,
    regions: Mapping[str, Any],
    name: str,
    values: np.ndarray | None,
    top: float,
    title: str,
) -> str:
    # a norm of its own: one that outlives a figure makes matplotlib fail when the figure is freed
    norm = Normalize(0, top)
    with matplotlib.rc_context(STYLE):
        width, height = SIDE + 0.2, SIDE + TITLE + SCALE
        figure = Figure(figsize=(width, height))
        panel = figure.add_axes(_part((0.1, SCALE, SIDE, SIDE), width, height))
        _ground(panel, face)
        panel.set_title(name, fontsize=10)
        if values is not None:
            _heat(panel, regions, 100 * values, norm)
            below = figure.add_axes(_part((0.3, SCALE - 0.14, SIDE - 0.4, 0.09), width, height))
            scale = figure.colorbar(ScalarMappable(norm, COLORS), below, orientation="horizontal")
            scale.ax.tick_params(labelsize=8, length=2, pad=1)
            scale.set_label("share of the total (%)", fontsize=8, labelpad=0)
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


def time_charts(time: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Draw a frame's attention to frames before and after it, and to each part of the clip."""
    return [_offsets_chart(time), _parts_chart(time)]


def _offsets_chart(time: Mapping[str, Mapping[str, Any]]) -> str:
    with matplotlib.rc_context(STYLE):
        figure, axes = _time_axes()
        for (stream, found), color in zip(time.items(), (BLUE, ORANGE), strict=False):
            for source, line in (("own", "-"), ("other", "--")):
                if source in found["sources"]:
                    values = found["sources"][source]["offsets"]
                    steps = [
                        n for n, v in enumerate(found["sources"][source]["uniform_offsets"]) if v
                    ]
                    axes.plot(
                        [found["from"] + n for n in steps],
                        [100 * values[n] for n in steps],
                        color=color,
                        ls=line,
                        marker="o",
                        ms=3.5,
                        label=f"{stream} to {_target(stream, source, time)}",
                    )
        axes.set(
            xlabel="frames away (below 0: earlier)", ylabel="share of the attention (%)",
            title="Before and after", ylim=(0, None),
        )  # fmt: skip
        axes.legend(frameon=False, fontsize=8)
        return to_svg(figure, "Attention over time: before and after", tight=False)


def _parts_chart(time: Mapping[str, Mapping[str, Any]]) -> str:
    with matplotlib.rc_context(STYLE):
        figure, axes = _time_axes()
        for (stream, found), color in zip(time.items(), (BLUE, ORANGE), strict=False):
            parts = [np.nan if value is None else value for value in found["parts"]]
            middles = (np.arange(len(parts)) + 0.5) / len(parts)
            axes.plot(middles, parts, color=color, marker="o", ms=3.5, label=f"by {stream}")
        axes.axhline(1, color="0.45", lw=1, ls=":", label="uniform attention")
        axes.set(
            xlabel="position in the clip (0: start, 1: end)",
            ylabel="attention / uniform attention",
            title="Over the clip",
        )
        axes.legend(frameon=False, fontsize=8)
        return to_svg(figure, "Attention over time: over the clip", tight=False)


def _time_axes() -> tuple[Figure, Axes]:
    figure = Figure(figsize=(4.3, 2.9))
    figure.subplots_adjust(left=0.15, right=0.98, bottom=0.17, top=0.9)
    return figure, figure.subplots()


def _target(stream: str, source: str, streams: Sequence[str] | Mapping[str, Any]) -> str:
    return stream if source == "own" else next(name for name in streams if name != stream)
