"""Renders the demo data set into a folder: videos, their truth, and the manifest."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.demo.action_units import ACTION_UNITS
from arpgnet.pipeline.demo.arrays import Floats
from arpgnet.pipeline.demo.clip import render_clip
from arpgnet.pipeline.demo.frame import RenderedFrame
from arpgnet.pipeline.demo.landmarks import POINT_COUNT
from arpgnet.pipeline.demo.prototypes import CLASSES
from arpgnet.pipeline.demo.subject import SUBJECT_SEEDS_DEMO
from arpgnet.pipeline.runner.threads import use_one_thread
from arpgnet.pipeline.runner.workers import Crashed, run_in_workers

MANIFEST = "manifest.csv"
SETTINGS = "settings.json"
TRUTH_SUFFIX = ".truth.parquet"


@dataclass(frozen=True)
class _Clip:
    """One clip to render."""

    label: str
    subject: str
    subject_seed: int
    clip_seed: int
    stem: str  # under the root

    @property
    def path(self) -> str:
        return f"{self.stem}.mp4"


@dataclass(frozen=True)
class _RenderJob:
    """What a worker process does; see `pipeline.runner.workers.Job`."""

    root: str
    frame_px: int
    fps: float

    def start(self) -> None:
        use_one_thread()

    def do(self, item: _Clip) -> str:
        frames = render_clip(
            item.subject_seed, item.label, item.clip_seed, frame_px=self.frame_px, fps=self.fps
        )
        stem = Path(self.root) / item.stem
        stem.parent.mkdir(parents=True, exist_ok=True)
        # the video last: a clip with a video is finished
        _write(stem.with_name(stem.name + TRUTH_SUFFIX), _truth(frames, self.fps))
        # cameras differ in how hard they compress
        crf = 18 + item.clip_seed % 11
        _write(stem.with_name(stem.name + ".mp4"), encode(frames, self.fps, crf))
        return item.stem


def render_dataset(
    root: Path,
    *,
    subjects: int,
    clips_per_class: int,
    frame_px: int,
    fps: float,
    seed: int,
    workers: int,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Writes `<root>/<label>/sNN_cM.mp4` with its truth beside it, and `manifest.csv` last.

    A finished clip is not rendered again, so an interrupted run can go on. The bytes depend
    neither on `workers` nor on the order in which clips are finished.

    Args:
        subjects: number of persons, at most 1,000.
        frame_px: side of the square images; even, because of 4:2:0 chroma.
        workers: processes.
        progress: called with (finished clips, all clips) after each clip.

    Raises:
        UserError: a setting is impossible, or `root` holds clips of other settings.
    """
    if not 1 <= subjects <= len(SUBJECT_SEEDS_DEMO) or clips_per_class < 1 or workers < 1:
        raise UserError(
            f"the demo needs 1 to {len(SUBJECT_SEEDS_DEMO)} subjects and at least one clip per "
            f"class and one worker, not {subjects}, {clips_per_class} and {workers}"
        )
    if frame_px < 32 or frame_px % 2 or fps <= 0:
        raise UserError(
            f"the demo's frames need an even side of 32 px or more and a positive rate, "
            f"not {frame_px} px at {fps} per second"
        )
    root.mkdir(parents=True, exist_ok=True)
    settings = {
        "clips_per_class": clips_per_class,
        "fps": float(fps),
        "frame_px": frame_px,
        "seed": seed,
        "subjects": subjects,
    }
    _claim(root, settings)
    clips = _plan(subjects, clips_per_class, seed)
    todo = [clip for clip in clips if not (root / clip.path).is_file()]
    done = len(clips) - len(todo)
    job = _RenderJob(str(root), frame_px, float(fps))
    for clip, result in run_in_workers(job, todo, workers):
        if isinstance(result, Crashed):
            raise UserError(
                f"rendering {clip.path} ended its worker twice (exit code {result.exit_code}): "
                "not enough memory? Run again with fewer workers"
            )
        done += 1
        if progress is not None:
            progress(done, len(clips))
    _write(root / MANIFEST, _manifest(clips))


def _plan(subjects: int, clips_per_class: int, seed: int) -> list[_Clip]:
    rng = np.random.default_rng([seed, 7])
    people = rng.permutation(len(SUBJECT_SEEDS_DEMO))[:subjects]
    digits = max(2, len(str(subjects - 1)))
    clips = []
    for label_place, label in enumerate(CLASSES):
        for number, person in enumerate(people):
            for take in range(clips_per_class):
                # a clip keeps its seed when subjects or takes are added
                own = np.random.default_rng([seed, 8, label_place, int(person), take])
                clips.append(
                    _Clip(
                        label=label,
                        subject=f"s{number:0{digits}d}",
                        subject_seed=SUBJECT_SEEDS_DEMO[int(person)],
                        clip_seed=int(own.integers(2**31)),
                        stem=f"{label}/s{number:0{digits}d}_c{take}",
                    )
                )
    return clips


def _claim(root: Path, settings: dict[str, float]) -> None:
    path = root / SETTINGS
    text = json.dumps(settings, indent=2, sort_keys=True) + "\n"
    if not path.is_file():
        _write(path, text.encode())
    elif path.read_text(encoding="utf-8") != text:
        raise UserError(
            f"{root} holds demo clips of other settings (see {SETTINGS} there): "
            "give another folder, or delete this one"
        )


def _manifest(clips: list[_Clip]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("path", "label", "subject"))
    writer.writerows((clip.path, clip.label, clip.subject) for clip in clips)
    return text.getvalue().encode()


def encode(frames: list[RenderedFrame], fps: float, crf: int) -> bytes:
    """An MP4 with one H.264 track, yuv420p; one thread, so that the bytes repeat.

    Args:
        crf: x264's quality, 0 lossless to 51 worst.
    """
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001))
        stream.height, stream.width = frames[0].image.shape[:2]
        stream.pix_fmt = "yuv420p"
        stream.codec_context.thread_count = 1
        # with macroblock-tree and B-frames x264 gave 11 different files in 12 runs at 96 px
        stream.options = {
            "preset": "veryfast",
            "crf": str(crf),
            "threads": "1",
            "mbtree": "0",
            "bf": "0",
        }
        for frame in frames:
            planes = np.asarray(cv2.cvtColor(frame.image, cv2.COLOR_RGB2YUV_I420), np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(planes, format="yuv420p")))
        container.mux(stream.encode())
    return buffer.getvalue()


def _truth(frames: list[RenderedFrame], fps: float) -> bytes:
    def column(values: Floats, kind: pa.DataType) -> pa.Array:
        # from buffers: `pa.array` would import pandas, for half a second a worker
        return pa.Array.from_buffers(kind, values.size, [None, pa.py_buffer(values)])

    def vectors(name: str, width: int) -> pa.Array:
        values: Floats = np.stack([getattr(frame, name).ravel() for frame in frames])
        flat = column(values.astype(np.float32), pa.float32())
        return pa.FixedSizeListArray.from_arrays(flat, width)

    count = len(frames)
    table = pa.table(
        {
            "frame_index": column(np.arange(count, dtype=np.int32), pa.int32()),
            "time_s": column(np.arange(count) / fps, pa.float64()),
            "landmarks": vectors("landmarks", 2 * POINT_COUNT),
            "keypoints": vectors("keypoints", 10),
            "bbox": vectors("bbox", 4),
            "action_units": vectors("action_units", len(ACTION_UNITS)),
            "head_pose": vectors("head_pose", 3),
        }
    )
    table = table.replace_schema_metadata({"action_units": ",".join(ACTION_UNITS)})
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, use_dictionary=False, compression="zstd")
    return sink.getvalue().to_pybytes()


def _write(path: Path, data: bytes) -> None:
    """Whole or not at all: a temporary file beside it, synced and renamed."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    with temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
