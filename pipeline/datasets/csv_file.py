"""`dataset.name: csv`: a file of paths and labels beside the clips."""

from __future__ import annotations

import csv
import difflib
import math
import posixpath
from collections.abc import Iterator
from pathlib import Path

from pipeline.clips import resolve_inside
from pipeline.config import DatasetParams
from pipeline.datasets.base import SPLIT_NAMES, ListedClip, Listing
from pipeline.datasets.frame_names import read_frame_names
from pipeline.datasets.root import resolve_root
from pipeline.errors import UserError

REQUIRED = ("path",)
# one of the two: a class a clip, or a file with a class a frame
LABELS = ("label", "frame_labels")
OPTIONAL = ("subject", "split", "fold", "group", "start_s", "end_s")


def dataset_root(params: DatasetParams) -> Path:
    """The folder named by `dataset.root`."""
    return resolve_root(params.root or "")


def list_clips(params: DatasetParams, workers: int = 1) -> Listing:
    """The clips of the file `dataset.manifest`, relative to the root or absolute."""
    root = dataset_root(params)
    return Listing(read_csv(root / Path(params.manifest or "").expanduser(), root), [])


def read_csv(manifest: Path, root: Path) -> list[ListedClip]:
    """Read a manifest: UTF-8, a header, the columns `REQUIRED`, one of `LABELS`, any of `OPTIONAL`.

    `frame_labels` is the path, relative to the root, of a text file with a class name for every
    frame of the video (`read_frame_names`).

    Args:
        manifest: the file; columns of other names are ignored.
        root: the folder that the clips' paths are relative to and must stay inside.

    Raises:
        UserError: the file is absent, empty or malformed, or a row is wrong; the message
            holds the line's number.
    """
    clips = []
    seen: dict[tuple[str, float | None, float | None], int] = {}
    for number, row in _rows(manifest):
        where = f"line {number} of {manifest.name}"
        try:
            clip = _listed(row, root, where)
        except UserError as error:
            raise UserError(f"{where}: {error}") from None
        key = (clip.path, clip.start_s, clip.end_s)
        if key in seen:
            raise UserError(
                f"{where}: '{clip.path}' was already named by line {seen[key]}; "
                "keep one of the two rows"
            )
        seen[key] = number
        clips.append(clip)
    if not clips:
        raise UserError(f"dataset.manifest: {manifest.name} names no clip: it has no rows")
    return clips


def _rows(manifest: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Each non-empty row as column -> stripped text, with its line number."""
    try:
        with manifest.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            header = _header(next(reader, []), manifest)
            for fields in reader:
                if not any(field.strip() for field in fields):
                    continue
                if len(fields) != len(header):
                    raise UserError(
                        f"line {reader.line_num} of {manifest.name}: {len(fields)} fields where "
                        f"the header has {len(header)}; quote fields that hold a comma"
                    )
                yield (
                    reader.line_num,
                    dict(zip(header, (field.strip() for field in fields), strict=True)),
                )
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        raise UserError(f"dataset.manifest: no file {manifest}") from None
    except UnicodeDecodeError as error:
        raise UserError(
            f"dataset.manifest: {manifest.name} is not UTF-8 (byte {error.start}); save it as UTF-8"
        ) from None
    except csv.Error as error:
        raise UserError(
            f"line {reader.line_num} of {manifest.name}: not valid csv: {error}"
        ) from None


def _header(fields: list[str], manifest: Path) -> list[str]:
    names = [field.strip().lower() for field in fields]
    if not any(names):
        raise UserError(
            f"dataset.manifest: {manifest.name} is empty; it needs a header with path and label"
        )
    has_labels = any(name in names for name in LABELS)
    for needed in REQUIRED if has_labels else (*REQUIRED, LABELS[0]):
        if needed not in names:
            near = difflib.get_close_matches(needed, names, n=1)
            hint = f"; rename '{near[0]}'?" if near else "; the separator must be a comma"
            raise UserError(
                f"dataset.manifest: {manifest.name} has no column '{needed}' "
                f"(found: {', '.join(names)}){hint}"
            )
    if all(name in names for name in LABELS):
        raise UserError(
            f"dataset.manifest: {manifest.name} has both 'label' and 'frame_labels': a clip has a "
            "class, or its frames have; drop one of the columns"
        )
    for name in (*REQUIRED, *LABELS, *OPTIONAL):
        if names.count(name) > 1:
            raise UserError(f"dataset.manifest: {manifest.name} has two columns '{name}'")
    return names


def _listed(row: dict[str, str], root: Path, where: str) -> ListedClip:
    for needed in (*REQUIRED, *LABELS):
        if not row.get(needed, "-"):
            raise UserError(f"'{needed}' is empty")
    resolve_inside(root, row["path"])
    file = row.get("frame_labels")
    start, end = _seconds(row, "start_s"), _seconds(row, "end_s")
    if end is not None and end <= (start or 0.0):
        raise UserError(f"end_s {end} is not after start_s {start or 0.0}")
    return ListedClip(
        path=posixpath.normpath(row["path"]),
        label=row.get("label"),
        subject=row.get("subject") or None,
        split=_split(row.get("split", "")),
        fold=_fold(row.get("fold", "")),
        group=row.get("group") or None,
        start_s=start,
        end_s=end,
        where=where,
        frames=read_frame_names(resolve_inside(root, file)) if file else None,
    )


def _seconds(row: dict[str, str], column: str) -> float | None:
    text = row.get(column, "")
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value >= 0.0):
        raise UserError(f"{column} '{text}' is not a number of seconds from 0 on")
    return value


def _split(text: str) -> str | None:
    if not text:
        return None
    if text.lower() not in SPLIT_NAMES:
        raise UserError(f"split '{text}' is not one of {', '.join(SPLIT_NAMES)}")
    return SPLIT_NAMES[text.lower()]


def _fold(text: str) -> int | None:
    if not text:
        return None
    try:
        return int(text)
    except ValueError:
        raise UserError(f"fold '{text}' is not a whole number") from None
