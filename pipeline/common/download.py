"""Downloads over HTTP: resumed where they broke off, retried where waiting helps, and checked."""

from __future__ import annotations

import functools
import hashlib
import http.client
import json
import ssl
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, TypeVar
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, OpenerDirector, Request, build_opener

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.common.files import writing_to

CHUNK = 1 << 20
TIMEOUT_S = 30
RANGE_NOT_SATISFIABLE = 416
PARTIAL_CONTENT = 206
# busy, overloaded or restarting: the same request may succeed later
TEMPORARY = frozenset({408, 425, 429, 500, 502, 503, 504})
# a list of 8,000 files is 3 MB; more than this is no list
LONGEST_JSON = 64 << 20

Opener = Callable[[Request], Any]
Result = TypeVar("Result")


class DownloadError(UserError):
    """A download that failed; `code` is the server's status where it answered."""

    def __init__(self, line: str, code: int | None = None) -> None:
        super().__init__(line)
        self.code = code


@dataclass(frozen=True)
class Retries:
    """How long a failing download is tried again.

    Args:
        attempts: that may fail in a row without a byte of progress.
        first_wait_s: before the second attempt; doubled before each that follows.
        longest_wait_s: what a server's Retry-After may ask for; longer, and it is given up.
    """

    attempts: int = 1
    first_wait_s: float = 1.0
    longest_wait_s: float = 300.0


ONCE = Retries()
SEVERAL = Retries(attempts=6)


@dataclass(frozen=True)
class Expectation:
    """What its publisher says of a file: length, and a digest such as `md5` or `sha256`."""

    length: int | None = None
    algorithm: str | None = None
    digest: str | None = None

    def find_fault(self, path: Path) -> str | None:
        """Describe how a file differs, e.g. `has 10 bytes, expected 20`, or None."""
        found = path.stat().st_size
        if self.length is not None and found != self.length:
            return f"has {found} bytes, expected {self.length}"
        if self.algorithm is None:
            return None
        digest = file_digest(path, self.algorithm)
        if digest != self.digest:
            return f"has {self.algorithm} {digest}, expected {self.digest}"
        return None


class _TemporaryError(Exception):
    """A fault that may be gone later; `wait_s` is what the server asked for."""

    def __init__(self, line: str, code: int | None = None, wait_s: float = 0.0) -> None:
        super().__init__(line)
        self.code = code
        self.wait_s = wait_s


class _Redirects(HTTPRedirectHandler):
    """Keeps what authorizes a request at one host from the host it is redirected to."""

    def redirect_request(self, req: Request, *rest: Any) -> Request | None:
        made = super().redirect_request(req, *rest)
        if made is not None and urlsplit(made.full_url).netloc != urlsplit(req.full_url).netloc:
            made.remove_header("Authorization")
        return made


@functools.cache
def _director() -> OpenerDirector:
    made = build_opener(_Redirects)
    made.addheaders = [("User-Agent", "arpgnet")]
    return made


def open_url(request: Request) -> Any:
    """Open a request as `urllib.request.urlopen` does, through the environment's proxy."""
    return _director().open(request, timeout=TIMEOUT_S)


def file_digest(path: Path, algorithm: str) -> str:
    """Return a file's digest (hex)."""
    with path.open("rb") as file:
        return hashlib.file_digest(
            file, lambda: hashlib.new(algorithm, usedforsecurity=False)
        ).hexdigest()


def fetch_file(
    url: str,
    target: Path,
    expected: Expectation,
    *,
    part: Path | None = None,
    headers: Mapping[str, str] | None = None,
    retries: Retries = SEVERAL,
    opener: Opener = open_url,
) -> None:
    """Download to `part`, check it, and move it to `target`.

    A wrong file is discarded and downloaded once more from its first byte: it may have been
    joined from two versions of the publisher's.

    Raises:
        UserError: see `download`; or it is wrong twice.
    """
    part = part or target.with_name(f"{target.name}.part")
    fault = None
    for _ in range(2):
        download(url, part, opener, length=expected.length, headers=headers or {}, retries=retries)
        fault = expected.find_fault(part)
        if fault is None:
            with writing_to(target):
                target.parent.mkdir(parents=True, exist_ok=True)
                part.replace(target)
            return
        discard(part)
    raise DownloadError(
        f"{url}: the download {fault}, twice: it was discarded; the publisher may have changed "
        "it, or something between here and there changes it"
    )


def download(
    url: str,
    part: Path,
    opener: Opener = open_url,
    *,
    length: int | None = None,
    headers: Mapping[str, str] | None = None,
    retries: Retries = ONCE,
    advice: str = "run again with a network",
) -> None:
    """Download to `part`, going on where an earlier call broke off.

    Beside it `<part>.version` holds the server's ETag or date: where the file has changed since,
    and where the server knows no ranges, the download starts again.

    Args:
        length: of the whole file, where it is known.
        advice: what to do where the host cannot be reached.

    Raises:
        DownloadError: no network, an HTTP error, or the connection was lost.
        UserError: the disk is full, or the folder cannot be written.
    """
    with writing_to(part):
        part.parent.mkdir(parents=True, exist_ok=True)

    def attempt() -> None:
        _go_on(url, part, opener, length, headers or {}, advice)

    _retried(url, attempt, retries, lambda: _size(part))


def read_json(
    url: str,
    *,
    body: Any = None,
    headers: Mapping[str, str] | None = None,
    retries: Retries = SEVERAL,
    opener: Opener = open_url,
) -> Any:
    """Return a JSON answer; with a `body`, of a POST of it.

    Raises:
        DownloadError: see `download`; or the answer is not JSON.
    """
    data = None if body is None else json.dumps(body).encode()

    def attempt() -> bytes:
        request = Request(url, data=data, headers=dict(headers or {}))
        with _opened(request, opener, "run again with a network") as response:
            try:
                text: bytes = response.read(LONGEST_JSON)
            except (OSError, http.client.HTTPException) as error:
                raise _lost(url, 0, None, str(error)) from None
            # what was read by length ends without an error where the connection did
            whole = _number(response.headers.get("Content-Length"))
            if whole is not None and len(text) < min(whole, LONGEST_JSON):
                raise _lost(url, len(text), whole, "cut off")
            return text

    text = _retried(url, attempt, retries, lambda: 0)
    try:
        return json.loads(text)
    except ValueError:
        start = text[:60].decode("utf-8", "replace").split("\n")[0]
        raise DownloadError(f"{url}: the answer is not JSON: {start!r}") from None


def content_length(
    url: str, *, retries: Retries = SEVERAL, opener: Opener = open_url
) -> int | None:
    """Return the length of a file at a server, or None where the server does not say it.

    Raises:
        DownloadError: see `download`.
    """

    def attempt() -> int | None:
        request = Request(url, method="HEAD")
        with _opened(request, opener, "run again with a network") as response:
            return _number(response.headers.get("Content-Length"))

    try:
        return _retried(url, attempt, retries, lambda: 0)
    except DownloadError as error:
        # a server may refuse the question and still send the file
        if error.code in (403, 405, 501):
            return None
        raise


def discard(part: Path) -> None:
    """Delete an unfinished download, so that the next one starts at the first byte."""
    part.unlink(missing_ok=True)
    _version_file(part).unlink(missing_ok=True)


def _retried(
    url: str, attempt: Callable[[], Result], retries: Retries, progress: Callable[[], int]
) -> Result:
    failures = 0
    while True:
        before = progress()
        try:
            return attempt()
        except _TemporaryError as error:
            # a file that starts again is shorter, which is no progress
            failures = 1 if progress() > before else failures + 1
            if failures >= retries.attempts or error.wait_s > retries.longest_wait_s:
                raise DownloadError(str(error), error.code) from None
            wait_s = max(error.wait_s, retries.first_wait_s * 2 ** (failures - 1))
            if wait_s >= 1:
                print(f"{error}: next try in {wait_s:.0f} s", file=sys.stderr)
            time.sleep(wait_s)


def _go_on(
    url: str,
    part: Path,
    opener: Opener,
    length: int | None,
    headers: Mapping[str, str],
    advice: str,
) -> None:
    """Ask for the bytes after those that are here, and append them."""
    have = _size(part)
    if length is not None and have > length:
        discard(part)
        have = 0
    if length is not None and have == length and have:
        _version_file(part).unlink(missing_ok=True)
        return
    version = _read_version(part) if have else None
    request = Request(url, headers=dict(headers))
    if have:
        request.add_header("Range", f"bytes={have}-")
        if version:
            request.add_header("If-Range", version)
    try:
        response = _opened(request, opener, advice)
    except _OutOfRangeError as error:
        whole = error.total if error.total is not None else length
        if whole in (None, have):
            _version_file(part).unlink(missing_ok=True)
            return  # all of it is here already; its digest is checked
        discard(part)
        raise _TemporaryError(f"{_host(url)}: {part.stem} has changed there") from None
    with response:
        if response.status == PARTIAL_CONTENT and have:
            total = _total_of_part(url, part, have, version, response)
        else:
            have = 0
            total = _number(response.headers.get("Content-Length"))
        if length is not None and total not in (None, length):
            raise DownloadError(f"{url}: has {total} bytes at the server, expected {length}")
        if not have:
            _write_version(part, response.headers)
        found = _append(url, response, part, have, total)
    if total is not None and found < total:
        raise _TemporaryError(
            f"{_host(url)}: the connection ended after {found} of {total} bytes; run again to go on"
        )
    _version_file(part).unlink(missing_ok=True)


def _total_of_part(
    url: str, part: Path, have: int, version: str | None, response: Any
) -> int | None:
    """Return the whole length; a part of another place or version is not appended."""
    spans = str(response.headers.get("Content-Range") or "").removeprefix("bytes ").strip()
    start, _, rest = spans.partition("-")
    tag = response.headers.get("ETag")
    changed = version is not None and version.startswith('"') and tag not in (None, version)
    if changed or (start and _number(start) != have):
        discard(part)
        raise _TemporaryError(f"{_host(url)}: {part.stem} has changed there")
    whole = _number(rest.partition("/")[2])
    if whole is not None:
        return whole
    left = _number(response.headers.get("Content-Length"))
    return None if left is None else have + left


def _append(url: str, response: Any, part: Path, have: int, total: int | None) -> int:
    """Write the response behind the first `have` bytes; a line at every tenth."""
    with writing_to(part), part.open("r+b" if have else "wb") as file:
        file.seek(have)
        tenth = 10 * have // total if total else 0
        while True:
            try:
                chunk = response.read(CHUNK)
            except http.client.IncompleteRead as error:
                # of an answer in chunks, or one that is shorter than its length
                file.write(error.partial)
                raise _lost(url, have + len(error.partial), total, "cut off") from None
            except (OSError, http.client.HTTPException) as error:
                raise _lost(url, have, total, str(error)) from None
            if not chunk:
                return have
            file.write(chunk)
            have += len(chunk)
            if total and total >= 10 * CHUNK and 10 * have // total > tenth:
                tenth = 10 * have // total
                print(f"{part.stem}: {have >> 20} of {total >> 20} MB", file=sys.stderr)


def _lost(url: str, have: int, total: int | None, why: str) -> _TemporaryError:
    of = "" if total is None else f" of {total}"
    return _TemporaryError(
        f"{_host(url)}: the connection ended after {have}{of} bytes; run again to go on ({why})"
    )


class _OutOfRangeError(Exception):
    def __init__(self, total: int | None) -> None:
        super().__init__()
        self.total = total


def _opened(request: Request, opener: Opener, advice: str) -> Any:
    """Open a request, and sort its faults into those that pass and those that stay."""
    url = request.full_url
    try:
        return opener(request)
    except HTTPError as error:
        with error:
            if error.code == RANGE_NOT_SATISFIABLE and request.has_header("Range"):
                spans = str(error.headers.get("Content-Range") or "")
                raise _OutOfRangeError(_number(spans.rpartition("/")[2])) from None
            said = _said(error)
        line = f"{url}: the server answered {error.code} {error.reason}{said}"
        if error.code in TEMPORARY:
            wait_s = _retry_after(error.headers.get("Retry-After"))
            asked = f" and asks to wait {wait_s:.0f} s" if wait_s else ""
            raise _TemporaryError(f"{line}{asked}", error.code, wait_s) from None
        raise DownloadError(line, error.code) from None
    except (OSError, http.client.HTTPException) as error:
        reason = error.reason if isinstance(error, URLError) else error
        line = f"{_host(url)} cannot be reached ({reason}): {advice}"
        if isinstance(reason, ssl.SSLCertVerificationError):
            raise DownloadError(line) from None
        raise _TemporaryError(line) from None


def _said(error: HTTPError) -> str:
    """Return the `message` of a JSON answer, as GitHub, GitLab and Zenodo send it."""
    try:
        message = json.loads(error.read(10_000))["message"]
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError):
        return ""
    return f" ({' '.join(str(message).split())[:200]})"


def _retry_after(value: str | None) -> float:
    """Return the seconds of a Retry-After header: a number, or a date."""
    if not value:
        return 0.0
    if value.strip().isdecimal():
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return 0.0


def _version_file(part: Path) -> Path:
    return part.with_name(f"{part.name}.version")


def _read_version(part: Path) -> str | None:
    try:
        return _version_file(part).read_text(encoding="latin-1") or None
    except FileNotFoundError:
        return None


def _write_version(part: Path, headers: Any) -> None:
    """Remember what If-Range compares; a weak ETag is not allowed there."""
    tag = headers.get("ETag")
    version = tag if tag and tag.startswith('"') else headers.get("Last-Modified")
    with writing_to(part):
        if version:
            _version_file(part).write_text(version, encoding="latin-1")
        else:
            _version_file(part).unlink(missing_ok=True)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _number(text: str | None) -> int | None:
    text = (text or "").strip()
    return int(text) if text.isdecimal() else None


def _host(url: str) -> str:
    return urlsplit(url).netloc
