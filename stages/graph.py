"""graph: where the facial regions lie in every frame, and which regions are joined.

Reads data/manifest.parquet, data/frames, data/faces, data/landmarks and the metadata of
data/appearance, writes data/graphs.
"""

from __future__ import annotations

from pathlib import Path

from arpgnet.pipeline.common.params_file import load_params
from arpgnet.pipeline.common.stage import run
from arpgnet.pipeline.graph.clip import GraphClip
from arpgnet.pipeline.runner.engine import run_clips
from arpgnet.pipeline.tables.manifest import read_manifest

FRAMES = Path("data/frames")
FACES = Path("data/faces")
LANDMARKS = Path("data/landmarks")
APPEARANCE = Path("data/appearance")
GRAPHS = Path("data/graphs")


def main() -> None:
    params = load_params()
    graph = params.graph
    work = GraphClip(
        FRAMES,
        FACES,
        LANDMARKS,
        APPEARANCE,
        regions=graph.regions,
        patches=graph.grid,
        neighborhood=graph.neighborhood,
        max_yaw=graph.max_yaw,
    )
    print(f"graph: {run_clips(work, read_manifest().clips, GRAPHS, params.engine)}")


if __name__ == "__main__":
    run(main)
