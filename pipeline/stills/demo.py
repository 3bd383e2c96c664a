"""Rendered stills of people who occur nowhere else in the demo, with labels or without.

`finetune.dataset: demo`, `pretrain.stills: [demo]`.

The demo's clips use the subject seeds 0 to 999, its face pack was trained on those from 100,000
and 200,000 on; these are from 300,000 on. Made in the store on first use.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.common.params import FinetuneParams, PretrainParams
from arpgnet.pipeline.common.progress import track
from arpgnet.pipeline.demo import CLASSES
from arpgnet.pipeline.demo.arrays import Image
from arpgnet.pipeline.demo.frame import render
from arpgnet.pipeline.demo.rig import Expression
from arpgnet.pipeline.demo.scene import GRAIN_ROOM, draw_scene
from arpgnet.pipeline.demo.script import write_script
from arpgnet.pipeline.demo.skin import bake_head
from arpgnet.pipeline.runner.threads import use_one_thread
from arpgnet.pipeline.runner.workers import run_in_workers
from arpgnet.pipeline.stills.folder import list_folder
from arpgnet.pipeline.stills.stills import Listing
from arpgnet.pipeline.store import code_version, digest, store_root
from arpgnet.pipeline.video.frames import encode_jpeg

FIRST_SUBJECT = 300_000
FRAME_PX = 256
# a face's skin costs as much as five images of it: three of each class
PER_CLASS = 3
_RATE = 10.0
_DONE = ".complete"


@dataclass(frozen=True)
class _Job:
    """What a worker does: all stills of one person."""

    root: str

    def start(self) -> None:
        use_one_thread()

    def do(self, subject: int) -> None:
        for label in CLASSES:
            folder = Path(self.root) / label / f"still{subject:05d}"
            folder.mkdir(parents=True, exist_ok=True)
            for take in range(PER_CLASS):
                image, quality = render_expression(subject, label, take)
                path = folder / f"{take}.jpg"
                fresh = path.with_name(f".{path.name}.{os.getpid()}")
                fresh.write_bytes(encode_jpeg(image, quality))
                fresh.replace(path)


def list_stills(params: FinetuneParams | PretrainParams, workers: int) -> Listing:
    """List `params.subjects` rendered people with three stills of each demo class."""
    root = store_root() / "demo-stills" / stills_version(params)
    if not (root / _DONE).is_file():
        people = range(params.subjects)
        with track(len(people), "render stills", "people") as progress:
            for subject, failed in run_in_workers(_Job(str(root)), people, workers):
                if failed is not None:
                    raise UserError(f"rendering person {subject} failed: {failed}; run again")
                progress.advance()
        (root / _DONE).touch()
    return list_folder(root)


def stills_version(params: FinetuneParams | PretrainParams) -> str:
    """Return the identity of the stills, before they are rendered."""
    return digest(params.subjects, code_version(__name__))


def render_expression(subject: int, label: str, take: int) -> tuple[Image, int]:
    """Render a clip's strongest expression, uint8 [256, 256, 3]; and choose a JPEG quality."""
    seed = FIRST_SUBJECT + subject
    rng = np.random.default_rng([take, seed, CLASSES.index(label), 6])
    head = bake_head(seed)
    script = write_script(label, head.subject, rng, frame_px=FRAME_PX, fps=_RATE)
    scene = draw_scene(head.subject, rng, FRAME_PX, bool(script.occlusion.any()))
    strength = script.units.sum(1)
    moment = int(rng.integers(len(strength)) if label == "neutral" else strength.argmax())
    units = script.units[moment]
    gaze = float(script.gaze[moment][0]), float(script.gaze[moment][1])
    frame = render(
        head,
        scene,
        script.poses[moment],
        Expression.from_units(units, script.asymmetry, gaze),
        units,
        occluder_shift=(0.0, 0.0) if script.occlusion[moment] > 0.5 else None,
        grain_offset=(int(rng.integers(GRAIN_ROOM)), int(rng.integers(GRAIN_ROOM))),
    )
    return frame.image, int(rng.integers(60, 96))
