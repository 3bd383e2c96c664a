"""appearance: the CNN's embedding and last feature map of every aligned face.

Reads data/manifest.parquet, data/faces and artifacts/backbone, writes data/appearance.
"""

from __future__ import annotations

from pathlib import Path

from pipeline.clips import read_manifest
from pipeline.config import load_params
from pipeline.engine import run_clips
from pipeline.faces.appearance import AppearanceClip
from pipeline.faces.listed import load_listed
from pipeline.faces.precision import resolve_precision
from pipeline.faces.tuned import tuned
from pipeline.stage import run

FACES = Path("data/faces")
BACKBONE = Path("artifacts/backbone")
APPEARANCE = Path("data/appearance")


def main() -> None:
    params = load_params()
    pack = load_listed(params.faces.pack, "embedding")
    work = AppearanceClip(
        FACES,
        tuned(pack.models["embedding"], BACKBONE),
        pack.name,
        params.appearance.batch,
        params.faces.device,
        resolve_precision(params.appearance.precision, params.faces.device),
    )
    print(f"appearance: {run_clips(work, read_manifest().clips, APPEARANCE, params.engine)}")


if __name__ == "__main__":
    run(main)
