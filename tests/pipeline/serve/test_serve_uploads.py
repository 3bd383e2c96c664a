"""Bodies that are too long, never end, stall, crawl or break off, over real connections."""

import contextlib
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from arpgnet.pipeline.serve.uploads import Pace
from helpers.serving import Service, service, wait_for

LIMIT = 100_000
PACE = Pace(silence_s=0.3, slowest=10_000)
HEAD = "POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{more}\r\n\r\n"
CHUNK = b"1000\r\n" + b"x" * 0x1000 + b"\r\n"


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Service]:
    with service(tmp_path / "jobs", upload_bytes=LIMIT, pace=PACE, root=tmp_path) as made:
        yield made


def opened(made: Service, more: str, path: str = "/api/jobs") -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", made.port), timeout=10)
    connection.sendall(HEAD.format(path=path, more=more).encode())
    return connection


def answer(connection: socket.socket) -> str:
    """Until the service ends the connection."""
    parts = []
    try:
        while part := connection.recv(65536):
            parts.append(part)
    except ConnectionResetError:
        pass
    return b"".join(parts).decode()


def test_a_video_of_the_limit_is_taken(made: Service) -> None:
    done = made.client().post("/api/jobs", content=b"x" * LIMIT)
    assert done.status_code == 202
    assert done.json()["state"] in ("queued", "running")
    job = made.jobs.get(done.json()["id"])
    assert job is not None
    assert job.upload.stat().st_size == LIMIT
    assert job.folder.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("length", [LIMIT + 1, 10**18, "1" * 400])
def test_a_length_beyond_the_limit_is_refused_before_a_byte_comes(
    made: Service, length: object
) -> None:
    with opened(made, f"Content-Length: {length}") as connection:
        said = answer(connection)
    assert said.startswith(("HTTP/1.1 413 ", "HTTP/1.1 400 "))
    assert made.files() == set()


@pytest.mark.parametrize("path", ["/api/jobs", "/api/paths"])
def test_an_endless_upload_is_ended(made: Service, path: str) -> None:
    sent = 0
    with (
        opened(made, "Transfer-Encoding: chunked", path) as connection,
        contextlib.suppress(BrokenPipeError, ConnectionResetError),
    ):
        while sent < 400 * LIMIT:
            connection.sendall(CHUNK)
            sent += 0x1000
    assert sent < 400 * LIMIT
    wait_for(lambda: made.files() == set())


def test_what_an_endless_upload_is_told(made: Service) -> None:
    with opened(made, "Transfer-Encoding: chunked") as connection:
        for _ in range(LIMIT // 0x1000 + 1):
            connection.sendall(CHUNK)
        said = answer(connection)
    assert said.startswith("HTTP/1.1 413 ")
    assert '{"error":"larger than the limit of 0.1 MB"}' in said
    assert made.files() == set()


@pytest.mark.parametrize("more", ["Content-Length: 5000", "Transfer-Encoding: chunked"])
def test_a_stalled_upload_is_ended(made: Service, more: str) -> None:
    with opened(made, more) as connection:
        wait_for(lambda: made.files() != set())
        began = time.monotonic()
        said = answer(connection)
    assert said.startswith("HTTP/1.1 408 ")
    assert "no data for 0.3 s" in said
    assert time.monotonic() - began < 5
    assert made.files() == set()


def test_a_crawling_upload_is_ended(made: Service) -> None:
    with opened(made, "Content-Length: 50000") as connection:
        end = time.monotonic() + 10
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            while time.monotonic() < end:
                connection.sendall(b"x")
                time.sleep(0.05)
    assert time.monotonic() < end
    wait_for(lambda: made.files() == set())


def test_one_that_breaks_off_leaves_nothing_and_frees_its_place(made: Service) -> None:
    for _ in range(5):
        with opened(made, "Content-Length: 5000") as connection:
            connection.sendall(b"x" * 100)
            wait_for(lambda: made.files() != set())
        wait_for(lambda: made.files() == set())
    assert made.client().post("/api/jobs", content=b"video").status_code == 202


def test_an_empty_one_is_no_video(made: Service) -> None:
    done = made.client().post("/api/jobs", content=b"")
    assert (done.status_code, done.json()) == (400, {"error": "the upload is empty"})
    assert made.files() == set()


def form(*parts: tuple[str, bytes], end: bytes = b"--b--\r\n") -> bytes:
    """A form with parts of these headers and contents."""
    lines = b"".join(
        b"--b\r\nContent-Disposition: form-data; " + head.encode() + b"\r\n\r\n" + data + b"\r\n"
        for head, data in parts
    )
    return lines + end


FORM = {"content-type": "multipart/form-data; boundary=b"}
# what looks like the end of a part, and is not
VIDEO = b"\r\n--b\n\r\n--c--\r\n-- video \0\xff\r" * 500


def test_the_file_of_a_form_is_taken(made: Service) -> None:
    # httpx sends it as curl -F and browsers do
    files = {"file": ("a:b \u00e9.mp4", VIDEO.replace(b"--b\n", b"--d\n"), "video/mp4")}
    fields = {"format": "jsonl", "overlay": "on", "button": "Send"}
    files["other"] = ("", b"", "application/octet-stream")
    done = made.client().post("/api/jobs", files=files, data=fields)
    assert done.status_code == 202, done.text
    assert done.json()["name"] == "a:b \u00e9.mp4"
    wanted = {"form": "jsonl", "landmarks": False, "overlay": True, "blur_faces": False}
    assert done.json()["wanted"] == wanted
    job = made.jobs.get(done.json()["id"])
    assert job is not None
    assert job.upload.read_bytes() == files["file"][1]


def test_the_address_and_the_header_come_first(made: Service) -> None:
    done = made.client(**{"x-file-name": "own.mp4"}).post(
        "/api/jobs?format=csv", files={"video": ("x.mp4", b"video")}, data={"format": "jsonl"}
    )
    assert (done.json()["name"], done.json()["wanted"]["form"]) == ("own.mp4", "csv")


@pytest.mark.parametrize(
    ("headers", "body", "status", "line"),
    [
        (FORM, form(), 400, "the form has 0 files"),
        (FORM, form(('name="a"', b"text")), 400, "the form has 0 files"),
        (FORM, form(*[('name="f"; filename="a.mp4"', b"x")] * 2), 400, "the form has 2 files"),
        (FORM, form(('name="f"; filename="a.mp4"', b"")), 400, "the upload is empty"),
        (FORM, form(('name="f"; filename="a.mp4"', b"x" * 500), end=b""), 400, "cut off"),
        (FORM, form(("x=y", b"nameless")), 400, "the form has 0 files"),
        (FORM, b"no form", 400, "damaged or cut off"),
        (FORM, form(*[('name="f"', b"x")] * 30), 413, "too many"),
        (FORM, form(('name="f"', b"x" * 70_000)), 413, "too long parts"),
        (FORM, form(('name="f"; filename="a"', b"x" * (LIMIT + 1))), 413, "limit of 0.1 MB"),
        (FORM, form(('name="format"', b"exe"), ('name="f"; filename="a"', b"x")), 422, "format: "),
        ({"content-type": "multipart/form-data"}, b"x", 400, "no boundary"),
        ({"content-type": "multipart/mixed; boundary=b"}, form(), 415, "multipart/mixed: send"),
    ],
)
def test_what_is_no_form_with_a_video_is_a_line(
    made: Service, headers: dict[str, str], body: bytes, status: int, line: str
) -> None:
    done = made.client(**headers).post("/api/jobs", content=body)
    assert done.status_code == status
    assert line in done.json()["error"]
    assert made.files() == set()


def test_a_form_with_a_video_of_the_limit_is_taken(made: Service) -> None:
    done = made.client().post("/api/jobs", files={"f": ("x" * 1000, b"x" * LIMIT)})
    assert done.status_code == 202


def test_a_name_that_is_not_utf8_is_a_line(made: Service) -> None:
    body = form(('name="f"; filename="a.mp4"', b"x")).replace(b'"a.mp4', b'"\xe9.mp4')
    done = made.client(**FORM).post("/api/jobs", content=body)
    assert (done.status_code, "not UTF-8" in done.text) == (400, True)
