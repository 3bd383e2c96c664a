"""`arpgnet predict` in a process of its own: Ctrl-C, and places that cannot be written."""

import json
import os
import resource
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import av
import pandas as pd
import pyarrow.parquet as pq
import pytest

from helpers.face_videos import film_of_a_face
from helpers.in_process import arpgnet
from helpers.predict_process import start_predict
from helpers.untrained_run import write_run

# frames: 5 s and more
LONG = 800


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("run"), {"decode": {"frames": 4}})


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Longer than anybody waits for here."""
    return film_of_a_face(tmp_path_factory.mktemp("video") / "long.mp4", LONG)


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return film_of_a_face(tmp_path_factory.mktemp("video") / "short.mp4", 48)


def until(known: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    ends = time.monotonic() + 60
    while not known():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < ends
        time.sleep(0.02)


SLOW_FORMS = [pytest.param(form, marks=pytest.mark.slow) for form in ("parquet", "jsonl")]


@pytest.mark.parametrize("form", ["csv", *SLOW_FORMS])
def test_ctrl_c_keeps_the_rows_and_marks_the_table(
    workspace: Path, long: Path, short: Path, tmp_path: Path, form: str
) -> None:
    table = tmp_path / f"long.{form}"
    process = start_predict(workspace, long, short, "--out", tmp_path, "--format", form)
    try:
        if form == "parquet":
            # its rows are written in groups: seconds after the file, some are waiting
            until(table.exists, process)
            time.sleep(1.5)
        else:
            until(lambda: table.exists() and table.stat().st_size > 8000, process)
        os.killpg(process.pid, signal.SIGINT)
        said, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130
    assert "Traceback" not in errors
    lines = [line for line in errors.splitlines() if "error:" in line]
    assert len(lines) == 1
    assert "long.mp4: stopped after frame" in lines[0]
    if form == "csv":
        rows = pd.read_csv(table)
    elif form == "parquet":
        assert pq.read_metadata(table).metadata[b"complete"] == b"false"
        rows = pd.read_parquet(table)
    else:
        rows = pd.DataFrame([json.loads(line) for line in table.read_text().splitlines()])
    assert rows["complete"].tolist() == [True] * (len(rows) - 1) + [False]
    assert len(rows) < LONG
    assert form == "parquet" or len(rows) > 10
    assert rows["frame"].tolist() == list(range(len(rows)))
    assert f"{len(rows)} frames" in said
    # the videos behind it are not begun
    assert [path.name for path in tmp_path.iterdir()] == [table.name]


def test_ctrl_c_leaves_an_overlay_that_can_be_played(
    workspace: Path, long: Path, tmp_path: Path
) -> None:
    process = start_predict(workspace, long, "--out", tmp_path, "--overlay")
    table = tmp_path / "long.csv"
    try:
        until(lambda: table.exists() and table.stat().st_size > 8000, process)
        os.killpg(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130
    assert "Traceback" not in errors
    assert not pd.read_csv(table)["complete"].iloc[-1]
    with av.open(str(tmp_path / "long.overlay.mp4")) as container:
        count = sum(1 for _ in container.decode(video=0))
    assert 10 < count < LONG


def full_disk() -> None:
    """No file may be larger than this."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))


@pytest.mark.parametrize("form", ["csv", *SLOW_FORMS[:1]])
def test_a_full_disk_is_one_line(workspace: Path, short: Path, tmp_path: Path, form: str) -> None:
    more = ["--landmarks"] if form == "parquet" else []
    process = start_predict(
        workspace, short, "--out", tmp_path, "--format", form, *more, before=full_disk
    )
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert errors.strip() == f"error: {short}: the disk of {tmp_path} is full: " + (
        "free some space, or fix the folder"
    )
    if form == "csv":
        rows = pd.read_csv(tmp_path / "short.csv")
    if form == "jsonl":
        rows = pd.DataFrame([json.loads(line) for line in (tmp_path / "short.jsonl").open()])
    if form != "parquet":
        assert rows["complete"].tolist() == [True] * (len(rows) - 1) + [False]
        assert len(rows) > 2


def test_a_folder_that_cannot_be_one_is_one_line(
    workspace: Path, short: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("mine")
    more = ("--window", "0.6", "--out", str(tmp_path / "file/tables"))
    done = arpgnet("predict", "--model", str(workspace), str(short), *more)
    assert done.returncode == 1
    assert "cannot be written (Not a directory)" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert (tmp_path / "file").read_text() == "mine"
