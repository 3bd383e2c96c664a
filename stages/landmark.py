"""landmark: the face's landmarks in every sampled frame.

Reads data/manifest.parquet and data/faces, writes data/landmarks.
"""

from __future__ import annotations

from pathlib import Path

from pipeline.clips import read_manifest
from pipeline.config import load_params
from pipeline.engine import run_clips
from pipeline.faces.landmarks import LandmarkClip
from pipeline.faces.packs import load_pack
from pipeline.stage import run

FACES = Path("data/faces")
LANDMARKS = Path("data/landmarks")


def main() -> None:
    params = load_params()
    pack = load_pack(params.faces.pack, roles=("landmark",))
    work = LandmarkClip(FACES, pack.models["landmark"], params.faces.device)
    print(f"landmark: {run_clips(work, read_manifest().clips, LANDMARKS, params.engine)}")


if __name__ == "__main__":
    run(main)
