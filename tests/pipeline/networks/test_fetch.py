"""Fetching from a server on this machine: license, resumption, checks, zip safety."""

import functools
import hashlib
import http.server
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from arpgnet.pipeline.common.download import download
from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.networks import packs
from arpgnet.pipeline.networks.fetch import fetch
from helpers import graphs

FILES = ("detector.onnx", "landmark.onnx", "embedding.onnx")


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves a folder, with byte ranges; `cut` breaks a reply off after so many bytes."""

    log: list[tuple[str, str | None]]
    cut: int | None

    def do_GET(self) -> None:
        path = Path(self.directory) / self.path.lstrip("/")
        asked = self.headers.get("Range")
        self.server.log.append((self.path, asked))  # type: ignore[attr-defined]
        if not path.is_file():
            self.send_error(404)
            return
        data = path.read_bytes()
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
        if start >= len(data):
            self.send_error(416)
            return
        self.send_response(206 if asked else 200)
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        body = data[start:]
        self.wfile.write(body[: self.server.cut])  # type: ignore[attr-defined]

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def server(tmp_path: Path) -> Iterator[http.server.ThreadingHTTPServer]:
    (tmp_path / "www").mkdir()
    handler = functools.partial(Handler, directory=str(tmp_path / "www"))
    made = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    made.log, made.cut = [], None  # type: ignore[attr-defined]
    thread = threading.Thread(target=made.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield made
    made.shutdown()
    made.server_close()
    thread.join()


@pytest.fixture
def www(tmp_path: Path, server: http.server.ThreadingHTTPServer) -> Path:
    return tmp_path / "www"


@pytest.fixture
def address(server: http.server.ThreadingHTTPServer) -> str:
    return f"http://127.0.0.1:{server.server_address[1]}"


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The table of known packs holds `mini` alone; its text may be changed."""
    bundled = tmp_path / "bundled"
    bundled.mkdir()
    made = graphs.small_pack(tmp_path / "mini")
    (made / "pack.yaml").rename(bundled / "mini.yaml")
    monkeypatch.setattr(packs, "BUNDLED", bundled)
    return bundled / "mini.yaml"


@pytest.fixture
def files(table: Path, www: Path, address: str, tmp_path: Path) -> Path:
    """`mini` is offered file by file."""
    text = table.read_text()
    for name in FILES:
        (tmp_path / "mini" / name).rename(www / name)
        text = text.replace(f"file: {name}", f"file: {name}\n    url: {address}/{name}")
    table.write_text(text)
    return www


@pytest.fixture
def archive(table: Path, www: Path, address: str, tmp_path: Path) -> Path:
    """`mini` is offered as a zip with more in it than is wanted."""
    path = www / "mini.zip"
    with zipfile.ZipFile(path, "w") as made:
        made.writestr("../../escaped.txt", "no")
        made.writestr("genderage.onnx", "not wanted")
        for name in FILES:
            made.write(tmp_path / "mini" / name, f"models/mini/{name}")
    _offer_zip(table, path, address)
    return path


def _offer_zip(table: Path, path: Path, address: str) -> None:
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    head = table.read_text().split("archive:")[0].split("models:")
    rest = table.read_text().split("models:", 1)[1]
    archive = f"archive:\n  url: {address}/mini.zip\n  sha256: {sha256}\n"
    table.write_text(f"{head[0]}{archive}models:{rest}")


def test_the_license_comes_first(files: Path, tmp_path: Path, server) -> None:
    with pytest.raises(UserError, match=r"license: MIT\. for tests .*--accept-license"):
        fetch("mini", accept_license=False, into=tmp_path / "into")
    assert server.log == []
    assert not (tmp_path / "into").exists()


def test_files_arrive_checked_and_are_not_fetched_twice(
    files: Path, tmp_path: Path, server, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = fetch("mini", accept_license=True, into=tmp_path / "into")
    assert sorted(path.name for path in folder.iterdir()) == sorted(FILES)
    for name in FILES:
        assert (folder / name).read_bytes() == (files / name).read_bytes()
    assert "license: MIT" in capsys.readouterr().err
    asked = len(server.log)
    (folder / "landmark.onnx").unlink()
    fetch("mini", accept_license=True, into=tmp_path / "into")
    assert server.log[asked:] == [("/landmark.onnx", None)]


def test_a_fetched_pack_loads(files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARPGNET_MODELS", str(tmp_path / "into"))
    folder = fetch("mini", accept_license=True, into=tmp_path / "into")
    assert packs.load_pack("mini").folder == folder


def test_only_the_wanted_files_leave_the_zip(archive: Path, tmp_path: Path) -> None:
    folder = fetch("mini", accept_license=True, into=tmp_path / "into" / "deep")
    assert sorted(path.name for path in folder.iterdir()) == sorted(FILES)
    assert not list(tmp_path.rglob("escaped.txt"))


def test_a_broken_connection_is_taken_up_again(archive: Path, tmp_path: Path, server) -> None:
    server.cut = 1000
    into = tmp_path / "into"
    with pytest.raises(UserError, match=r"ended after 1000 of \d+ bytes; run again"):
        fetch("mini", accept_license=True, into=into)
    assert not list(into.rglob("*.onnx"))
    server.cut = None
    folder = fetch("mini", accept_license=True, into=into)
    assert server.log == [("/mini.zip", None), ("/mini.zip", "bytes=1000-")]
    assert sorted(path.name for path in folder.iterdir()) == sorted(FILES)


def test_a_finished_part_is_not_asked_for_again(www: Path, address: str, tmp_path: Path) -> None:
    (www / "x").write_bytes(b"12345")
    part = tmp_path / "x.part"
    part.write_bytes(b"12345")
    download(f"{address}/x", part)
    assert part.read_bytes() == b"12345"


def test_a_server_without_ranges_starts_anew(tmp_path: Path) -> None:
    class Whole:
        status = 200
        headers = {"Content-Length": "3"}  # noqa: RUF012
        data = [b"new", b""]  # noqa: RUF012

        def read(self, _: int) -> bytes:
            return self.data.pop(0)

        def __enter__(self):
            return self

        def __exit__(self, *_: object) -> None: ...

    part = tmp_path / "x.part"
    part.write_bytes(b"older and longer")
    download("http://example.org/x", part, lambda request: Whole())
    assert part.read_bytes() == b"new"


@pytest.mark.parametrize("damage", [b"x", b"x" * 10_000_000])
def test_a_wrong_file_is_discarded(files: Path, tmp_path: Path, damage: bytes) -> None:
    (files / "landmark.onnx").write_bytes(damage)
    with pytest.raises(UserError) as error:
        fetch("mini", accept_license=True, into=tmp_path / "into")
    assert "download of landmark.onnx has sha256" in str(error.value)
    assert hashlib.sha256(damage).hexdigest() in str(error.value)
    left = [path.name for path in (tmp_path / "into" / "mini").iterdir()]
    assert left == ["detector.onnx"]


def test_a_wrong_archive_is_discarded(archive: Path, tmp_path: Path) -> None:
    archive.write_bytes(archive.read_bytes()[:-1] + b"!")
    with pytest.raises(UserError, match=r"the download has sha256 .* discarded; run again"):
        fetch("mini", accept_license=True, into=tmp_path / "into")
    assert list((tmp_path / "into" / "mini").iterdir()) == []


def test_what_is_no_zip_or_lacks_a_file_is_reported(
    archive: Path, table: Path, address: str, tmp_path: Path
) -> None:
    archive.write_bytes(b"<html>sorry</html>")
    _offer_zip(table, archive, address)
    with pytest.raises(UserError, match="is not a zip"):
        fetch("mini", accept_license=True, into=tmp_path / "into")
    with zipfile.ZipFile(archive, "w") as made:
        made.writestr("detector.onnx", "wrong")
    _offer_zip(table, archive, address)
    with pytest.raises(UserError, match=r"download of detector\.onnx has sha256"):
        fetch("mini", accept_license=True, into=tmp_path / "into")
    with zipfile.ZipFile(archive, "w") as made:
        made.write(tmp_path / "mini" / "detector.onnx", "detector.onnx")
    _offer_zip(table, archive, address)
    with pytest.raises(UserError, match=r"lacks landmark\.onnx"):
        fetch("mini", accept_license=True, into=tmp_path / "into")


def test_no_network_is_one_clear_line(files: Path, tmp_path: Path, server, address: str) -> None:
    server.shutdown()
    server.server_close()
    with pytest.raises(UserError) as error:
        fetch("mini", accept_license=True, into=tmp_path / "into")
    line = str(error.value)
    assert address.removeprefix("http://") in line
    assert str(tmp_path / "into" / "mini") in line
    assert "faces.pack: demo" in line
    assert "\n" not in line


def test_an_address_that_is_gone_is_reported(files: Path, tmp_path: Path) -> None:
    (files / "detector.onnx").unlink()
    with pytest.raises(UserError, match=r"detector\.onnx: the server answered 404"):
        fetch("mini", accept_license=True, into=tmp_path / "into")


def test_what_cannot_be_fetched_is_refused(table: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="pack 'mini' is part of the project"):
        fetch("mini", accept_license=True, into=tmp_path)
    with pytest.raises(UserError, match="pack 'maxi' is unknown"):
        fetch("maxi", accept_license=True, into=tmp_path)
