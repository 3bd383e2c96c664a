"""`dataset.name: csv`: a file of paths and labels beside the clips."""

from __future__ import annotations

import csv
import difflib
import math
import posixpath
from collections.abc import Iterator
from pathlib import Path

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.common.user import expanded
from arpgnet.pipeline.datasets.base import (
    IMAGE_FPS,
    About,
    FaceSource,
    Images,
    ListedClip,
    Listing,
    Recipe,
    Wanted,
)
from arpgnet.pipeline.datasets.frame_names import read_frame_names
from arpgnet.pipeline.datasets.layout import SPLIT_NAMES
from arpgnet.pipeline.tables.manifest import resolve_inside

REQUIRED = ("path",)
# one of the two: a class per clip, or a file with a class per frame
LABELS = ("label", "frame_labels")
OPTIONAL = ("subject", "split", "fold", "group", "start_s", "end_s", "faces", "first_image")
# of the subject, e.g. trait_gender, trait_age
TRAIT = "trait_"
# more values than a table of groups can tell apart
MOST_VALUES = 20
FACES: dict[str, FaceSource] = {"": "detect", "detect": "detect", "aligned": "aligned"}

ABOUT = About(
    title="your own: a table of paths and labels",
    classes=(),
    marks=(),
    layout="the file dataset.manifest, with the columns path and label",
    recipe=Recipe("kfold", "the columns split or fold where there is one, else folds", folds=4),
    metric="uar",
    license="yours",
    obtain="",
    source="",
    published=False,
)


def list_clips(wanted: Wanted) -> Listing:
    """The clips of the file `dataset.manifest`, relative to the root or absolute."""
    root = wanted.root
    file = root / expanded(wanted.manifest or "")
    return Listing(read_csv(file, root, fps=wanted.fps, faces=wanted.faces))


def read_csv(
    manifest: Path, root: Path, *, fps: float = IMAGE_FPS, faces: FaceSource = "detect"
) -> list[ListedClip]:
    """Read a manifest: UTF-8, a header, the columns `REQUIRED`, one of `LABELS`, any of `OPTIONAL`.

    `frame_labels` is the path, relative to the root, of a text file with a class name for every
    frame of the video (`read_frame_names`). A path may be a folder of images: in the order of
    their names, or, with `first_image`, numbered by their names from that number on. `faces` is
    `aligned` where the images are faces that were cut out already, else `detect`. Columns
    `trait_<name>` (gender, age, ...) say which groups the subject belongs to; may be empty.

    Args:
        manifest: the file; columns of other names are ignored.
        root: the folder that the clips' paths are relative to and must stay inside.
        fps: images per second of folders.
        faces: of folders of images where the column `faces` says nothing.

    Raises:
        UserError: the file is absent, empty or malformed, or a row is wrong; the message
            holds the line's number.
    """
    clips = []
    seen: dict[tuple[str, float | None, float | None], int] = {}
    for number, row in _rows(manifest):
        where = f"line {number} of {manifest.name}"
        try:
            clip = _listed(row, root, where, fps, faces)
        except UserError as error:
            raise UserError(f"{where}: {error}") from None
        key = (clip.path, clip.start_s, clip.end_s)
        if key in seen:
            raise UserError(
                f"{where}: '{clip.path}' is already listed in line {seen[key]}; "
                "keep only one of the two rows"
            )
        seen[key] = number
        clips.append(clip)
    if not clips:
        raise UserError(f"dataset.manifest: {manifest.name} has no rows")
    _check_traits(clips, manifest)
    return clips


def _check_traits(clips: list[ListedClip], manifest: Path) -> None:
    """A trait puts people into a few groups; an age in years or a name does not."""
    values: dict[str, set[str]] = {}
    for clip in clips:
        for trait, value in clip.traits:
            values.setdefault(trait, set()).add(value)
    for trait, found in values.items():
        if len(found) > MOST_VALUES:
            raise UserError(
                f"dataset.manifest: column '{TRAIT}{trait}' of {manifest.name} has {len(found)} "
                f"values, more than {MOST_VALUES}: use groups (18-29, 30-44), or drop the column"
            )


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
                        f"the header has {len(header)}; quote fields that contain a comma"
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
            f"dataset.manifest: {manifest.name} has both 'label' and 'frame_labels': either clips "
            "or frames have a class; drop one of the columns"
        )
    for name in (*REQUIRED, *LABELS, *OPTIONAL):
        if names.count(name) > 1:
            raise UserError(f"dataset.manifest: {manifest.name} has two columns '{name}'")
    return names


def _listed(
    row: dict[str, str], root: Path, where: str, fps: float, faces: FaceSource
) -> ListedClip:
    for needed in (*REQUIRED, *LABELS):
        if not row.get(needed, "-"):
            raise UserError(f"'{needed}' is empty")
    folder = resolve_inside(root, row["path"]).is_dir()
    first = _whole_number(row, "first_image")
    said = row.get("faces", "").lower()
    if said not in FACES:
        raise UserError(f"faces '{said}' is not one of detect, aligned")
    if not folder and (first is not None or FACES[said] != "detect"):
        raise UserError("first_image and faces: aligned are only for folders of images")
    file = row.get("frame_labels")
    start, end = _seconds(row, "start_s"), _seconds(row, "end_s")
    if end is not None and end <= (start or 0.0):
        raise UserError(f"end_s {end} is not after start_s {start or 0.0}")
    return ListedClip(
        path=posixpath.normpath(row["path"]),
        label=row.get("label"),
        subject=row.get("subject") or None,
        split=_split(row.get("split", "")),
        fold=_whole_number(row, "fold"),
        group=row.get("group") or None,
        start_s=start,
        end_s=end,
        where=where,
        frames=read_frame_names(resolve_inside(root, file)) if file else None,
        images=Images(fps=fps, first=first) if folder else None,
        faces=(FACES[said] if said else faces) if folder else "detect",
        traits=tuple(
            (name.removeprefix(TRAIT), value)
            for name, value in sorted(row.items())
            if name.startswith(TRAIT) and name != TRAIT and value
        ),
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
        raise UserError(f"{column} '{text}' is not a nonnegative number of seconds")
    return value


def _split(text: str) -> str | None:
    if not text:
        return None
    if text.lower() not in SPLIT_NAMES:
        raise UserError(f"split '{text}' is not one of {', '.join(SPLIT_NAMES)}")
    return SPLIT_NAMES[text.lower()]


def _whole_number(row: dict[str, str], column: str) -> int | None:
    text = row.get(column, "")
    if not text:
        return None
    try:
        return int(text)
    except ValueError:
        raise UserError(f"{column} '{text}' is not a whole number") from None
