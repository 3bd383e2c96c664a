"""Data sets in their true layout, of tiny videos and images, and what ingest says of them."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import cv2
import numpy as np

from arpgnet.pipeline.common.params import DatasetParams
from arpgnet.pipeline.ingest.run import ingest
from arpgnet.pipeline.runner.workers import run_in_workers
from arpgnet.pipeline.tables.manifest import (
    MANIFEST,
    SPLITS,
    Clip,
    Manifest,
    read_manifest,
    read_splits,
)
from helpers.tiny_videos import write_video


def video(path: Path, frames: int = 8) -> Path:
    """A tiny video whose images are its path's own."""
    return write_video(path, zlib.crc32(path.as_posix().encode()), frames=frames)


def make_images(
    folder: Path, numbers: Iterable[int], name: str = "{:05d}.jpg", side: int = 32
) -> Path:
    """Images of a moving disc, by number; the folder's own ground."""
    rng = np.random.default_rng(zlib.crc32(folder.as_posix().encode()))
    ground = cv2.resize(rng.integers(0, 200, (4, 4, 3), np.uint8), (side, side))
    folder.mkdir(parents=True, exist_ok=True)
    for number in numbers:
        image = ground.copy()
        place = rng.integers(side // 4, side - side // 4, 2).tolist()
        cv2.circle(image, place, side // 5, (255, 255, 255), -1)
        cv2.imwrite(str(folder / name.format(number)), image)
    return folder


def text(path: Path, content: str) -> Path:
    """A text file, its folder made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    return path


def at_once(job: Any, items: Iterable[Any], *_: Any) -> Iterator[tuple[Any, Any]]:
    """`run_in_workers` without workers: starting one costs 0.5 s, a tree's files take less."""
    job.start()
    for item in items:
        yield item, job.do(item)


def ingested(
    name: str, root: Path, out: Path, *, faces: Any = "detect", workers: int = 1, **params: Any
) -> Manifest:
    """The manifest that ingest writes below `out`; with one worker, without a process for it."""
    settings = DatasetParams(**{"name": name, "root": str(root), **params})
    run = at_once if workers == 1 else run_in_workers
    with mock.patch("arpgnet.pipeline.datasets.file_cache.run_in_workers", run):
        ingest(settings, workers=workers, folder=out, faces=faces)
    return read_manifest(out / MANIFEST)


def sides(out: Path) -> dict[int, dict[str, str]]:
    """Per fold each clip's side, as ingest wrote it."""
    found: dict[int, dict[str, str]] = {}
    for row in read_splits(out / SPLITS).to_pylist():
        found.setdefault(row["fold"], {})[row["clip_id"]] = row["split"]
    return found


def by_path(manifest: Manifest) -> dict[str, Clip]:
    """The manifest's clips by their paths."""
    return {clip.path: clip for clip in manifest.clips}
