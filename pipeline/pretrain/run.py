"""The pretrain stage: unlabeled crops in, an encoder out; one line where it is off."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from arpgnet.pipeline.common.files import new_folder
from arpgnet.pipeline.common.params import Params
from arpgnet.pipeline.common.wording import plural
from arpgnet.pipeline.store import Store
from arpgnet.pipeline.tables.pretraining import METADATA, PRETRAINED

DATA = Path("data")


def pretrain(params: Params, *, root: Path = Path(), store: Store | None = None) -> str:
    """Write `artifacts/pretrained` under `root`; returns what to print.

    Raises:
        UserError: there are too few crops; the line says what to change.
    """
    folder, enabled = root / PRETRAINED, params.pretrain.enabled
    metadata: dict[str, Any] = {"enabled": enabled}
    with new_folder(folder, METADATA, metadata) as fresh:
        if enabled:
            # imported here: torch takes 2 s, and most runs have pre-training switched off
            from arpgnet.pipeline.pretrain.encoder import make_encoder

            metadata |= make_encoder(params, root / DATA, store or Store(), fresh)
    return summary(metadata)


def summary(metadata: Mapping[str, Any]) -> str:
    """Return what came out, in one or two lines."""
    if not metadata["enabled"]:
        return "pretrain: off (pretrain.enabled: false)"
    sources = " and ".join(
        plural(metadata[name], name.removesuffix("s")) for name in ("clips", "stills")
    )
    line = (
        f"pretrain: {metadata['arch']} at {metadata['input_px']} pixels, "
        f"{metadata['crops']:,} crops of {sources}, {metadata['settings']['steps']:,} steps; loss "
        f"{metadata['losses'][0]:.3f} -> {metadata['losses'][-1]:.3f}"
    )
    lost = "; ".join(f"{count} {reason}" for reason, count in metadata["left_out"].items())
    return f"{line}\nleft out: {lost}" if lost else line
