"""Start the service with its folder, token, socket and workers; and clean up after it."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import socket
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import uvicorn

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.common.files import writing_to
from arpgnet.pipeline.serve.app import Limits, make_app
from arpgnet.pipeline.serve.guard import Access, is_loopback
from arpgnet.pipeline.serve.jobs import Jobs
from arpgnet.pipeline.serve.worker import Source, Worker

TOKEN = "ARPGNET_TOKEN"
_SHORTEST_TOKEN = 16
# simultaneous connections; more are refused
_CONNECTIONS = 100
_TERMINATED = 128 + signal.SIGTERM


@dataclass(frozen=True)
class ServeOptions:
    """Options of the command line.

    Attributes:
        token_file: its first line is the token; None: the environment's `ARPGNET_TOKEN`, else one
            is made where one is needed.
        allow_hosts: more names that the service is reached by.
        keep: the folder for jobs, whose results stay; None: a temporary one that goes.
        waiting: jobs that may wait, beside `workers` that run.
    """

    host: str = "127.0.0.1"
    port: int = 8765
    token_file: Path | None = None
    allow_hosts: tuple[str, ...] = ()
    keep: Path | None = None
    workers: int = 1
    waiting: int = 4


def serve(
    source: Source, limits: Limits, options: ServeOptions, *, say: Callable[[str], None]
) -> None:
    """Serve until Ctrl-C or SIGTERM.

    Raises:
        UserError: the model cannot be loaded, the address is not to be had, a folder is absent or
            cannot be written, or the token is too weak.
    """
    if limits.root is not None and not limits.root.is_dir():
        raise UserError(f"--root {limits.root} is not a folder: name the folder of the videos")
    local = is_loopback(options.host)
    token, made = _token(options.token_file, needed=not local)
    with listening(options.host, options.port) as listener, own_folder(options.keep) as folder:
        port = listener.getsockname()[1]
        names = {options.host.lower(), *(name.lower() for name in options.allow_hosts)}
        if not local:
            names.add(socket.gethostname().lower())
        access = Access(token, frozenset(names), any_address=not local, port=port)
        jobs = Jobs(
            folder,
            [Worker(source) for _ in range(options.workers)],
            waiting=options.waiting,
            keep_s=limits.keep_s,
            keep_files=options.keep is not None,
        )
        before = signal.signal(signal.SIGTERM, _terminate)
        try:
            ready = jobs.start()
            say(f"{ready.model} on http://{_shown(options.host)}:{port}/  (Ctrl-C stops it)")
            if made:
                say(f"token for the page: {token}")
            if ready.warning:
                say(f"warning: {ready.warning}")
            if not local:
                say("without TLS, the token can be intercepted: see docs/serve.md")
            config = uvicorn.Config(
                make_app(jobs, ready, limits, access),
                log_level="warning",
                access_log=False,
                server_header=False,
                proxy_headers=False,
                ws="none",
                lifespan="on",
                limit_concurrency=_CONNECTIONS,
                timeout_graceful_shutdown=3,
            )
            with contextlib.suppress(KeyboardInterrupt):
                uvicorn.Server(config).run(sockets=[listener])
        finally:
            jobs.stop()
            signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def own_folder(keep: Path | None) -> Iterator[Path]:
    """Provide a folder that only the service's user can read; a temporary one is deleted.

    Raises:
        UserError: `keep` cannot be made, is somebody else's, or others can read it.
    """
    if keep is None:
        folder = Path(tempfile.mkdtemp(prefix="arpgnet-serve-"))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        return
    with writing_to(keep):
        keep.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = keep.stat()
    if status.st_uid != os.getuid() or stat.S_IMODE(status.st_mode) & 0o077:
        raise UserError(f"--keep {keep} is readable by others: chmod 700 it, or name a new folder")
    yield keep.resolve()


@contextlib.contextmanager
def listening(host: str, port: int) -> Iterator[socket.socket]:
    """Open a listening socket; connections wait until they are served.

    Raises:
        UserError: the name is unknown, or the address is not to be had.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise UserError(f"--host {host}: {error.strerror}") from None
    with listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(address)
            listener.listen()
        except OSError as error:
            reason = error.strerror
            raise UserError(
                f"{host} port {port} is not available ({reason}): choose another --port"
            ) from None
        yield listener


def _token(file: Path | None, *, needed: bool) -> tuple[str | None, bool]:
    """Return the token, and whether it was generated here."""
    token = os.environ.get(TOKEN)
    where = TOKEN
    if file is not None:
        where = f"--token-file {file}"
        try:
            token = (file.read_text(encoding="utf-8").splitlines() or [""])[0].strip()
        except (OSError, UnicodeDecodeError):
            raise UserError(f"{where} cannot be read: name a text file") from None
    if token is None:
        return (secrets.token_urlsafe(32), True) if needed else (None, False)
    if len(token) < _SHORTEST_TOKEN or not token.isascii() or not token.isprintable():
        raise UserError(
            f"{where}: a token needs at least {_SHORTEST_TOKEN} characters, all ASCII "
            "(openssl rand -hex 32)"
        )
    return token, False


def _shown(host: str) -> str:
    """Format a host for a URL; for an address of all interfaces, the machine's name."""
    if host in ("0.0.0.0", "::"):
        return socket.gethostname()
    return f"[{host}]" if ":" in host else host


def _terminate(_number: int, _frame: FrameType | None) -> None:
    # an exception, so that folders and processes are cleaned up
    sys.exit(_TERMINATED)
