"""`arpgnet predict` on what does not wait: a named pipe, written to as a camera would, and cameras
that are not there."""

import os
import re
import signal
import threading
import time
from fractions import Fraction
from pathlib import Path
from subprocess import CompletedProcess

import av
import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from arpgnet.pipeline.cli.main import app
from arpgnet.pipeline.common.errors import UserError
from helpers.face_videos import images_of
from helpers.in_process import arpgnet
from helpers.predict_process import start_predict
from helpers.untrained_run import CLASSES, write_run

PROBABILITIES = [f"p_{name}" for name in CLASSES]


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("run"), {"decode": {"frames": 4}})


class Feed:
    """Somebody films a face into a named pipe: `count` frames, 50 ms apart by their own times."""

    def __init__(self, path: Path, count: int, pause_s: float) -> None:
        os.mkfifo(path)
        self.path, self._count, self._pause_s = path, count, pause_s
        self._thread = threading.Thread(target=self._write, daemon=True)
        self._thread.start()

    def _write(self) -> None:
        there = images_of(1)
        images = [*there, *there[::-1]]
        try:
            # opened by Python, which lets other threads run while it waits for a reader
            with (
                self.path.open("wb", buffering=0) as pipe,
                av.open(pipe, "w", format="matroska") as container,
            ):
                stream = container.add_stream("mjpeg", rate=20)
                stream.height, stream.width = images[0].shape[:2]
                stream.pix_fmt = "yuvj420p"
                container.flags |= 0x0200  # AVFMT_FLAG_FLUSH_PACKETS
                for number in range(self._count):
                    image = np.ascontiguousarray(images[number % len(images)])
                    frame = av.VideoFrame.from_ndarray(image, format="rgb24")
                    frame.pts, frame.time_base = number, Fraction(1, 20)
                    container.mux(stream.encode(frame))
                    time.sleep(self._pause_s)
                container.mux(stream.encode())
        except (av.FFmpegError, OSError):
            pass  # nobody reads any longer

    def done(self) -> None:
        self._thread.join(timeout=30)
        assert not self._thread.is_alive()


def watch(workspace: Path, source: Path, *arguments: str | Path) -> str:
    words = ["predict", "--model", str(workspace), "--window", "0.8", str(source)]
    done = CliRunner().invoke(app, [*words, *map(str, arguments)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def test_what_comes_is_written_as_it_comes(workspace: Path, tmp_path: Path) -> None:
    feed = Feed(tmp_path / "feed.mkv", 50, 0.15)
    said = watch(workspace, feed.path, "--out", tmp_path, "--landmarks")
    feed.done()
    table = pd.read_csv(tmp_path / "feed.csv")
    counted = re.search(r"(\d+) frames? dropped", said)
    dropped = int(counted[1]) if counted else 0
    assert len(table) + dropped == 50
    assert len(table) > 20
    assert table["frame"].is_monotonic_increasing
    assert np.allclose(table["time_s"], table["frame"] / 20, atol=2e-3)
    assert set(table["face_id"]) == {0}
    assert table["x_0"].notna().all()
    # the past alone is known: nothing before the first window, and then all
    known = table["p_anger"].notna()
    first = table["time_s"][known].min()
    assert 0.5 <= first <= 1.2
    assert known[table["time_s"] >= first].all()
    assert np.allclose(table[PROBABILITIES][known].sum(axis=1), 1, atol=1e-5)
    assert table["p_anger"][known].nunique() > 4
    assert (table["coverage"][known] > 0.5).all()


def test_a_machine_that_is_too_slow_drops_frames_and_says_so(
    workspace: Path, tmp_path: Path
) -> None:
    feed = Feed(tmp_path / "feed.mkv", 300, 0.0)
    said = watch(workspace, feed.path, "--out", tmp_path, "--format", "jsonl")
    feed.done()
    table = pd.read_json(tmp_path / "feed.jsonl", lines=True)
    assert f"{300 - len(table)} frames dropped (too fast)" in said
    assert 0 < len(table) < 300


def test_seconds_end_it(workspace: Path, tmp_path: Path) -> None:
    feed = Feed(tmp_path / "feed.mkv", 2000, 0.05)
    watch(workspace, feed.path, "--out", tmp_path, "--seconds", "1.5")
    table = pd.read_csv(tmp_path / "feed.csv")
    assert 1.0 < table["time_s"].max() < 1.5


def test_ctrl_c_ends_it_as_a_whole_table(workspace: Path, tmp_path: Path) -> None:
    feed = Feed(tmp_path / "feed.mkv", 2000, 0.05)
    process = start_predict(workspace, feed.path, "--out", tmp_path)
    table = tmp_path / "feed.csv"
    try:
        ends = time.monotonic() + 60
        while not (table.exists() and table.stat().st_size > 2000):
            assert process.poll() is None
            assert time.monotonic() < ends
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGINT)
        said, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    assert (process.returncode, errors) == (0, "")
    rows = pd.read_csv(table)
    assert len(rows) > 10
    assert f"{len(rows)} frames, 1 face" in said


def refused(workspace: Path, source: str, out: Path) -> CompletedProcess[str]:
    words = ("--model", str(workspace), "--window", "0.6", "--out", str(out))
    return arpgnet("predict", source, *words)


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("camera:63", "no such camera"),
        ("/dev/null", "no such camera"),
    ],
)
def test_a_camera_that_is_not_there_is_one_line(
    workspace: Path, tmp_path: Path, source: str, reason: str
) -> None:
    done = refused(workspace, source, tmp_path / "out")
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: {source}: {reason}")
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_a_pipe_without_video_is_one_line(workspace: Path, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_text, args=["not a video " * 1000])
    writer.start()
    done = refused(workspace, str(pipe), tmp_path / "out")
    writer.join(60)
    assert done.returncode == 1
    assert "the pipe's content is not a video" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["camera:0", "--overlay"], "--overlay and --page need a file"),
        (["camera:0", "--page"], "--overlay and --page need a file"),
        (["camera:0", "film.mp4"], "must be the only source"),
        (["camera:0", "--faces", "main"], "--faces main needs a file"),
        (["film.mp4", "--seconds", "3"], "--seconds is only for a camera"),
    ],
)
def test_what_does_not_go_with_a_camera_is_one_line(
    workspace: Path, arguments: list[str], said: str
) -> None:
    done = CliRunner().invoke(app, ["predict", "--model", str(workspace), *arguments])
    assert isinstance(done.exception, UserError)
    assert said in str(done.exception)
