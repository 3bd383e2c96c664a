"""Downloads a face pack: license first, resumable, checked, and in place at once or not at all."""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

from arpgnet.pipeline.common.download import CHUNK, Opener, discard, download, open_url
from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.networks.pack_file import ModelEntry, PackEntry
from arpgnet.pipeline.networks.packs import find_fault, known_entries
from arpgnet.pipeline.store import file_sha256


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


def _fetch_each(entry: PackEntry, wanted: list[ModelEntry], folder: Path, opener: Opener) -> None:
    for model in wanted:
        if model.url is None:
            raise UserError(f"pack {entry.name}: no address is known for {model.file}")
        part = folder / f"{model.file}.part"
        download(model.url, part, opener, advice=_advice(folder))
        _put_in_place(part, model, entry.name)


def _fetch_archive(
    entry: PackEntry, wanted: list[ModelEntry], folder: Path, opener: Opener
) -> None:
    """Download the zip and take from it the wanted files only, by their plain names."""
    assert entry.archive is not None
    part = folder / f"{entry.name}.zip.part"
    download(entry.archive.url, part, opener, advice=_advice(folder))
    if entry.archive.sha256 is not None:
        found = file_sha256(part)
        if found != entry.archive.sha256:
            discard(part)
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
        discard(part)


def _advice(folder: Path) -> str:
    return (
        f"run again with a network, or put the files into {folder} by hand; "
        "'faces.pack: demo' needs no download"
    )


def _put_in_place(part: Path, model: ModelEntry, pack: str) -> None:
    """Rename a checked download to its final name, or discard it."""
    fault = find_fault(part, model)
    if fault is not None:
        discard(part)
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
            f"pack '{pack}' {fault}: there is nothing to fetch; known: {', '.join(names)}"
        )
    return known[pack]
