"""Read a request's body into a file or into memory, within limits of size and speed.

A body is the video itself, or a form with it, as `curl -F` and browsers send it.
"""

from __future__ import annotations

import asyncio
import errno
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.http import parse_options_header
from werkzeug.sansio.multipart import Data, Epilogue, Field, File, MultipartDecoder, NeedData

FORM = "multipart/form-data"
# of a form, besides its video: other fields, and the lines around them
_FRAME = 65536
# of a piece of a body, and what is left of the one before
_MOST_HELD = 2**24
_MOST_PARTS = 20


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


async def pieces(
    request: Request, limit: int, pace: Pace, *, frame: int = 0
) -> AsyncIterator[bytes]:
    """Yield the body as it arrives.

    Args:
        frame: bytes beside the `limit`, around what it holds for.

    Raises:
        Refused: 413 if it is longer than `limit` bytes, by its header or by count; 408 if it
            stalls; 400 if it breaks off.
    """
    too_long = _too_long(limit)
    most = limit + frame
    declared = request.headers.get("content-length", "0")
    if not declared.isascii() or not declared.isdigit() or int(declared) > most:
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
        if count > most:
            raise too_long
        late = time.monotonic() - began - pace.silence_s
        if late > 0 and count < late * pace.slowest:
            raise Refused(408, f"slower than {pace.slowest / 1024:g} KiB per second")
        if piece:
            yield piece


@dataclass
class Form:
    """What a form says besides its video."""

    name: str = ""
    fields: dict[str, str] = field(default_factory=dict)


async def to_file(request: Request, target: Path, limit: int, pace: Pace) -> Form:
    """Write the video of a body to a new file.

    Raises:
        Refused: as `pieces`; 400 if it is empty or not a form that has one file, 415 if it is in
            several parts but not a form, 507 if the disk is full.
    """
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    try:
        with target.open("xb") as file:
            if kind == FORM:
                body = pieces(request, limit, pace, frame=_FRAME)
                form = await _form(body, options.get("boundary", ""), file, limit)
            elif kind.startswith("multipart/"):
                raise Refused(415, f"{kind}: send the video as the body, or in a {FORM}")
            else:
                form = Form()
                async for piece in pieces(request, limit, pace):
                    await run_in_threadpool(file.write, piece)
            if not file.tell():
                raise Refused(400, "the upload is empty")
            return form
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise Refused(507, "the service's disk is full") from None
        raise


async def _form(body: AsyncIterator[bytes], boundary: str, file: BinaryIO, limit: int) -> Form:
    """Write the only file of a form, whatever its field is called."""
    form, files, held = Form(), 0, 0
    part: Field | File | None = None
    if not boundary:
        raise Refused(400, "the form has no boundary: leave its header to the client")
    decoder = MultipartDecoder(boundary.encode(), _MOST_HELD, max_parts=_MOST_PARTS)
    try:
        async for piece in _and_end(body):
            decoder.receive_data(piece)
            while not isinstance(event := decoder.next_event(), NeedData | Epilogue):
                # a browser sends a nameless file where none was chosen
                if isinstance(event, File) and event.filename:
                    part, files, form.name = event, files + 1, event.filename
                elif isinstance(event, Field | File):
                    part = Field(name=event.name, headers=event.headers)
                elif isinstance(event, Data) and isinstance(part, File):
                    await run_in_threadpool(file.write, event.data)
                    if file.tell() > limit:
                        raise _too_long(limit)
                elif isinstance(event, Data) and part is not None:
                    held += len(event.data)
                    if held > _FRAME:
                        raise RequestEntityTooLarge
                    form.fields[part.name] = form.fields.get(part.name, "") + event.data.decode()
    except RequestEntityTooLarge:
        raise Refused(413, "the form has too many or too long parts besides its video") from None
    except ValueError:
        raise Refused(400, "the form is damaged or cut off, or a name in it is not UTF-8") from None
    if files != 1:
        raise Refused(400, f"the form has {files} files: send one video per request")
    return form


async def _and_end(body: AsyncIterator[bytes]) -> AsyncIterator[bytes | None]:
    async for piece in body:
        yield piece
    yield None


async def to_memory(request: Request, limit: int, pace: Pace) -> bytes:
    """Read the body of a small request; raises as `pieces`."""
    return b"".join([piece async for piece in pieces(request, limit, pace)])


def _too_long(limit: int) -> Refused:
    return Refused(413, f"larger than the limit of {limit / 1e6:g} MB")
