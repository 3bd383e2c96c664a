"""appearance: the CNN's embedding and last feature map of every aligned face, and of its parts.

Reads data/manifest.parquet, data/faces, artifacts/pretrained and artifacts/backbone, writes
data/appearance.
"""

from __future__ import annotations

from pathlib import Path

from arpgnet.pipeline.appearance.clip import AppearanceClip
from arpgnet.pipeline.common.params_file import load_params
from arpgnet.pipeline.common.stage import run
from arpgnet.pipeline.networks.image_network import resolve_precision
from arpgnet.pipeline.networks.listed import load_listed
from arpgnet.pipeline.networks.pretrained import pretrained
from arpgnet.pipeline.networks.tuned import tuned
from arpgnet.pipeline.runner.engine import run_clips
from arpgnet.pipeline.tables.manifest import read_manifest
from arpgnet.pipeline.tables.pretraining import PRETRAINED

FACES = Path("data/faces")
BACKBONE = Path("artifacts/backbone")
APPEARANCE = Path("data/appearance")


def main() -> None:
    params = load_params()
    pack = load_listed(params.faces.pack, "embedding")
    embedding = pretrained(pack.models["embedding"], PRETRAINED, enabled=params.pretrain.enabled)
    work = AppearanceClip(
        FACES,
        tuned(embedding, BACKBONE),
        pack.name,
        params.appearance.batch,
        params.faces.device,
        resolve_precision(params.appearance.precision, params.faces.device),
        tuple(params.appearance.views),
    )
    print(f"appearance: {run_clips(work, read_manifest().clips, APPEARANCE, params.engine)}")


if __name__ == "__main__":
    run(main)
