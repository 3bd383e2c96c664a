"""The finetune stage: stills in, a tuned backbone out; one line where it is off."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from arpgnet.pipeline.common.files import new_folder
from arpgnet.pipeline.common.params import Params
from arpgnet.pipeline.networks.tuned import METADATA, WEIGHTS
from arpgnet.pipeline.store import Store
from arpgnet.pipeline.tables.manifest import read_manifest
from arpgnet.pipeline.tables.pretraining import PRETRAINED

BACKBONE = Path("artifacts/backbone")
DATA = Path("data")


def finetune(params: Params, *, root: Path = Path(), store: Store | None = None) -> str:
    """Write `artifacts/backbone` under `root`; returns what to print.

    Raises:
        UserError: the stills or the network do not allow it; the line says what to change.
    """
    folder, enabled = root / BACKBONE, params.finetune.enabled
    metadata: dict[str, Any] = {"enabled": enabled}
    with new_folder(folder, METADATA, metadata) as fresh:
        if enabled:
            # imported here: torch takes 2 s, and most runs have fine-tuning switched off
            from arpgnet.pipeline.finetune.tune import tune

            manifest = read_manifest(root / "data/manifest.parquet")
            metadata |= tune(
                params,
                manifest.clips,
                root / DATA,
                store or Store(),
                fresh / WEIGHTS,
                pretraining=root / PRETRAINED,
            )
    return summary(metadata)


def summary(metadata: Mapping[str, Any]) -> str:
    """Return what came out, in one or two lines."""
    if not metadata["enabled"]:
        return "finetune: off (finetune.enabled: false)"
    best = metadata["history"][metadata["best"]]
    what, score, name = "classes", "val_uar", "UAR"
    if score not in best:
        what, score, name = "action units", "val_f1", "mean F1"
    line = (
        f"finetune: {metadata['dataset']}, {metadata['train']} stills to train on, "
        f"{metadata['val']} to select with, {len(metadata['classes'])} {what}; validation {name} "
        f"{best[score]:.3f} after epoch {metadata['best'] + 1} of {len(metadata['history'])}; "
        f"trained: {metadata['settings']['layers']} ({metadata['trained_weights']:,} weights)"
    )
    lost = "; ".join(f"{count} {reason}" for reason, count in metadata["left_out"].items())
    return f"{line}\nleft out: {lost}" if lost else line
