"""Where the results of each video go: no two videos share a file, and no input is overwritten."""

from __future__ import annotations

import hashlib
import os
import unicodedata
from collections.abc import Sequence
from pathlib import Path

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.common.files import identity
from arpgnet.pipeline.common.wording import shown
from arpgnet.pipeline.predict.formats import SUFFIX
from arpgnet.pipeline.predict.overlay.overlay import overlay_path
from arpgnet.pipeline.predict.page.page import film_path, page_path
from arpgnet.pipeline.predict.predictor import PredictOptions

# bytes of a video's name in those of its results: file systems take 255, and 35 are left for
# `-1000`, `.openface.csv` and `.partial`
LONGEST = 220
# hexadecimal digits that stand for the rest of a longer one
DIGITS = 8
# what `predict` writes beside the tables of several videos
SUMMARY = "summary.csv"
# a drive, a stream or a folder elsewhere
_ELSEWHERE = str.maketrans(":\\", "--")


def targets(videos: Sequence[Path], options: PredictOptions) -> list[Path]:
    """Choose a table's path for each video.

    The first video of a name has it; later ones get the lowest number that makes their files'
    names no other video's, as a file system sees it that ignores case and Unicode's forms.

    Raises:
        UserError: a result would overwrite an input.
    """
    stems = [_stem(video) for video in videos]
    # also where one video is predicted alone: its table must not replace an earlier summary
    taken: set[str] = {SUMMARY}
    numbers = dict.fromkeys(stems, 2)

    def claim(stem: str) -> Path | None:
        table = options.out / f"{stem}{SUFFIX[options.form]}"
        names = _names(table, options)
        if not taken.isdisjoint(names):
            return None
        taken.update(names)
        return table

    def claim_number(stem: str) -> Path:
        while (table := claim(f"{stem}-{numbers[stem]}")) is None:
            numbers[stem] += 1
        return table

    first = [claim(stem) for stem in stems]
    tables = [table or claim_number(stem) for table, stem in zip(first, stems, strict=True)]
    _refuse_overwriting(videos, tables, options)
    return tables


def files(table: Path, options: PredictOptions) -> list[Path]:
    """List the files of a video: the table, and what the options add."""
    return [table, *(path for path, _ in _added(table, options))]


def added_files(table: Path, options: PredictOptions) -> list[tuple[Path, str]]:
    """List the files that were written beside a table, each with what it is."""
    return [(path, what) for path, what in _added(table, options) if path.is_file()]


def _added(table: Path, options: PredictOptions) -> list[tuple[Path, str]]:
    page = page_path(table)
    overlay = [(overlay_path(table), "overlay")] if options.overlay else []
    # most pages contain their video
    film = (film_path(page), "video of the page: keep both in one folder")
    return overlay + ([(page, "page, open it in a browser"), film] if options.page else [])


def _stem(video: Path) -> str:
    name = shown(video.stem).translate(_ELSEWHERE)
    data = name.encode()
    if len(data) <= LONGEST:
        return name
    kept = data[: LONGEST - DIGITS - 1].decode(errors="ignore")
    return f"{kept}-{hashlib.sha256(os.fsencode(video.stem)).hexdigest()[:DIGITS]}"


def _names(table: Path, options: PredictOptions) -> set[str]:
    return {
        unicodedata.normalize("NFC", unicodedata.normalize("NFC", path.name).casefold())
        for path in files(table, options)
    }


def _refuse_overwriting(
    videos: Sequence[Path], tables: Sequence[Path], options: PredictOptions
) -> None:
    inputs = {identity(video) for video in videos} - {None}
    for table in tables:
        for path in files(table, options):
            if identity(path) in inputs:
                raise UserError(
                    f"{path} is an input and would be overwritten: choose another --out"
                )
