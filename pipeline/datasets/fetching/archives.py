"""Fetches sets that are published as zips: one by one, each deleted once it is unpacked."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, Field, ValidationError

from arpgnet.pipeline.common.download import (
    Expectation,
    Retries,
    content_length,
    discard,
    fetch_file,
    file_digest,
    read_json,
)
from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.common.wording import plural
from arpgnet.pipeline.datasets.fetching.folder import (
    check_space,
    free_bytes,
    read_state,
    write_state,
)
from arpgnet.pipeline.datasets.fetching.table import GB, Part, ZenodoRecord, ZipFile
from arpgnet.pipeline.datasets.fetching.unpack import (
    DamagedArchiveError,
    Member,
    find_damage,
    unpack,
)

Say = Callable[[str], object]


@dataclass(frozen=True)
class Archive:
    """A zip at a publisher's; `version` says which bytes it has, as far as that is known."""

    name: str
    url: str
    expected: Expectation

    @property
    def version(self) -> str:
        """The published digest; where there is none, the length."""
        return f"{self.expected.algorithm}:{self.expected.digest}:{self.expected.length}"


class _Links(BaseModel):
    self_: Annotated[str, Field(alias="self", pattern=r"^https?://")]


class _File(BaseModel):
    key: str
    size: Annotated[int, Field(gt=0)]
    checksum: Annotated[str, Field(pattern=r"^(md5|sha256):[0-9a-f]+$")]
    links: _Links


class _Record(BaseModel):
    """What zenodo.org/api/records/<number> says of a record's files."""

    files: list[_File]


def zenodo_archives(record: ZenodoRecord, part: Part, retries: Retries) -> list[Archive]:
    """Ask Zenodo for the length, md5 and address of the archives that are used.

    Raises:
        UserError: Zenodo cannot be reached, or its record is another than expected.
    """
    answer = read_json(record.url, headers={"Accept": "application/json"}, retries=retries)
    try:
        files = _Record.model_validate(answer).files
    except ValidationError as error:
        first: Any = error.errors()[0]
        place = ".".join(str(step) for step in first["loc"])
        raise UserError(
            f"{record.url}: not a record with open files: {place}: {first['msg']}"
        ) from None
    found = {
        file.key: Archive(
            file.key,
            file.links.self_,
            Expectation(file.size, *file.checksum.split(":", 1)),
        )
        for file in files
        if re.fullmatch(part.archives, file.key)
    }
    if len(found) != part.count:
        raise UserError(
            f"{record.url}: lists {len(found)} archives like {part.archives}, expected "
            f"{part.count}: the publisher has changed the record"
        )
    return [found[name] for name in sorted(found)]


def single_archive(source: ZipFile, retries: Retries) -> list[Archive]:
    """Ask the publisher for the length of its only archive.

    Raises:
        UserError: the publisher cannot be reached.
    """
    length = content_length(source.url, retries=retries)
    return [Archive(source.url.rpartition("/")[2], source.url, Expectation(length))]


def fetch_archives(
    root: Path,
    work: Path,
    name: str,
    variant: str,
    part: Part,
    listed: Callable[[], Sequence[Archive]],
    retries: Retries,
    say: Say,
) -> None:
    """Download and unpack what is missing; what is there and sound stays.

    Args:
        work: the folder for unfinished files.
        listed: asks the publisher which archives there are.

    Raises:
        UserError: see `fetch_file` and `unpack`; or the disk is too small.
    """
    state = read_state(work)
    done: dict[str, Any] = state.setdefault(_key(name, variant), {})
    if len(done) == part.count and not any(_damage(root, entry) for entry in done.values()):
        say(f"{name}: everything is there already, and every file is sound")
        return
    archives = listed()
    missing = [archive for archive in archives if not _is_done(root, archive, done)]
    _state_need(root, work, name, part, missing, say)
    for number, archive in enumerate(missing, 1):
        say(f"{archive.name} ({number} of {len(missing)})")
        members, digest = _fetch_one(root, work, archive, part, retries)
        done[archive.name] = {"version": archive.version, "sha256": digest, "members": members}
        write_state(work, state)


def _fetch_one(
    root: Path, work: Path, archive: Archive, part: Part, retries: Retries
) -> tuple[list[Member], str | None]:
    path = work / archive.name
    whole = path.is_file() and archive.expected.find_fault(path) is None
    if not whole or archive.expected.length is None:
        fetch_file(archive.url, path, archive.expected, retries=retries)
    try:
        members = unpack(path, root, part, archive.name)
        # of a set without a published digest, so that two copies can be compared
        digest = file_digest(path, "sha256") if archive.expected.digest is None else None
    except DamagedArchiveError as error:
        discard(path)
        raise UserError(f"{error}: it was discarded; run again") from None
    path.unlink()
    return members, digest


def _state_need(
    root: Path, work: Path, name: str, part: Part, missing: Sequence[Archive], say: Say
) -> None:
    """Say what will be downloaded and how much disk it takes, and compare with what is free."""
    lengths = [_length(archive, part) for archive in missing]
    here = sum(_part_bytes(work, archive) for archive in missing)
    disk = sum(lengths) * part.kept + max(lengths, default=0) - here
    guess = "" if all(one.expected.length for one in missing) else "about "
    say(
        f"{name}: {plural(len(missing), 'archive')} to download, {guess}"
        f"{(sum(lengths) - here) / GB:.2f} GB; needs {max(disk, 0) / GB:.2f} GB of disk, "
        f"{free_bytes(root) / GB:.2f} GB are free in {root}"
    )
    check_space(root, max(disk, 0), name)


def _length(archive: Archive, part: Part) -> float:
    return archive.expected.length or part.length / part.count


def _part_bytes(work: Path, archive: Archive) -> int:
    paths: Iterable[Path] = (work / archive.name, work / f"{archive.name}.part")
    return sum(path.stat().st_size for path in paths if path.is_file())


def _is_done(root: Path, archive: Archive, done: dict[str, Any]) -> bool:
    entry = done.get(archive.name)
    if entry is None or entry["version"] != archive.version:
        return False
    return not _damage(root, entry)


def _damage(root: Path, entry: dict[str, Any]) -> list[str]:
    return find_damage(root, [(name, length, crc) for name, length, crc in entry["members"]])


def _key(name: str, variant: str) -> str:
    return f"{name} {variant}".strip()
