"""landmark: the face's landmarks in every sampled frame.

Reads data/manifest.parquet, data/faces and, for the data set's own landmarks, data/frames; writes
data/landmarks.
"""

from __future__ import annotations

from pathlib import Path

from arpgnet.pipeline.common.params import FacesParams
from arpgnet.pipeline.common.params_file import load_params
from arpgnet.pipeline.common.stage import run
from arpgnet.pipeline.landmark.clip import LandmarkClip
from arpgnet.pipeline.landmark.provided import ProvidedLandmarkClip
from arpgnet.pipeline.networks.listed import load_listed
from arpgnet.pipeline.runner.engine import run_clips
from arpgnet.pipeline.tables.manifest import read_manifest

FRAMES = Path("data/frames")
FACES = Path("data/faces")
LANDMARKS = Path("data/landmarks")


def main() -> None:
    params = load_params()
    work = landmark_work(params.faces)
    print(f"landmark: {run_clips(work, read_manifest().clips, LANDMARKS, params.engine)}")


def landmark_work(faces: FacesParams) -> LandmarkClip | ProvidedLandmarkClip:
    """Return what is done to a clip, by `faces.landmarks`."""
    if faces.landmarks == "provided":
        return ProvidedLandmarkClip(FRAMES, FACES)
    pack = load_listed(faces.pack, "landmark")
    return LandmarkClip(FACES, pack.models["landmark"], faces.device)


if __name__ == "__main__":
    run(main)
