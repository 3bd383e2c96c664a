"""Rendered stills with their truth, kept in a cache folder between runs.

Subject seeds: the demo videos use 0..999; training stills start at `TRAIN_SUBJECTS`, held-out
stills at `HELD_OUT_SUBJECTS`, so no face is ever on two sides.
"""

import hashlib
import json
import shutil
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

import arpgnet.pipeline.demo
from arpgnet.pipeline.demo import ACTION_UNITS, render_still
from arpgnet.pipeline.demo.landmarks import mirror_order

TRAIN_SUBJECTS = 100_000
HELD_OUT_SUBJECTS = 200_000
_CHUNK = 64


@dataclass(frozen=True)
class StillPlan:
    """What to render: `count` stills shared out among `subjects` seeds from `first_subject` on.

    A subject's stills follow each other: baking its skin costs five times what a still costs.
    """

    first_subject: int
    subjects: int
    count: int
    seed: int
    frame_px: int = 256


@dataclass(frozen=True)
class Still:
    """One still: the fields of `Stills` without their first axis."""

    image: NDArray[np.uint8]
    landmarks: NDArray[np.float32]
    keypoints: NDArray[np.float32]
    box: NDArray[np.float32]
    action_units: NDArray[np.float32]
    subject: int


@dataclass(frozen=True)
class Stills:
    """Rendered stills; N stills of S x S pixels, A action units, coordinates in pixels.

    images uint8 `[N, S, S, 3]` RGB, landmarks float32 `[N, 106, 2]`, keypoints float32
    `[N, 5, 2]`, boxes float32 `[N, 4]` xyxy, action_units float32 `[N, A]`,
    subjects int64 `[N]` counted from 0.
    """

    images: NDArray[np.uint8]
    landmarks: NDArray[np.float32]
    keypoints: NDArray[np.float32]
    boxes: NDArray[np.float32]
    action_units: NDArray[np.float32]
    subjects: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Still:
        return Still(
            self.images[index],
            self.landmarks[index],
            self.keypoints[index],
            self.boxes[index],
            self.action_units[index],
            int(self.subjects[index]),
        )

    def draw(self, rng: Generator) -> Still:
        """A random still, mirrored every other time."""
        still = self[int(rng.integers(len(self)))]
        return mirrored(still) if rng.random() < 0.5 else still


def mirrored(still: Still) -> Still:
    """The still in a mirror: points and action units change sides with the image."""
    last = still.image.shape[1] - 1
    turn, shift = np.array([-1, 1], np.float32), np.array([last, 0], np.float32)
    left, top, right, bottom = still.box
    return Still(
        np.asarray(cv2.flip(still.image, 1), np.uint8),
        (still.landmarks * turn + shift)[mirror_order()],
        (still.keypoints * turn + shift)[_MIRRORED_KEYPOINTS],
        np.array([last - right, top, last - left, bottom], np.float32),
        still.action_units[_MIRRORED_UNITS],
        still.subject,
    )


def _other_side(name: str) -> str:
    """AU12L for AU12R and the reverse; a unit without sides is its own."""
    sides = {"L": "R", "R": "L"}
    other = name[:-1] + sides.get(name[-1], name[-1])
    return other if other in ACTION_UNITS else name


_MIRRORED_KEYPOINTS = [1, 0, 2, 4, 3]
_MIRRORED_UNITS = [ACTION_UNITS.index(_other_side(name)) for name in ACTION_UNITS]


def load_stills(plan: StillPlan, cache: Path, *, workers: int = 2) -> Stills:
    """The stills of `plan`, rendered once per plan and renderer version under `cache`."""
    folder = cache / _cache_key(plan)
    if not folder.is_dir():
        cache.mkdir(parents=True, exist_ok=True)
        partial = folder.with_suffix(".partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        _render_into(plan, partial, workers)
        partial.rename(folder)
    arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in _TRUTH}
    subjects = np.array([_subject(plan, index) for index in range(plan.count)])
    return Stills(subjects=subjects, **arrays)


_TRUTH = ("images", "landmarks", "keypoints", "boxes", "action_units")


def _cache_key(plan: StillPlan) -> str:
    """A digest of the plan and of the renderer's source, so that an edited renderer re-renders."""
    digest = hashlib.sha256(json.dumps(asdict(plan), sort_keys=True).encode())
    source = Path(arpgnet.pipeline.demo.__file__).parent
    for path in sorted(source.glob("*.py")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def _render_into(plan: StillPlan, folder: Path, workers: int) -> None:
    starts = range(0, plan.count, _CHUNK)
    chunks = ((plan, start, min(start + _CHUNK, plan.count)) for start in starts)
    arrays: dict[str, np.memmap] = {}
    for start, rendered in zip(starts, _chunks_in_order(chunks, workers), strict=True):
        for name, values in rendered.items():
            if name not in arrays:
                arrays[name] = np.lib.format.open_memmap(
                    folder / f"{name}.npy", "w+", values.dtype, (plan.count, *values.shape[1:])
                )
            arrays[name][start : start + len(values)] = values
    for array in arrays.values():
        array.flush()


def _chunks_in_order(
    chunks: Iterator[tuple[StillPlan, int, int]], workers: int
) -> Iterator[dict[str, NDArray]]:
    if workers == 1:
        yield from map(_render_chunk, chunks)
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        yield from pool.map(_render_chunk, chunks)


def _render_chunk(chunk: tuple[StillPlan, int, int]) -> dict[str, NDArray]:
    plan, start, stop = chunk
    frames = [
        render_still(
            _still_seed(plan, index),
            plan.first_subject + _subject(plan, index),
            frame_px=plan.frame_px,
        )
        for index in range(start, stop)
    ]
    return {
        "images": np.stack([frame.image for frame in frames]),
        "landmarks": np.stack([frame.landmarks for frame in frames]).astype(np.float32),
        "keypoints": np.stack([frame.keypoints for frame in frames]).astype(np.float32),
        "boxes": np.stack([frame.bbox for frame in frames]).astype(np.float32),
        "action_units": np.stack([frame.action_units for frame in frames]).astype(np.float32),
    }


def _subject(plan: StillPlan, index: int) -> int:
    return index * plan.subjects // plan.count


def _still_seed(plan: StillPlan, index: int) -> int:
    state = np.random.SeedSequence([plan.seed, plan.first_subject, index]).generate_state(1)
    return int(state[0])
