"""A server on this machine that gives out data sets in the formats of their publishers.

Files with ranges, ETags and If-Range; Zenodo's record of a deposit; a git repository by git's own
HTTP service, with the batch API of Git LFS. Faults are given to it one by one.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import threading
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

RECORD = "/api/records/1188976"
ENTERFACE = "/enterface05/docs/results/databases/project2_database.zip"
CREMAD = "/cs-cooper-lab/crema-d-mirror"
SPARE = "/CheyneyComputerScience/CREMA-D"


@dataclass
class Fault:
    """What happens to a request: a status with headers, or an end after so many bytes."""

    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    cut: int | None = None
    body: bytes = b""


@dataclass
class Server:
    """What is served, and what was asked for."""

    address: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    # by start of the path; each is used once, in order
    faults: dict[str, list[Fault]] = field(default_factory=dict)
    ranges: bool = True
    etags: bool = True
    repositories: Path | None = None
    # lfs objects by sha256; missing are those that the server has not
    objects: dict[str, bytes] = field(default_factory=dict)
    log: list[tuple[str, str, str | None]] = field(default_factory=list)

    def asked(self, start: str = "", method: str | None = None) -> list[str | None]:
        """The Range headers of the requests for paths that begin so."""
        return [
            span
            for verb, path, span in self.log
            if path.startswith(start) and method in (None, verb)
        ]

    def fault(self, path: str) -> Fault | None:
        for start, waiting in self.faults.items():
            if path.startswith(start) and waiting:
                return waiting.pop(0)
        return None


@contextmanager
def serving() -> Iterator[Server]:
    """Start a server and stop it."""
    server = Server()

    class Bound(_Handler):
        state = server

    made = ThreadingHTTPServer(("127.0.0.1", 0), Bound)
    server.address = f"http://127.0.0.1:{made.server_address[1]}"
    thread = threading.Thread(target=made.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        made.shutdown()
        made.server_close()
        thread.join()


def zipped(members: Mapping[str, bytes]) -> bytes:
    """A zip of these files."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as made:
        for name, content in members.items():
            made.writestr(name, content)
    return data.getvalue()


def offer_record(server: Server, archives: Mapping[str, bytes]) -> None:
    """Offer archives as Zenodo does."""
    listed = []
    for name, data in archives.items():
        path = f"{RECORD}/files/{name}/content"
        server.files[path] = data
        listed.append(
            {
                "id": hashlib.sha1(name.encode()).hexdigest(),
                "key": name,
                "size": len(data),
                "checksum": f"md5:{hashlib.md5(data).hexdigest()}",
                "links": {"self": f"{server.address}{path}"},
            }
        )
    record = {"id": 1188976, "doi": "10.5281/zenodo.1188976", "files": listed}
    server.files[RECORD] = json.dumps(record).encode()


def offer_repository(server: Server, folder: Path, files: Mapping[str, bytes]) -> None:
    """Offer files as Git LFS does: a repository of pointers, and their objects."""
    tree = folder / "tree"
    for name, data in files.items():
        oid = hashlib.sha256(data).hexdigest()
        server.objects[oid] = data
        path = tree / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(
            f"version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize {len(data)}\n"
        )
    (tree / "finishedResponses.csv").write_text("x" * 5000)
    commit(tree)
    bare = folder / "served" / f"{CREMAD.strip('/')}.git"
    git(folder, "clone", "--quiet", "--bare", str(tree), str(bare))
    git(bare, "config", "uploadpack.allowFilter", "true")
    git(bare, "config", "http.receivepack", "false")
    server.repositories = folder / "served"


def commit(tree: Path) -> None:
    git(tree, "init", "--quiet", "-b", "main")
    git(tree, "add", ".")
    who = ("-c", "user.name=a", "-c", "user.email=a@example.org")
    git(tree, *who, "commit", "--quiet", "-m", "files")


def git(folder: Path, *arguments: str) -> None:
    subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True)


class _Handler(BaseHTTPRequestHandler):
    state: Server
    protocol_version = "HTTP/1.0"

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.answer(body=True)

    def do_POST(self) -> None:
        self.answer(body=True)

    def answer(self, body: bool) -> None:
        path = urlsplit(self.path).path
        span = self.headers.get("Range")
        self.state.log.append((self.command, path, span))
        fault = self.state.fault(path)
        if fault is not None and fault.status is not None:
            self.reply(fault.status, fault.headers, fault.body)
        elif path.endswith("/info/lfs/objects/batch"):
            self.batch()
        elif ".git/" in path or "git-upload-pack" in path or path.endswith("/info/refs"):
            self.git(path)
        elif path.startswith("/lfs/"):
            self.send_bytes(self.state.objects.get(path.removeprefix("/lfs/")), fault, body)
        else:
            self.send_bytes(self.state.files.get(path), fault, body)

    def send_bytes(self, data: bytes | None, fault: Fault | None, body: bool) -> None:
        if data is None:
            self.reply(404, {}, b'{"status": 404, "message": "not found"}')
            return
        tag = f'"{hashlib.md5(data).hexdigest()}"'
        headers = {"ETag": tag} if self.state.etags else {}
        span = self.headers.get("Range")
        condition = self.headers.get("If-Range")
        if span and self.state.ranges and condition in (None, tag):
            start = int(span.removeprefix("bytes=").rstrip("-"))
            if start >= len(data):
                self.reply(416, {"Content-Range": f"bytes */{len(data)}"}, b"")
                return
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
            self.reply(206, headers, data[start:], body=body, fault=fault)
        else:
            self.reply(200, headers, data, body=body, fault=fault)

    def reply(
        self,
        status: int,
        headers: Mapping[str, str],
        data: bytes,
        *,
        body: bool = True,
        fault: Fault | None = None,
    ) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if body:
            self.wfile.write(data[: fault.cut if fault else None])

    def batch(self) -> None:
        wanted = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        assert wanted["operation"] == "download"
        assert self.headers["Accept"] == "application/vnd.git-lfs+json"
        found: list[dict[str, Any]] = []
        for one in wanted["objects"]:
            action = {"download": {"href": f"{self.state.address}/lfs/{one['oid']}"}}
            missing = {"error": {"code": 404, "message": "Object does not exist"}}
            there = {"actions": action} if one["oid"] in self.state.objects else missing
            found.append({**one, **there})
        self.reply(200, {}, json.dumps({"transfer": "basic", "objects": found}).encode())

    def git(self, path: str) -> None:
        """By git's own program for web servers."""
        if ".git/" not in path:
            for end in ("/info/refs", "/git-upload-pack"):
                path = path.replace(end, f".git{end}")
        length = int(self.headers.get("Content-Length") or 0)
        environment = {
            **os.environ,
            "GIT_PROJECT_ROOT": str(self.state.repositories),
            "GIT_HTTP_EXPORT_ALL": "1",
            "PATH_INFO": path,
            "QUERY_STRING": urlsplit(self.path).query,
            "REQUEST_METHOD": self.command,
            "CONTENT_TYPE": self.headers.get("Content-Type") or "",
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding") or "",
            "GIT_PROTOCOL": self.headers.get("Git-Protocol") or "",
        }
        done = subprocess.run(
            ["git", "http-backend"],
            env=environment,
            input=self.rfile.read(length),
            capture_output=True,
            check=True,
        )
        head, _, data = done.stdout.partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
        status = int(headers.pop("Status", "200").split()[0])
        self.reply(status, headers, data)

    def log_message(self, *args: object) -> None:
        pass
