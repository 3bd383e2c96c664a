"""`arpgnet serve` as a process: real videos through a network that has learned nothing."""

import io
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas as pd
import psutil
import pytest

from arpgnet.pipeline.serve.worker import Source, Task, Worker
from arpgnet.pipeline.video.frames import encode_jpeg
from helpers.face_videos import film_of_a_face
from helpers.made_videos import write
from helpers.overlay_videos import film
from helpers.serving import Server, server, wait_for
from helpers.untrained_run import CLASSES, write_run

LONGEST_MINUTES = "0.1"


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("run"), {"decode": {"frames": 4}})


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The service's folder of videos."""
    folder = tmp_path_factory.mktemp("videos")
    film_of_a_face(folder / "face.mp4")
    film_of_a_face(folder / "many.mp4", 140)
    film(folder / "gray.mkv")
    film(folder / "long.mkv", times_ms=range(0, 7000, 500))
    (folder / "text.mp4").write_text("not a video")
    (folder / "picture.mp4").write_bytes(encode_jpeg(np.zeros((50, 50, 3), np.uint8), 90))
    damaged = bytearray(write(folder / "damaged.mkv", "libx264").read_bytes())
    damaged[len(damaged) * 7 // 10 : len(damaged) * 7 // 10 + 400] = bytes(400)
    (folder / "damaged.mkv").write_bytes(damaged)
    return folder


@pytest.fixture(scope="module")
def running(
    workspace: Path, videos: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """Bound to all addresses, so that it has a token."""
    kept = tmp_path_factory.mktemp("kept") / "jobs"
    arguments = ("--host", "0.0.0.0", "--root", str(videos), "--keep", str(kept))
    with server(workspace, *arguments, "--max-minutes", LONGEST_MINUTES) as running:
        yield running


@pytest.fixture
def client(running: Server) -> Iterator[httpx.Client]:
    headers = {"authorization": f"Bearer {running.token}"}
    with httpx.Client(base_url=running.address, headers=headers) as client:
        yield client


def ended(client: httpx.Client, job: str) -> dict[str, Any]:
    end = time.monotonic() + 60
    while (state := client.get(f"/api/jobs/{job}").json())["state"] in ("queued", "running"):
        assert time.monotonic() < end
        time.sleep(0.05)
    return dict(state)


def upload(client: httpx.Client, video: Path, query: str = "") -> dict[str, Any]:
    headers = {"x-file-name": video.name}
    sent = client.post(f"/api/jobs{query}", content=video.read_bytes(), headers=headers)
    assert sent.status_code == 202, sent.text
    return ended(client, sent.json()["id"])


def test_beyond_the_loopback_there_is_a_token(running: Server) -> None:
    assert running.token
    assert len(running.token) >= 32
    with httpx.Client(base_url=running.address) as stranger:
        assert stranger.get("/").status_code == 200
        assert stranger.get("/api/service").status_code == 401
        headers = {"authorization": f"Bearer {running.token}"}
        assert stranger.get("/api/service", headers=headers).json()["warning"] == ""
        assert stranger.post("/api/jobs", content=b"video").status_code == 401


@pytest.mark.parametrize("form", ["csv", "parquet", "jsonl"])
def test_a_video_becomes_a_table_and_a_page(client: httpx.Client, videos: Path, form: str) -> None:
    overlay, blur = form == "csv", form == "jsonl"
    query = f"?format={form}&overlay={overlay}&blur_faces={blur}"
    state = upload(client, videos / "face.mp4", query)
    assert (state["state"], state["error"], state["faces"], state["complete"]) == (
        "done", None, 1, True,
    )  # fmt: skip
    assert (state["frames"], state["total"]) == (24, 24)
    assert state["files"]["table"]["name"] == f"result.{form}"
    files = {
        kind: client.get(f"/api/jobs/{state['id']}/files/{file['name']}").content
        for kind, file in state["files"].items()
    }
    read = {
        "csv": pd.read_csv,
        "parquet": pd.read_parquet,
        "jsonl": lambda file: pd.read_json(file, lines=True),
    }
    table = read[form](io.BytesIO(files["table"]))
    assert table["frame"].tolist() == list(range(24))
    assert set(table["video"]) == {"face.mp4"}
    assert np.allclose(table[[f"p_{name}" for name in CLASSES]].sum(axis=1), 1, atol=1e-5)
    assert b"<h1>face.mp4</h1>" in files["page"]
    assert (b"Faces are blurred" in files["page"]) == blur
    assert ("overlay" in files) == overlay
    if overlay:
        assert files["overlay"][4:8] == b"ftyp"


@pytest.mark.parametrize(
    ("name", "words", "kept"),
    [
        ("text.mp4", "not a video, or its header is damaged", set()),
        ("picture.mp4", "an image, not a video", set()),
        ("long.mkv", "longer than the 6 s that are allowed", set()),
        ("gray.mkv", "no face found in 10 frames", {"table", "page"}),
    ],
)
def test_what_is_wrong_with_a_video_is_a_line(
    client: httpx.Client, videos: Path, name: str, words: str, kept: set[str]
) -> None:
    state = upload(client, videos / name)
    assert (state["state"], state["error"], set(state["files"])) == ("failed", words, kept)


def test_of_a_damaged_video_the_sound_part_is_kept_and_marked(
    client: httpx.Client, videos: Path
) -> None:
    state = upload(client, videos / "damaged.mkv")
    assert (state["state"], state["complete"]) == ("failed", False)
    table = client.get(f"/api/jobs/{state['id']}/files/result.csv").text
    assert not pd.read_csv(io.StringIO(table))["complete"].iloc[-1]
    page = client.get(f"/api/jobs/{state['id']}/files/result.html").text
    assert "Incomplete." in page


def test_a_path_is_read_where_it_lies(client: httpx.Client, videos: Path) -> None:
    sent = client.post("/api/paths", json={"path": "face.mp4"}).json()
    assert ended(client, sent["id"])["state"] == "done"
    assert (videos / "face.mp4").is_file()


def worker_of(running: Server) -> psutil.Process:
    children = psutil.Process(running.process.pid).children(recursive=True)
    return max(children, key=lambda child: child.memory_info().rss)


def started(client: httpx.Client, video: Path) -> str:
    job = str(client.post("/api/jobs", content=video.read_bytes()).json()["id"])
    wait_for(lambda: client.get(f"/api/jobs/{job}").json()["frames"] > 0, 60)
    return job


def test_a_video_that_kills_its_reader_does_not_kill_the_service(
    running: Server, client: httpx.Client, videos: Path
) -> None:
    job = started(client, videos / "many.mp4")
    worker_of(running).kill()
    state = ended(client, job)
    assert state["state"] == "failed"
    assert state["error"] == "the process died while predicting the video"
    assert upload(client, videos / "face.mp4")["state"] == "done"


def test_a_running_job_can_be_cancelled(client: httpx.Client, videos: Path) -> None:
    job = started(client, videos / "many.mp4")
    assert client.delete(f"/api/jobs/{job}").status_code == 204
    state = ended(client, job)
    assert (state["state"], state["files"]) == ("cancelled", {})
    assert upload(client, videos / "face.mp4")["state"] == "done"


def test_a_video_that_hangs_its_reader_is_given_up(
    workspace: Path, videos: Path, tmp_path: Path
) -> None:
    worker = Worker(Source(str(workspace), None, 0.6, 60.0), silence_s=1.0)
    before = {child.pid for child in psutil.Process().children(recursive=True)}
    assert worker.start().classes == CLASSES
    process = next(
        child
        for child in psutil.Process().children(recursive=True)
        if child.pid not in before and "spawn_main" in " ".join(child.cmdline())
    )
    process.suspend()
    task = Task(videos / "face.mp4", tmp_path, "face.mp4")
    outcome = worker.run(task, lambda done, total: None, threading.Event())
    assert (outcome.state, outcome.line) == ("failed", "stopped: no frame in 1 s")
    assert not process.is_running()
    worker.stop()


@pytest.mark.parametrize(
    "how", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)]
)
def test_nothing_is_left_at_the_end(
    workspace: Path,
    videos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    how: signal.Signals,
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with server(workspace) as running, httpx.Client(base_url=running.address) as client:
        assert upload(client, videos / "face.mp4")["state"] == "done"
        started(client, videos / "many.mp4")
        folder = next(path for path in tmp_path.iterdir() if path.name.startswith("arpgnet-serve"))
        assert folder.stat().st_mode & 0o777 == 0o700
        worker = worker_of(running)
        running.process.send_signal(how)
        assert running.process.wait(30) in (0, 128 + signal.SIGTERM)
        assert not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE
    assert not folder.exists()
