"""`dataset.name: demo`: the rendered data set, made in the store on first use."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from arpgnet.pipeline.common.params import DemoParams
from arpgnet.pipeline.common.progress import track
from arpgnet.pipeline.common.wording import plural
from arpgnet.pipeline.datasets.adapters.csv_file import read_csv
from arpgnet.pipeline.datasets.base import About, ListedClip, Listing, Recipe, Wanted
from arpgnet.pipeline.datasets.clip_targets import AFFECT, INTENSITY, ClipTargets
from arpgnet.pipeline.store import code_version, digest, store_root
from arpgnet.pipeline.tables.parquet import open_parquet

MANIFEST = "manifest.csv"
TRUTH_SUFFIX = ".truth.parquet"
# of a unit that is fully active, on the scale of FACS: 1 to 5 for A to E
MOST = 5.0
# a unit counts as present from intensity A on; ours: DISFA's protocol takes 2
PRESENT = 1.0
# valence and arousal of the classes' prototypes, read off the circumplex of affect (Russell 1980);
# contempt, which it lacks, between disgust and neutral. Our choice: rendered faces feel nothing
CIRCUMPLEX = {
    "anger": (-0.6, 0.7),
    "contempt": (-0.5, 0.2),
    "disgust": (-0.7, 0.4),
    "fear": (-0.7, 0.8),
    "happiness": (0.85, 0.5),
    "neutral": (0.0, 0.0),
    "sadness": (-0.8, -0.4),
    "surprise": (0.2, 0.85),
}


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
    """The rendered clips, with the truth of their faces as targets."""
    clips = read_csv(wanted.root / MANIFEST, wanted.root)
    return Listing([replace(clip, targets=rendered_targets(clip, wanted.root)) for clip in clips])


def rendered_targets(clip: ListedClip, root: Path) -> tuple[ClipTargets, ...]:
    """Return the action units of each frame of a clip, and its valence and arousal."""
    path = (root / clip.path).with_suffix(TRUTH_SUFFIX)
    if not path.is_file():
        return ()  # a folder that others have filled
    table = open_parquet(path).read(columns=["frame_index", "action_units"])
    names = table.schema.metadata[b"action_units"].decode().split(",")
    flat = table.column("action_units").combine_chunks().flatten().to_numpy()
    values = flat.reshape(len(table), len(names))
    # one unit, whichever side shows it, as coders note it
    units = list(dict.fromkeys(int(name.removeprefix("AU").rstrip("LR")) for name in names))
    sides = [
        [place for place, name in enumerate(names) if name.rstrip("LR") == f"AU{unit}"]
        for unit in units
    ]
    strength = MOST * np.stack([values[:, places].max(axis=1) for places in sides], axis=1)
    both = np.concatenate([strength >= PRESENT, strength], axis=1)
    named = [f"au_{unit}" for unit in units] + [f"au_{unit}{INTENSITY}" for unit in units]
    frames = table.column("frame_index").to_numpy().astype(np.int64)
    # blinks are no part of an expression
    moving = [place for place, name in enumerate(names) if name not in ("AU43", "AU45")]
    affect = affect_of(clip.label or "", values[:, moving], moving)
    return (
        ClipTargets(AFFECT, np.array([affect], np.float32)),
        ClipTargets(tuple(named), both.astype(np.float32), frames),
    )


def affect_of(label: str, values: np.ndarray, units: list[int]) -> tuple[float, float]:
    """Return valence and arousal of a clip: those of its class, times how far its strongest frame
    comes up to the prototype.

    Args:
        values: activations [F, A] in 0..1.
        units: which of the renderer's units they are.
    """
    # the renderer, which only this adapter needs
    from arpgnet.pipeline.demo.prototypes import prototype

    whole = float(np.linalg.norm(prototype(label, "L")[units]))
    reached = np.linalg.norm(values, axis=1).max() / max(whole, 1e-9)
    valence, arousal = CIRCUMPLEX[label]
    return valence * min(1.0, reached), arousal * min(1.0, reached)


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
    with track(count, "render the demo", "clips") as tracker:

        def finished(done: int, _: int) -> None:
            tracker.advance(done - 1 - tracker.done, restored=True)
            tracker.advance()

        render_dataset(
            root,
            subjects=demo.subjects,
            clips_per_class=demo.clips_per_class,
            frame_px=demo.frame_px,
            fps=demo.fps,
            seed=demo.seed,
            workers=workers,
            progress=finished,
        )
