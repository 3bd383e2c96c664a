"""`dataset.name: demo`: the rendered data set, made in the store on first use."""

from __future__ import annotations

import sys
from pathlib import Path

from arpgnet.pipeline.common.params import DemoParams
from arpgnet.pipeline.common.progress import track
from arpgnet.pipeline.common.wording import plural
from arpgnet.pipeline.datasets.adapters.csv_file import read_csv
from arpgnet.pipeline.datasets.base import About, Listing, Recipe, Wanted
from arpgnet.pipeline.store import code_version, digest, store_root

MANIFEST = "manifest.csv"


ABOUT = About(
    title="rendered faces, made by this software",
    # EMFACS prototypes; see pipeline.demo
    classes=(
        *("anger", "contempt", "disgust", "fear"),
        *("happiness", "neutral", "sadness", "surprise"),
    ),
    marks=(),
    layout=MANIFEST,
    recipe=Recipe("kfold", "4 folds of whole subjects, pooled", folds=4),
    metric="uar",
    license="MIT",
    obtain="nothing to obtain: rendered on first use",
    source="pipeline/demo",
    published=False,
)


def demo_root(demo: DemoParams) -> Path:
    """A folder of the store named after the demo's settings and the renderer's source."""
    return store_root() / "demo" / digest(demo, code_version("arpgnet.pipeline.demo.dataset"))


def list_clips(wanted: Wanted) -> Listing:
    """The rendered clips."""
    return Listing(read_csv(wanted.root / MANIFEST, wanted.root))


def render(demo: DemoParams, workers: int) -> None:
    """Bring the clips into being; an interrupted rendering is taken up where it stopped."""
    root = demo_root(demo)
    # the renderer writes the manifest last
    if (root / MANIFEST).is_file():
        return
    from arpgnet.pipeline.demo import CLASSES, render_dataset

    count = demo.subjects * demo.clips_per_class * len(CLASSES)
    # minutes, and a folder that nobody asked for
    print(f"rendering the demo, {plural(count, 'clip')}, into {root}", file=sys.stderr, flush=True)
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
