"""The store on object storage: S3 and what speaks its language, and Google Cloud Storage.

An entry is made in a local temporary file and then sent as one object, which exists with its
last byte and not before. It is fetched into a local temporary file and checked there. The
temporary files have no names: a killed process leaves none.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import IO, Any, TypeVar
from urllib.parse import urlsplit

import pyarrow as pa

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.common.files import writing_to
from arpgnet.pipeline.store.address import Address, Scheme
from arpgnet.pipeline.store.backend import Removed
from arpgnet.pipeline.store.entries import TRAILER, DamagedError, Entry, Sink, intact
from arpgnet.pipeline.store.retry import LostWriteError, RetryPolicy

Result = TypeVar("Result")

# one request each when reading; S3 takes parts of 5 MB and more
_PART = 8 << 20
_CONNECT_S = 5.0
_ENDPOINT_VARIABLES = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
_REGION_VARIABLES = ("AWS_REGION", "AWS_DEFAULT_REGION")
_EMULATOR_VARIABLE = "STORAGE_EMULATOR_HOST"


class Bucket:
    """See `pipeline.store.backend.Backend`.

    The first access looks whether the bucket can be listed: a run that can store nothing ends
    before it computes anything.
    """

    def __init__(self, root: Address) -> None:
        self._root = root
        self._policy = RetryPolicy.from_environment()

    def place(self, entry: Entry) -> Address:
        return self._root / entry.path

    def size(self, entry: Entry) -> int | None:
        place = self.place(entry)
        return self._call(place, "look it up", lambda client: _size(client, place))

    def open(self, entry: Entry) -> tuple[pa.NativeFile, int]:
        place = self.place(entry)
        before = None
        for _ in range(self._policy.attempts):
            file = self._call(place, "read it", lambda client: _fetched(client, place))
            length = file.seek(0, os.SEEK_END) - TRAILER
            file.seek(0)
            if intact(file, length, entry):
                file.seek(0)
                return pa.PythonFile(file, mode="r"), length
            file.seek(0)
            with file:
                found = hashlib.file_digest(file, "sha256").digest()
            # damaged on its way, or replaced between two requests, it is another the next time
            if found == before:
                self.remove(entry)
                break
            before = found
        raise DamagedError(place)

    def used(self, entry: Entry) -> None:
        """Do nothing: object storage keeps no time of use."""

    @contextmanager
    def writing(self, entry: Entry) -> Iterator[Sink]:
        place = self.place(entry)
        with _spooling():
            file = tempfile.TemporaryFile()  # noqa: SIM115, closed below
        with file:
            sink = Sink(file, entry, _spooling)
            yield sink
            sink.seal()
            self._call(place, "write it", lambda client: _send(client, file, place))

    def remove(self, entry: Entry) -> None:
        place = self.place(entry)
        self._call(place, "delete it", lambda client: _delete(client, place))

    def entries(self) -> Iterator[tuple[Entry, int]]:
        # all at once, 1,000 a request: Google's emulator lists no folders to go through
        found = self._call(
            self._root, "list it", lambda client: _listing(client, self._root, recursive=True)
        )
        for info in sorted(found, key=lambda info: info.path):
            entry = Entry.at(info.path.removeprefix(f"{self._root.path}/"))
            if entry is not None and info.is_file:
                yield entry, info.size

    def gc(self, unused_days: float, dry_run: bool) -> Removed:
        raise UserError(
            f"{self._root}: object storage keeps no time of last use, so gc cannot tell what is "
            "unused: give the bucket a lifecycle rule, see docs/store.md"
        )

    def sweep(self, namespace: str) -> None:
        """Do nothing: what was not sent to its end is no object."""

    def _call(self, place: Address, what: str, attempt: Callable[[Any], Result]) -> Result:
        client = _client(self._root, self._policy, _connection(), os.getpid())
        return self._policy.call(place, what, lambda: attempt(client))


def _connection() -> tuple[str | None, str | None]:
    """Return endpoint and region as the environment has them."""
    return _first(_ENDPOINT_VARIABLES), _first(_REGION_VARIABLES)


def _first(names: tuple[str, ...]) -> str | None:
    return next((os.environ[name] for name in names if os.environ.get(name)), None)


# one per process: a client has threads and connections, which no other process may inherit
@functools.cache
def _client(
    root: Address, policy: RetryPolicy, connection: tuple[str | None, str | None], _process: int
) -> Any:
    """Return a pyarrow file system that can list `root`.

    Raises:
        UserError: it cannot.
    """
    open_client: dict[Scheme, Callable[[RetryPolicy, str | None, str | None], Any]]
    open_client = {"s3": _s3, "gs": _gs}
    client = open_client[root.scheme](policy, *connection)
    found = policy.call(root, "list it", lambda: _listing(client, root, recursive=False))
    if not found:
        policy.call(root, "list it", lambda: _look_for_bucket(client, root))
    return client


def _s3(policy: RetryPolicy, endpoint: str | None, region: str | None) -> Any:
    from pyarrow import fs

    more: dict[str, str] = {}
    if endpoint is not None:
        more["scheme"], more["endpoint_override"] = _host(endpoint)
        # asking Amazon's metadata service for it takes seconds outside Amazon
        more["region"] = region or "us-east-1"
    elif region is not None:
        more["region"] = region
    return fs.S3FileSystem(
        connect_timeout=_CONNECT_S,
        request_timeout=policy.stall_s,
        # `RetryPolicy` tries again: two layers would multiply
        retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=1),
        # one request for what fits into a part, instead of three
        allow_delayed_open=True,
        # in the background, a fast disk fills the memory with parts
        background_writes=False,
        **more,
    )


def _host(endpoint: str) -> tuple[str, str]:
    """Return scheme and host:port of an endpoint's URL."""
    try:
        parts = urlsplit(endpoint)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.path.strip("/"):
        raise UserError(
            f"AWS_ENDPOINT_URL={endpoint}: give http://host:port or https://host, without a path"
        )
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return parts.scheme, host if port is None else f"{host}:{port}"


def _gs(policy: RetryPolicy, _endpoint: str | None, _region: str | None) -> Any:
    from pyarrow import fs

    emulator = os.environ.get(_EMULATOR_VARIABLE)
    more: dict[str, Any] = {}
    if emulator:
        address = urlsplit(emulator if "://" in emulator else f"http://{emulator}")
        more = {"anonymous": True, "scheme": address.scheme, "endpoint_override": address.netloc}
    return fs.GcsFileSystem(retry_time_limit=timedelta(seconds=policy.stall_s), **more)


def _size(client: Any, place: Address) -> int | None:
    """Return the bytes of an object, in one request; None where there is none."""
    try:
        with client.open_input_file(str(place.path)) as file:
            return int(file.size())
    except FileNotFoundError:
        return None


def _fetched(client: Any, place: Address) -> Any:
    """Return a local copy, at its start.

    Raises:
        FileNotFoundError: there is none.
    """
    with client.open_input_file(str(place.path)) as source:
        size = source.size()
        with _spooling():
            file = tempfile.TemporaryFile()  # noqa: SIM115, the caller closes it
        try:
            while block := source.read(_PART):
                with _spooling():
                    file.write(block)
            if file.tell() != size:
                raise OSError(f"{file.tell()} of {size} bytes came")
            file.seek(0)
        except BaseException:
            file.close()
            raise
    return file


def _send(client: Any, file: IO[bytes], place: Address) -> None:
    """Make the object, and look whether it is there: services have lost what they had taken."""
    file.seek(0)
    with client.open_output_stream(str(place.path)) as sink:
        shutil.copyfileobj(file, sink, _PART)
    sent, arrived = file.tell(), _size(client, place)
    if arrived != sent:
        raise LostWriteError(f"{sent} bytes were sent and taken, {arrived or 0} are there")


def _delete(client: Any, place: Address) -> None:
    # gone by another process, or by an attempt whose answer was lost
    with contextlib.suppress(FileNotFoundError):
        client.delete_file(str(place.path))


def _listing(client: Any, place: Address, recursive: bool) -> list[Any]:
    from pyarrow import fs

    selector = fs.FileSelector(str(place.path), recursive=recursive, allow_not_found=True)
    found: list[Any] = client.get_file_info(selector)
    return found


def _look_for_bucket(client: Any, place: Address) -> None:
    """Check that the bucket exists: a listing of none is like that of an empty one."""
    from pyarrow import fs

    if client.get_file_info(place.bucket).type == fs.FileType.NotFound:
        raise OSError("NO_SUCH_BUCKET")


def _spooling() -> AbstractContextManager[None]:
    """Explain faults of the local temporary files, whose remedy differs from the service's."""
    return writing_to(
        Path(tempfile.gettempdir()), "free some space, or set TMPDIR to a folder you may write"
    )
