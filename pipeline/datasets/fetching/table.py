"""Which data sets can be fetched: the publishers' addresses, and which of their files are used.

Addresses, names and lengths are those of the publishers' pages and of public code that reads the
sets. None of it could be tried against the publishers themselves when it was written.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

GB = 1e9
# 100 Mbit/s, of which a server far away gives less
EXPECTED_BYTES_A_S = 12.5e6
# what a file of its own costs beside its bytes, four at once
EXPECTED_S_A_FILE = 0.1


@dataclass(frozen=True)
class Part:
    """What a variant of a set uses.

    Attributes:
        archives: pattern of the archives' names; `count` of them are published.
        members: pattern of the files to take from them, and
        target: their path below the root, a template of the pattern's groups.
        clips: that the adapter then lists, as documented.
        length: in bytes, of all archives; as documented, for the documents.
        kept: what remains on disk of each downloaded byte.
    """

    archives: str
    count: int
    members: str
    target: str
    clips: int
    length: float
    kept: float


@dataclass(frozen=True)
class ZenodoRecord:
    """A record of zenodo.org: its API gives the length and md5 of each file."""

    url: str
    parts: Mapping[str, Part]


@dataclass(frozen=True)
class ZipFile:
    """A zip at its publisher, without a published digest: its members' CRC-32 are checked."""

    url: str
    part: Part


@dataclass(frozen=True)
class LfsRepository:
    """A git repository whose files are in Git LFS: pointers give their sha256 and length.

    Attributes:
        urls: of the repository and its copies; what one does not give is asked of the next.
        folder: that is used, and
        files: pattern of the paths in it.
    """

    urls: tuple[str, ...]
    folder: str
    files: str
    count: int
    length: float


@dataclass(frozen=True)
class Publisher:
    """Where a set is fetched from, and the variant that its preset uses."""

    source: ZenodoRecord | ZipFile | LfsRepository
    variant: str = ""

    def clips(self, variant: str) -> int:
        """Return how many clips a complete copy has."""
        if isinstance(self.source, LfsRepository):
            return self.source.count
        if isinstance(self.source, ZipFile):
            return self.source.part.clips
        return self.source.parts[variant].clips

    def amounts(self) -> tuple[float, float]:
        """Return the bytes to download and those to have free, of the preset's variant."""
        source = self.source
        if isinstance(source, LfsRepository):
            return source.length, source.length
        part = source.part if isinstance(source, ZipFile) else source.parts[self.variant]
        return part.length, part.length * part.kept + part.length / part.count

    def summary(self) -> str:
        """Return `13.4 GB, 18 min at 100 Mbit/s; 7.9 GB of disk` for the tables."""
        length, disk = self.amounts()
        seconds = length / EXPECTED_BYTES_A_S
        if isinstance(self.source, LfsRepository):
            seconds += self.source.count * EXPECTED_S_A_FILE
        minutes = seconds / 60
        return f"{length / GB:.1f} GB, {minutes:.0f} min at 100 Mbit/s; {disk / GB:.1f} GB of disk"


_SPEECH = r"Video_Speech_Actor_\d\d\.zip"
_SONG = r"Video_Song_Actor_\d\d\.zip"


def _ravdess(codes: str) -> tuple[str, str]:
    """Members whose name begins with `codes`, and where they go."""
    return rf"(?:.*/)?({codes}(?:-\d\d){{4}}-(\d\d)\.mp4)", r"Actor_\2/\1"


PUBLISHERS: Mapping[str, Publisher] = {
    "ravdess": Publisher(
        ZenodoRecord(
            "https://zenodo.org/api/records/1188976",
            {
                "speech_once": Part(_SPEECH, 24, *_ravdess("02-01"), 1440, 13.36e9, 0.55),
                "speech": Part(_SPEECH, 24, *_ravdess("0[12]-01"), 2880, 13.36e9, 1.02),
                # there is no song of actor 18
                "song": Part(_SONG, 23, *_ravdess("0[12]-02"), 2024, 11.81e9, 1.02),
                "both": Part(
                    f"{_SPEECH}|{_SONG}", 47, *_ravdess("0[12]-0[12]"), 4904, 25.17e9, 1.02
                ),
            },
        ),
        "speech_once",
    ),
    "cremad": Publisher(
        LfsRepository(
            (
                # its authors send readers there since the other's traffic is used up
                "https://gitlab.com/cs-cooper-lab/crema-d-mirror",
                "https://github.com/CheyneyComputerScience/CREMA-D",
            ),
            "VideoFlash",
            r"VideoFlash/\d{4}_[A-Z]{3}_[A-Z]{3}_[A-Z]{1,2}\.flv",
            7442,
            # six files that were looked at have 0.35 MB each
            2.6e9,
        )
    ),
    "enterface05": Publisher(
        ZipFile(
            "https://enterface.net/enterface05/docs/results/databases/project2_database.zip",
            Part(
                r"project2_database\.zip",
                1,
                r"(?i:(?!__MACOSX/)(?:.*/)?(subject \d+(?:/[^/]+)*/[^/.][^/]*\.avi))",
                r"\1",
                1287,
                # not documented: the order of what users report
                0.8e9,
                1.25,
            ),
        )
    ),
}
