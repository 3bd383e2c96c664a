"""Downloads a face pack: license first, resumable, checked, and in place at once or not at all."""

from __future__ import annotations

import functools
import http.client
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.networks.packs import ModelEntry, PackEntry, find_fault, known_entries
from arpgnet.pipeline.store import file_sha256

CHUNK = 1 << 20
TIMEOUT_S = 30
RANGE_NOT_SATISFIABLE = 416
PARTIAL_CONTENT = 206

Opener = Callable[[Request], Any]
open_url: Opener = functools.partial(urlopen, timeout=TIMEOUT_S)


def fetch(pack: str, *, accept_license: bool, into: Path, opener: Opener = open_url) -> Path:
    """Put a known pack's files into `into/<pack>`; files that are there and sound stay.

    A download that breaks off stays as `*.part` and is taken up again by the next call. A
    file gets its name only after its sha256 was found right.

    Args:
        opener: opens a request as `urllib.request.urlopen` does.

    Returns:
        The pack's folder.

    Raises:
        UserError: unknown pack, license not accepted, no network, connection lost, or a file
            with another sha256.
    """
    entry = _downloadable(pack)
    if not accept_license:
        raise UserError(
            f"pack {pack}: license: {entry.license}. {entry.notice} To accept it run "
            f"'arpgnet models fetch {pack} --accept-license'"
        )
    folder = into / pack
    wanted = [model for model in entry.models.values() if not _sound(folder / model.file, model)]
    if not wanted:
        return folder
    print(f"{pack}: license: {entry.license}. {entry.notice}", file=sys.stderr)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if entry.archive is None:
            _fetch_each(entry, wanted, folder, opener)
        else:
            _fetch_archive(entry, wanted, folder, opener)
    except OSError as error:
        raise UserError(f"pack {pack}: {folder} cannot be written: {error.strerror}") from None
    return folder


def download(url: str, part: Path, opener: Opener = open_url) -> None:
    """Download to `part`, going on where an earlier call broke off.

    Raises:
        UserError: no network, an HTTP error, or the connection was lost.
    """
    have = part.stat().st_size if part.exists() else 0
    headers = {"Range": f"bytes={have}-"} if have else {}
    host = urlsplit(url).netloc
    try:
        with opener(Request(url, headers=headers)) as response:
            if response.status != PARTIAL_CONTENT:
                have = 0
            total = have + int(response.headers.get("Content-Length", 0))
            _append(response, part, have, total)
    except HTTPError as error:
        if error.code == RANGE_NOT_SATISFIABLE:
            return  # all of it is here already; its sha256 is checked
        raise UserError(f"{url}: the server answered {error.code} {error.reason}") from None
    except (URLError, TimeoutError, ConnectionError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        raise UserError(
            f"{host} cannot be reached ({reason}): run again with a network, or put the files "
            f"into {part.parent} by hand; 'faces.pack: demo' needs no download"
        ) from None
    found = part.stat().st_size
    if found < total:
        raise UserError(
            f"{host}: the connection ended after {found} of {total} bytes; run again to go on"
        )


def _append(response: Any, part: Path, have: int, total: int) -> None:
    """Write the response behind the first `have` bytes; a line at every tenth."""
    with part.open("r+b" if have else "wb") as file:
        file.seek(have)
        tenth = 10 * have // total if total else 0
        while chunk := response.read(CHUNK):
            file.write(chunk)
            have += len(chunk)
            if total >= 10 * CHUNK and 10 * have // total > tenth:
                tenth = 10 * have // total
                print(f"{part.stem}: {have >> 20} of {total >> 20} MB", file=sys.stderr)


def _fetch_each(entry: PackEntry, wanted: list[ModelEntry], folder: Path, opener: Opener) -> None:
    for model in wanted:
        if model.url is None:
            raise UserError(f"pack {entry.name}: no address is known for {model.file}")
        part = folder / f"{model.file}.part"
        download(model.url, part, opener)
        _put_in_place(part, model, entry.name)


def _fetch_archive(
    entry: PackEntry, wanted: list[ModelEntry], folder: Path, opener: Opener
) -> None:
    """Download the zip and take from it the wanted files only, by their plain names."""
    assert entry.archive is not None
    part = folder / f"{entry.name}.zip.part"
    download(entry.archive.url, part, opener)
    if entry.archive.sha256 is not None:
        found = file_sha256(part)
        if found != entry.archive.sha256:
            part.unlink()
            raise UserError(
                f"pack {entry.name}: the download has sha256 {found}, expected "
                f"{entry.archive.sha256}: it was discarded; run again"
            )
    try:
        with zipfile.ZipFile(part) as archive:
            members = {Path(name).name: name for name in archive.namelist()}
            for model in wanted:
                if model.file not in members:
                    raise UserError(f"pack {entry.name}: {entry.archive.url} lacks {model.file}")
                taken = folder / f"{model.file}.part"
                with archive.open(members[model.file]) as source, taken.open("wb") as file:
                    while chunk := source.read(CHUNK):
                        file.write(chunk)
                _put_in_place(taken, model, entry.name)
    except zipfile.BadZipFile:
        raise UserError(
            f"pack {entry.name}: the download is not a zip: it was discarded; run again"
        ) from None
    finally:
        # sound, it has served; unsound, going on with it would never fix it
        part.unlink(missing_ok=True)


def _put_in_place(part: Path, model: ModelEntry, pack: str) -> None:
    """Rename a checked download to its final name, or discard it."""
    fault = find_fault(part, model)
    if fault is not None:
        part.unlink()
        raise UserError(f"pack {pack}: the download of {model.file} {fault}: it was discarded")
    part.replace(part.with_name(model.file))


def _sound(path: Path, model: ModelEntry) -> bool:
    return path.is_file() and find_fault(path, model) is None


def _downloadable(pack: str) -> PackEntry:
    known = known_entries()
    names = [
        name
        for name, entry in known.items()
        if entry.archive is not None or any(model.url for model in entry.models.values())
    ]
    if pack not in names:
        fault = "is part of the project" if pack in known else "is unknown"
        raise UserError(
            f"pack '{pack}' {fault}: there is nothing to fetch; to be had are {', '.join(names)}"
        )
    return known[pack]
