"""How much of the CPU time of `arpgnet predict` is spent on head poses?

    python benchmarks/head_pose.py [ASSETS] [--rounds 3] [--out FILE]

The clips of `clips/asl` (640 x 480, 30 frames a second, one face), pack `open`, a network of the
default settings that has learned nothing, windows of 2 s. Time spent on poses is CPU time of the
calling thread in `head_pose` and in `Poses`, with the clock's own; the whole is CPU time of all
threads of the process, networks loaded.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

from common import REPOSITORY, assets_folder, heading, table, write_out

sys.path.insert(0, str(REPOSITORY / "tests"))
from arpgnet.pipeline.predict import features, frame
from arpgnet.pipeline.predict.model import load_model
from arpgnet.pipeline.predict.poses import Poses
from arpgnet.pipeline.predict.predictor import PredictOptions, Predictor
from helpers.untrained_run import write_run

WINDOW_S = 2.0
# a pose of every frame needs the landmarks of every frame, which this format has
FORMATS = {"csv": "of sampled frames, and between them", "openface": "of every frame"}


class Clock:
    """CPU seconds of this thread in the functions that it wraps, and their calls."""

    def __init__(self) -> None:
        self.seconds, self.calls = 0.0, 0

    def around(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any, **kwargs: Any) -> Any:
            start = time.thread_time()
            result = function(*args, **kwargs)
            self.seconds += time.thread_time() - start
            self.calls += 1
            return result

        return timed


def measure(predictor: Predictor, clips: list[Path], folder: Path) -> tuple[float, float, int, int]:
    """Return CPU seconds of poses and of all, calls, and frames."""
    clock, frames, start = Clock(), 0, time.process_time()
    with (
        patch.object(features, "head_pose", clock.around(features.head_pose)),
        patch.object(frame, "head_pose", clock.around(frame.head_pose)),
        patch.object(Poses, "at", clock.around(Poses.at)),
        patch.object(Poses, "add", clock.around(Poses.add)),
    ):
        for clip in clips:
            frames += predictor.predict(clip, folder / "table.csv").frames
    return clock.seconds, time.process_time() - start, clock.calls, frames


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("assets", nargs="?")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--clips", type=int, help="only so many")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    assets = assets_folder(args.assets)
    clips = sorted((assets / "clips/asl").glob("*.mkv"))[: args.clips]
    os.environ["ARPGNET_MODELS"] = str(assets / "weights")
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = load_model(write_run(folder / "run", {"faces": {"pack": "open"}}))
        for form, words in FORMATS.items():
            options = PredictOptions(form=form, out=folder, window_s=WINDOW_S)
            predictor = Predictor(model, options)
            predictor.predict(clips[0], folder / "table.csv")
            found = [measure(predictor, clips, folder) for _ in range(args.rounds)]
            shares = sorted(100 * pose / whole for pose, whole, _, _ in found)
            _, _, calls, frames = found[0]
            rows.append(
                [
                    f"{form}: {words}",
                    frames,
                    calls,
                    f"{statistics.median(1e3 * pose / frames for pose, *_ in found):.3f}",
                    f"{statistics.median(1e3 * one[1] / frames for one in found):.1f}",
                    f"{statistics.median(shares):.2f} % ({shares[0]:.2f} to {shares[-1]:.2f})",
                ]
            )
    packages = ("torch", "onnxruntime", "opencv-python")
    text = heading("Head pose's share of `arpgnet predict`", packages, "benchmarks/head_pose.py")
    text += f"\n{len(clips)} clips, median (min to max) of {args.rounds} rounds.\n\n"
    header = ("poses", "frames", "calls", "CPU ms a frame, poses", "all", "share")
    write_out(text + table(header, rows), args.out)


if __name__ == "__main__":
    main()
