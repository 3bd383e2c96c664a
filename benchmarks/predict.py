"""`arpgnet predict` against a loop over the same networks: speed, time to the first row, memory.

    python benchmarks/predict.py [ASSETS] [--rounds 3] [--minutes 1 20] [--out FILE]

The 20 clips of `clips/asl` (640 x 480, 30 frames a second, one face), pack `open`, a network of the
default settings that has learned nothing, windows of 2 s. The reference reads with OpenCV, looks
for the face in every whole frame (YuNet), takes landmarks and embedding of every frame, and
classifies the last 16 frames at every frame. Both sides have loaded their networks before they are
timed.
"""

from __future__ import annotations

import argparse
import math
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

import av
import cv2
import numpy as np
from common import REPOSITORY, assets_folder, heading, table, write_out
from rendered import LONG_FPS, repeat

sys.path.insert(0, str(REPOSITORY / "tests"))
from arpgnet.pipeline.predict.features import Row, cut_out, rows_of
from arpgnet.pipeline.predict.model import load_model
from arpgnet.pipeline.predict.predictor import PredictOptions, Predictor
from arpgnet.pipeline.video.stream import plan, stream
from helpers.untrained_run import write_run

WINDOW_S = 2.0


def make_predictor(assets: Path, folder: Path) -> Predictor:
    os.environ["ARPGNET_MODELS"] = str(assets / "weights")
    root = write_run(folder / "run", {"faces": {"pack": "open"}})
    return Predictor(load_model(root), PredictOptions(out=folder, window_s=WINDOW_S))


def loop(predictor: Predictor, video: Path) -> int:
    """The reference; returns the number of frames."""
    capture = cv2.VideoCapture(str(video))
    last: deque[Row] = deque(maxlen=predictor.model.params.decode.frames)
    frames = 0
    while True:
        there, bgr = capture.read()
        if not there:
            return frames
        image = np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), dtype=np.uint8)
        found = predictor.detector.detect(image)
        side = predictor.networks.crop_px
        cut = cut_out(image, found.boxes[0], found.kps[0], crop_px=side) if len(found) else None
        last.append(rows_of(predictor.networks.describe([cut])[0])[0] if cut else None)
        if any(row is not None for row in last):
            predictor.networks.classify(np.arange(len(last)), {0: list(last)})
        frames += 1


def first_row_s(predictor: Predictor, video: Path, folder: Path) -> float:
    """Seconds from the start of decoding to the table's first row."""
    target = folder / "first.csv"
    target.unlink(missing_ok=True)
    seen: list[float] = []
    began = time.perf_counter()

    def watch() -> None:
        while not seen:
            if target.exists() and target.read_bytes().count(b"\n") > 1:
                seen.append(time.perf_counter() - began)
            time.sleep(0.005)

    watcher = threading.Thread(target=watch)
    watcher.start()
    predictor.predict(video, target)
    watcher.join()
    return seen[0]


def lengthen(source: Path, path: Path, minutes: float) -> None:
    """A clip forwards and backwards in H.264, its packets again and again."""
    frames = [shown.image for shown in stream(source, plan(source))]
    once = path.with_name("once.mp4")
    with av.open(str(once), "w") as out:
        video = out.add_stream("libx264", rate=LONG_FPS, options={"crf": "20"})
        video.height, video.width = frames[0].shape[:2]
        video.pix_fmt = "yuv420p"
        for image in [*frames, *frames[::-1]]:
            out.mux(video.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        out.mux(video.encode())
    repeat(once, path, math.ceil(minutes * 60 * LONG_FPS / (2 * len(frames))))


def long_video(assets: Path, minutes: float) -> None:
    """Prints frames, frames a second and peak memory in MB of a long video, in its own process."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        predictor = make_predictor(assets, folder)
        lengthen(assets / "clips/asl/again.mkv", folder / "long.mp4", minutes)
        began = time.perf_counter()
        done = predictor.predict(folder / "long.mp4", folder / "long.csv")
        seconds = time.perf_counter() - began
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(done.frames, done.frames / seconds, peak, done.faces, done.complete)


def rate(run: Callable[[Path], int], clips: list[Path]) -> float:
    began = time.perf_counter()
    frames = sum(run(clip) for clip in clips)
    return frames / (time.perf_counter() - began)


def spread(values: list[float], digits: int) -> str:
    middle, low, high = statistics.median(values), min(values), max(values)
    return f"{middle:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("assets", nargs="?")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--minutes", type=float, nargs="*", default=[1, 20])
    parser.add_argument("--long", type=float, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    assets = assets_folder(args.assets)
    if args.long:
        long_video(assets, args.long)
        return
    clips = sorted((assets / "clips/asl").glob("*.mkv"))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        predictor = make_predictor(assets, folder)

        def ours(clip: Path) -> int:
            return predictor.predict(clip, folder / "table.csv").frames

        def theirs(clip: Path) -> int:
            return loop(predictor, clip)

        ours(clips[0]), theirs(clips[0])
        rates: dict[str, list[float]] = {"loop": [], "ours": []}
        for _ in range(args.rounds):
            rates["loop"].append(rate(theirs, clips))
            rates["ours"].append(rate(ours, clips))
        firsts = [first_row_s(predictor, clip, folder) for clip in clips]
    text = heading(
        "Predicting on videos against a loop over the same networks",
        ("torch", "onnxruntime", "opencv-python", "av"),
        "benchmarks/predict.py",
    )
    times = statistics.median(rates["ours"]) / statistics.median(rates["loop"])
    text += f"\n{len(clips)} clips, median (min to max) of {args.rounds} interleaved rounds.\n\n"
    text += table(
        ("what", "frames a second"),
        [
            ("loop over every frame", spread(rates["loop"], 1)),
            (f"`arpgnet predict`, {times:.1f} times the loop", spread(rates["ours"], 1)),
        ],
    )
    text += f"\nFrom the start of decoding to the first row: {spread(firsts, 2)} s.\n\n"
    rows = []
    for minutes in args.minutes:
        command = [sys.executable, __file__, str(assets), "--long", str(minutes)]
        said = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
        rows.append((f"{minutes:g}", said[0], f"{float(said[1]):.0f}", f"{float(said[2]):.0f}"))
    text += table(("minutes of video", "frames", "frames a second", "peak memory, MB"), rows)
    write_out(text, args.out)


if __name__ == "__main__":
    main()
