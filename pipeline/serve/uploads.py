"""Read a request's body into a file or into memory, within limits of size and speed."""

from __future__ import annotations

import asyncio
import errno
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request


@dataclass(frozen=True)
class Pace:
    """Attributes:
    silence_s: nothing came for so long: the client is gone.
    slowest: bytes a second on average, once `silence_s` have passed.
    """

    silence_s: float = 30.0
    slowest: float = 8192.0


class Refused(Exception):  # noqa: N818 - an answer, not a fault
    """A request that is answered with a status and one line, without waiting for its body."""

    def __init__(self, status: int, line: str) -> None:
        super().__init__(line)
        self.status, self.line = status, line


async def pieces(request: Request, limit: int, pace: Pace) -> AsyncIterator[bytes]:
    """Yield the body as it arrives.

    Raises:
        Refused: 413 if it is longer than `limit` bytes, by its header or by count; 408 if it
            stalls; 400 if it breaks off.
    """
    too_long = Refused(413, f"larger than the limit of {limit / 1e6:g} MB")
    declared = request.headers.get("content-length", "0")
    if not declared.isascii() or not declared.isdigit() or int(declared) > limit:
        raise too_long
    began, count = time.monotonic(), 0
    stream = request.stream()
    while True:
        try:
            piece = await asyncio.wait_for(anext(stream), pace.silence_s)
        except StopAsyncIteration:
            return
        except TimeoutError:
            raise Refused(408, f"no data for {pace.silence_s:g} s") from None
        except ClientDisconnect:
            raise Refused(400, "the upload was interrupted") from None
        count += len(piece)
        if count > limit:
            raise too_long
        late = time.monotonic() - began - pace.silence_s
        if late > 0 and count < late * pace.slowest:
            raise Refused(408, f"slower than {pace.slowest / 1024:g} KiB per second")
        if piece:
            yield piece


async def to_file(request: Request, target: Path, limit: int, pace: Pace) -> None:
    """Write the body to a new file.

    Raises:
        Refused: as `pieces`; 400 if it is empty, 507 if the disk is full.
    """
    try:
        with target.open("xb") as file:
            async for piece in pieces(request, limit, pace):
                await run_in_threadpool(file.write, piece)
            if not file.tell():
                raise Refused(400, "the upload is empty")
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise Refused(507, "the service's disk is full") from None
        raise


async def to_memory(request: Request, limit: int, pace: Pace) -> bytes:
    """Read the body of a small request; raises as `pieces`."""
    return b"".join([piece async for piece in pieces(request, limit, pace)])
