"""Label files of data sets: text lines and delimited tables, with places for messages."""

from __future__ import annotations

import codecs
import csv
import difflib
from collections.abc import Iterator, Sequence
from pathlib import Path

from arpgnet.pipeline.common.errors import UserError

# "Unicode text" of Excel; the marks of UTF-32 begin with those of UTF-16
_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


def text_of(path: Path) -> str:
    """Read a text file: UTF-8, or UTF-16 and UTF-32 with a byte order mark.

    UTF-16 without a mark is recognized by the zero byte of its first letter.

    Raises:
        OSError: it is absent or may not be read.
        UnicodeDecodeError: it is none of these.
    """
    data = path.read_bytes()
    marked = next((name for mark, name in _MARKS.items() if data.startswith(mark)), None)
    unmarked = {b"\0": "utf-16-be"}.get(data[:1]) or {b"\0": "utf-16-le"}.get(data[1:2])
    # joined files have several marks
    return data.decode(marked or unmarked or "utf-8").lstrip("\ufeff")


def lines_of(path: Path) -> list[str]:
    """Read a text file's lines without surrounding blanks and without empty ones at the end.

    Raises:
        UserError: it is absent, may not be read, or is not UTF-8.
    """
    try:
        text = text_of(path)
    except OSError:
        raise UserError(f"{path.name} cannot be read in {path.parent}") from None
    except UnicodeDecodeError as error:
        kind = "CSV UTF-8" if path.suffix.lower() == ".csv" else "UTF-8"
        raise UserError(
            f"{path.name} is not UTF-8 (byte {error.start}): save it as {kind}"
        ) from None
    return [line.strip() for line in text.rstrip().splitlines()]


def cells_of(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Read the non-empty lines of a comma-separated file, each with its number.

    Raises:
        UserError: the file cannot be read, or is no such file.
    """
    reader = csv.reader(lines_of(path), skipinitialspace=True)
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                yield reader.line_num, cells
    except csv.Error as error:
        raise UserError(f"{path.name} is no csv file ({error})") from None


def rows_of(
    path: Path, columns: Sequence[str], *, header: bool = True, delimiter: str = ","
) -> Iterator[tuple[str, dict[str, str]]]:
    """Read the non-empty rows of a delimited file, each with its line for messages.

    Args:
        columns: that are needed, by name (letters' case aside); without a `header` the names of
            the first columns. Others are passed on under their names, or dropped.
        delimiter: one character; a blank stands for any run of blanks and tabs.

    Yields:
        `("line 7 of labels.csv", {column: stripped text})`.

    Raises:
        UserError: the file cannot be read, lacks a column, or a row has too few fields.
    """
    lines = lines_of(path)
    split = [line.split() for line in lines] if delimiter == " " else _split(lines, delimiter)
    names = list(columns)
    start = 0
    if header:
        names = [field.strip().lower() for field in (split[0] if split else [])]
        for needed in columns:
            if needed.lower() not in names:
                near = difflib.get_close_matches(needed.lower(), names, n=1)
                hint = f"; is it '{near[0]}'?" if near else ""
                raise UserError(
                    f"{path.name} has no column '{needed}' (found: {', '.join(names)}){hint}"
                )
        start = 1
    for number, fields in enumerate(split[start:], start + 1):
        if not any(field.strip() for field in fields):
            continue
        where = f"line {number} of {path.name}"
        if len(fields) < len(names):
            raise UserError(f"{where}: {len(fields)} fields, {len(names)} expected")
        yield where, dict(zip(names, (field.strip() for field in fields), strict=False))


def _split(lines: list[str], delimiter: str) -> list[list[str]]:
    return [next(csv.reader([line], delimiter=delimiter), []) for line in lines]
