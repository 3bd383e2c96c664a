"""The finetune stage: stills in, a tuned backbone out; a quick word where it is switched off."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from arpgnet.pipeline.common.files import partial, replace_folder, writing_to
from arpgnet.pipeline.common.params import Params
from arpgnet.pipeline.networks.tuned import METADATA, WEIGHTS
from arpgnet.pipeline.store import Store
from arpgnet.pipeline.tables.manifest import read_manifest

BACKBONE = Path("artifacts/backbone")
DATA = Path("data")


def finetune(params: Params, *, root: Path = Path(), store: Store | None = None) -> str:
    """Write `artifacts/backbone` under `root`; returns what to print.

    Raises:
        UserError: the stills or the network do not allow it; the line says what to change.
    """
    if not params.finetune.enabled:
        _write(root / BACKBONE, {"enabled": False}, None)
        return "finetune: off (finetune.enabled: false)"
    # imported here: torch takes 2 s, and most runs have fine-tuning switched off
    from arpgnet.pipeline.finetune.tune import tune

    store = store or Store()
    fresh = partial(root / BACKBONE)
    with writing_to(fresh):
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(parents=True)
    manifest = read_manifest(root / "data/manifest.parquet")
    metadata = tune(params, manifest.clips, root / DATA, store, fresh / WEIGHTS)
    _write(root / BACKBONE, {"enabled": True, **metadata}, fresh / WEIGHTS)
    return summary(metadata)


def summary(metadata: Mapping[str, Any]) -> str:
    """Return what came out, in one or two lines."""
    best = metadata["history"][metadata["best"]]
    line = (
        f"finetune: {metadata['dataset']}, {metadata['train']} stills to train on, "
        f"{metadata['val']} to select with, {len(metadata['classes'])} classes; validation UAR "
        f"{best['val_uar']:.3f} after epoch {metadata['best'] + 1} of {len(metadata['history'])}"
    )
    lost = "; ".join(f"{count} {reason}" for reason, count in metadata["left_out"].items())
    return f"{line}\nleft out: {lost}" if lost else line


def _write(folder: Path, metadata: Mapping[str, Any], weights: Path | None) -> None:
    """Put the finished folder in its place."""
    fresh = partial(folder)
    with writing_to(folder):
        if weights is None:
            shutil.rmtree(fresh, ignore_errors=True)
            fresh.mkdir(parents=True)
        text = json.dumps(metadata, indent=2, sort_keys=True) + "\n"
        (fresh / METADATA).write_text(text, encoding="utf-8")
        replace_folder(fresh, folder)
