"""What the pages show of pre-training: some crops as the autoencoder draws them, and its loss."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure

from arpgnet.pipeline.common.params import Params
from arpgnet.pipeline.common.wording import plural
from arpgnet.pipeline.report.charts import BLUE, STYLE, to_svg
from arpgnet.pipeline.tables.pretraining import EXAMPLES, PRETRAINED, read_pretraining


def pretraining_view(params: Params, root: Path) -> dict[str, Any] | None:
    """Return `note`, `image` (a data URI) and `chart`; None without pre-training.

    Raises:
        UserError: the pretrain stage has not run.
    """
    if not params.pretrain.enabled:
        return None
    metadata = read_pretraining(root / PRETRAINED)
    image = base64.b64encode((root / PRETRAINED / EXAMPLES).read_bytes()).decode("ascii")
    return {
        "note": _note(metadata),
        "image": f"data:image/jpeg;base64,{image}",
        "chart": Markup(_chart(metadata)),
    }


def _note(metadata: dict[str, Any]) -> str:
    sources = " and ".join(
        plural(metadata[name], name.removesuffix("s"))
        for name in ("clips", "stills")
        if metadata[name]
    )
    lost = "; ".join(f"{count} {reason}" for reason, count in metadata["left_out"].items())
    hidden = f"{metadata['settings']['mask_ratio']:.0%}"
    return (
        f"{metadata['arch']} at {metadata['input_px']} pixels, trained without labels on "
        f"{plural(metadata['crops'], 'crop')} of {sources}, {hidden} of the patches hidden. Nobody "
        f"who is tested is among them, as far as the data says who is who."
        + (f" Left out: {lost}." if lost else "")
    )


def _chart(metadata: dict[str, Any]) -> str:
    losses = metadata["losses"]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(4.3, 3.1))
        axes = figure.subplots()
        steps = (np.arange(len(losses)) + 1) * metadata["round"]
        axes.plot(steps, losses, color=BLUE, lw=1.4)
        axes.set(xlabel="step", ylabel="squared error of hidden patches", title="Loss")
        axes.set_ylim(bottom=0)
        return to_svg(figure, "Pre-training: loss")
