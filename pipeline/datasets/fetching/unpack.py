"""Takes the wanted files out of a zip: checked by CRC-32, and below the root or not at all."""

from __future__ import annotations

import re
import stat
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

from arpgnet.pipeline.common.download import CHUNK
from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.common.files import writing_to
from arpgnet.pipeline.common.progress import track
from arpgnet.pipeline.datasets.fetching.folder import check_space, inside, put
from arpgnet.pipeline.datasets.fetching.table import Part

# path below the root, length, CRC-32
Member = tuple[str, int, int]


class DamagedArchiveError(UserError):
    """A zip that cannot be read to its end."""


def unpack(archive: Path, root: Path, part: Part, name: str) -> list[Member]:
    """Put the wanted members into the root; all names are checked before the first is written.

    Args:
        name: the archive's, for messages.

    Raises:
        DamagedArchiveError: it is no zip, or a member is damaged.
        UserError: a name leads out of the root, a member is a link or encrypted, two members have
            one name, or the disk is too small.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            wanted = _wanted(opened, root, part, name)
            missing = {
                target: info
                for target, info in wanted.items()
                if not is_sound(root, _member(target, info))
            }
            length = sum(info.file_size for info in missing.values())
            check_space(root, length, f"unpacking {name}")
            with track(len(missing), f"unpack {name}", "files") as progress:
                for target, info in missing.items():
                    _extract(opened, info, inside(root, target, name), archive.parent)
                    progress.advance()
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise DamagedArchiveError(f"{name}: is damaged or not a zip ({error})") from None
    return [_member(target, info) for target, info in wanted.items()]


def find_damage(root: Path, members: Sequence[Member]) -> list[str]:
    """Return the members that are not there as they were unpacked; all are read."""
    return [member[0] for member in members if not is_sound(root, member)]


def is_sound(root: Path, member: Member) -> bool:
    """Tell whether a file is there with its length and CRC-32."""
    name, length, crc = member
    path = root / name
    if path.is_symlink() or not path.is_file() or path.stat().st_size != length:
        return False
    found = 0
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            found = zlib.crc32(chunk, found)
    return found == crc


def _wanted(
    opened: zipfile.ZipFile, root: Path, part: Part, name: str
) -> dict[str, zipfile.ZipInfo]:
    pattern = re.compile(part.members)
    wanted: dict[str, zipfile.ZipInfo] = {}
    for info in opened.infolist():
        found = pattern.fullmatch(info.filename)
        if info.is_dir() or found is None:
            continue
        target = found.expand(part.target)
        where = f"{name}, {info.filename!r}"
        inside(root, target, where)
        kind = stat.S_IFMT(info.external_attr >> 16)
        if kind not in (0, stat.S_IFREG):
            raise UserError(f"{where}: is a link or a device, not a file: nothing was unpacked")
        if info.flag_bits & 1:
            raise UserError(f"{where}: is encrypted: nothing was unpacked")
        same = wanted.setdefault(target, info)
        if (same.CRC, same.file_size) != (info.CRC, info.file_size):
            raise UserError(f"{where}: is in it twice, with two contents: nothing was unpacked")
    if not wanted:
        raise UserError(f"{name}: holds none of the files that are used: has its layout changed?")
    return wanted


def _member(target: str, info: zipfile.ZipInfo) -> Member:
    return target, info.file_size, info.CRC


def _extract(opened: zipfile.ZipFile, info: zipfile.ZipInfo, target: Path, work: Path) -> None:
    """Write one member; reading its end compares the CRC-32."""
    part = work / "unpacking.part"
    with opened.open(info) as source, writing_to(part), part.open("wb") as file:
        while chunk := source.read(CHUNK):
            file.write(chunk)
    if part.stat().st_size != info.file_size:
        raise zipfile.BadZipFile(f"{info.filename} is cut off")
    put(part, target)
