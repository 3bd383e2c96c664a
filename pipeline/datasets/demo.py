"""`dataset.name: demo`: the rendered data set, made in the store on first use."""

from __future__ import annotations

import functools
from importlib.util import find_spec
from pathlib import Path

from pipeline.config import DatasetParams
from pipeline.datasets.base import Listing
from pipeline.datasets.csv_file import read_csv
from pipeline.progress import track
from pipeline.store import digest, store_root

MANIFEST = "manifest.csv"


def dataset_root(params: DatasetParams) -> Path:
    """A folder of the store named after the demo's settings and the renderer's source."""
    return store_root() / "demo" / digest(params.demo, _renderer())


def list_clips(params: DatasetParams, workers: int = 1) -> Listing:
    """The rendered clips; an interrupted rendering is taken up where it stopped."""
    root = dataset_root(params)
    # the renderer writes the manifest last
    if not (root / MANIFEST).is_file():
        _render(params, root, workers)
    return Listing(read_csv(root / MANIFEST, root), [])


def _render(params: DatasetParams, root: Path, workers: int) -> None:
    from pipeline.demo import CLASSES, render_dataset

    demo = params.demo
    count = demo.subjects * demo.clips_per_class * len(CLASSES)
    with track(count, "render the demo") as tracker:
        render_dataset(
            root,
            subjects=demo.subjects,
            clips_per_class=demo.clips_per_class,
            frame_px=demo.frame_px,
            fps=demo.fps,
            seed=demo.seed,
            workers=workers,
            progress=lambda done, total: tracker.advance(),
        )


@functools.cache
def _renderer() -> str:
    """Digest of the renderer's source, not imported; the face pack beside it renders nothing.

    Once a process: an edit meanwhile must not part the clips from where they are looked for.
    """
    spec = find_spec("pipeline.demo")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("pipeline.demo")
    folder = Path(spec.origin).parent
    sources = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*.py")}
    return digest(
        {
            name: path.read_text(encoding="utf-8")
            for name, path in sources.items()
            if not name.startswith("pack/")
        }
    )
