"""An S3-compatible server on loopback, moto's, with a layer in front that fails on demand."""

import contextlib
import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import boto3
from botocore.config import Config
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler, make_server

from arpgnet.pipeline.store import Store

CREDENTIALS = {"AWS_ACCESS_KEY_ID": "someone", "AWS_SECRET_ACCESS_KEY": "secret"}
PREFIX = "some/prefix/"
# of a request: answered with that status, answered late, cut off before or in the answer, taken
# and called done and forgotten, or answered with other bytes
FAULTS = ("403", "500", "503", "stall", "drop", "half", "lose", "garble")


class _Quiet(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"

    def log(self, *_: Any) -> None:
        """Nothing: some requests are meant to fail."""


@dataclass
class Rule:
    """A fault for requests of a method whose path and query contain a text."""

    fault: str
    method: str
    containing: str
    spared: int
    left: float

    def meets(self, method: str, target: str) -> bool:
        """Whether this request is to fail; counts it."""
        if self.method != method or self.containing not in target:
            return False
        if self.spared:
            self.spared -= 1
            return False
        self.left -= 1
        return self.left >= 0

    @property
    def spent(self) -> bool:
        return self.left <= 0


@dataclass
class S3Server:
    """What a test asks of the server; its address is `url`."""

    url: str
    client: Any
    requests: list[tuple[str, str]] = field(default_factory=list)
    stall_s: float = 20.0
    garbled: int = 0
    _rules: list[Rule] = field(default_factory=list)
    _chance: Callable[[str], str | None] | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def fail(
        self,
        fault: str,
        method: str,
        containing: str = "",
        *,
        times: float = float("inf"),
        after: int = 0,
    ) -> Rule:
        """Of such requests, `times` meet the fault, once `after` of them have been served."""
        assert fault in FAULTS
        rule = Rule(fault, method, containing, after, times)
        self._rules.append(rule)
        return rule

    def fail_by_chance(self, share: float, seed: int, faults: Iterable[str] = FAULTS) -> None:
        """Each request meets one of the faults with the probability `share`."""
        chance, kinds = random.Random(seed), tuple(faults)

        def draw(method: str) -> str | None:
            if chance.random() >= share:
                return None
            only = {"lose": "PUT", "half": "GET", "garble": "GET"}
            return chance.choice([kind for kind in kinds if only.get(kind, method) == method])

        self._chance = draw

    def heal(self) -> None:
        self._rules.clear()
        self._chance = None

    def bucket(self, name: str) -> str:
        self.client.create_bucket(Bucket=name)
        return name

    def objects(self, bucket: str) -> dict[str, bytes]:
        """Everything in a bucket, asked past the faults; without the empty marks of folders."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=bucket)
        keys = [found["Key"] for page in pages for found in page.get("Contents", [])]
        return {
            key: self.client.get_object(Bucket=bucket, Key=key)["Body"].read()
            for key in keys
            if not key.endswith("/")
        }

    def fault_for(self, method: str, target: str) -> str | None:
        with self._lock:
            self.requests.append((method, target))
            for rule in self._rules:
                if rule.meets(method, target):
                    return rule.fault
            return self._chance(method) if self._chance is not None else None


def _failing(application: Any, server: S3Server) -> Any:
    def answer(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        target = f"{environ['PATH_INFO']}?{environ['QUERY_STRING']}"
        fault = server.fault_for(environ["REQUEST_METHOD"], target)
        if "HTTP_AUTHORIZATION" not in environ:
            start_response("403 Forbidden", [("Content-Length", "0")])
            return []
        if fault is None:
            return application(environ, start_response)
        if fault == "garble":
            body = bytearray(b"".join(application(environ, start_response)))
            if body:
                # never the same twice: that would be damage where it lies
                server.garbled += 1
                body[server.garbled % len(body)] ^= 1
            return [bytes(body)]
        length = int(environ.get("CONTENT_LENGTH") or 0)
        environ["wsgi.input"].read(-1 if environ.get("wsgi.input_terminated") else length)
        if fault.isdigit():
            start_response(f"{fault} Failing", [("Content-Length", "0")])
            return []
        if fault == "lose":
            start_response("200 OK", [("ETag", '"0"'), ("Content-Length", "0")])
            return []
        if fault == "stall":
            time.sleep(server.stall_s)
        if fault == "half":
            start_response("200 OK", [("Content-Length", "1000000")])
            return _half()
        environ["werkzeug.socket"].shutdown(2)
        start_response("200 OK", [("Content-Length", "0"), ("Connection", "close")])
        return []

    return answer


def _half() -> Iterator[bytes]:
    yield b"x" * 1000
    raise ConnectionError("cut off")


@dataclass
class Remote:
    """A store on a bucket of its own, and the server behind it."""

    server: S3Server
    bucket: str
    store: Store

    def objects(self) -> dict[str, bytes]:
        """By their path in the store."""
        objects = self.server.objects(self.bucket)
        assert all(key.startswith(PREFIX) for key in objects)
        return {key.removeprefix(PREFIX): data for key, data in objects.items()}


@contextlib.contextmanager
def s3_server() -> Iterator[S3Server]:
    """A server of this process with two doors: one that may fail, and one for the test itself."""
    application = DomainDispatcherApplication(create_backend_app)
    with _serving(application) as door:
        client = boto3.client(
            "s3",
            endpoint_url=door,
            region_name="us-east-1",
            aws_access_key_id="someone",
            aws_secret_access_key="secret",
            config=Config(s3={"addressing_style": "path"}),
        )
        server = S3Server("", client)
        with _serving(_failing(application, server)) as url:
            server.url = url
            yield server


@contextlib.contextmanager
def _serving(application: Any) -> Iterator[str]:
    server: BaseWSGIServer = make_server(
        "127.0.0.1", 0, application, threaded=True, request_handler=_Quiet
    )
    server.daemon_threads = True
    server.block_on_close = False
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
