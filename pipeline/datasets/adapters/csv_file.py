"""`dataset.name: csv`: a file of paths and labels beside the clips."""

from __future__ import annotations

import csv
import difflib
import io
import math
import posixpath
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.common.user import expanded
from arpgnet.pipeline.common.wording import joined, plural
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
from arpgnet.pipeline.datasets.clip_targets import of_clip, read_frame_targets, target_name
from arpgnet.pipeline.datasets.frame_names import read_frame_names
from arpgnet.pipeline.datasets.label_files import text_of
from arpgnet.pipeline.datasets.layout import SPLIT_NAMES, VIDEO_SUFFIXES
from arpgnet.pipeline.datasets.on_disk import NamesOnDisk
from arpgnet.pipeline.datasets.spelling import escaped, is_missing, quoted, spelling_key
from arpgnet.pipeline.tables.manifest import resolve_inside

REQUIRED = ("path",)
# a class per clip, or a file with a class per frame: one of the two, unless there are targets
LABELS = ("label", "frame_labels")
# a file with target values per frame; columns that `target_name` knows have the clip's
FRAME_TARGETS = "frame_targets"
OPTIONAL = ("subject", "split", "fold", "group", "start_s", "end_s", "faces", "first_image")
_COLUMNS = (*REQUIRED, *LABELS, *OPTIONAL, FRAME_TARGETS)
# of the subject, e.g. trait_gender, trait_age
TRAIT = "trait_"
# columns of numbers, in which -1 and nan are read as such
_NUMBERS = ("fold", "start_s", "end_s", "first_image")
# columns that a message lists
_SHOWN = 8
# more values than a table of groups can tell apart
MOST_VALUES = 20
# what others call the columns that are needed
OTHER_NAMES = {
    "path": (
        *("file", "filename", "file_name", "filepath", "file_path", "name", "video", "videos"),
        *("video_path", "video_name", "videopath", "clip", "clip_path", "clip_name", "image"),
    ),
    "label": (
        *("emotion", "emotions", "expression", "class", "class_name", "category", "target"),
        *("emotion_label", "annotation", "y"),
    ),
}
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
    name = expanded(wanted.manifest or "")
    file = wanted.root / NamesOnDisk(wanted.root).find(name.as_posix())
    missing: Counter[tuple[str, str]] = Counter()
    clips = _read(file, wanted, missing)
    remarks = [
        f"{column} {quoted(value)} is read as missing: {plural(count, 'clip')}"
        for (column, value), count in sorted(missing.items())
    ]
    return Listing(clips, remarks=remarks)


def read_csv(
    manifest: Path, root: Path, *, fps: float = IMAGE_FPS, faces: FaceSource = "detect"
) -> list[ListedClip]:
    """Read a manifest: a header, the columns `REQUIRED`, one of `LABELS`, any of `OPTIONAL`.

    UTF-8 or UTF-16; commas between fields, or what a first line `sep=;` says.

    `frame_labels` is the path, relative to the root, of a text file with a class name for every
    frame of the video (`read_frame_names`). `frame_targets` is that of a table of target values per
    frame (`read_frame_targets`), and columns such as `au_12` or `valence` are those of the clip;
    with either, a class is not needed. A path may be a folder of images: in the order of
    their names, or, with `first_image`, numbered by their names from that number on. `faces` is
    `aligned` where the images are faces that were cut out already, else `detect`. Columns
    `trait_<name>` (gender, age, ...) say which groups the subject belongs to. What is optional may
    be empty or a missing value (`is_missing`).

    Args:
        manifest: the file; columns of other names are ignored.
        root: the folder that the clips' paths are relative to and must stay inside.
        fps: images per second of folders.
        faces: of folders of images where the column `faces` says nothing.

    Raises:
        UserError: the file is absent, empty or malformed, or a row is wrong; the message
            holds the line's number.
    """
    wanted = Wanted(root, faces="aligned" if faces == "aligned" else "detect", fps=fps)
    return _read(manifest, wanted, Counter())


def _read(manifest: Path, wanted: Wanted, missing: Counter[tuple[str, str]]) -> list[ListedClip]:
    """See `read_csv`; counts in `missing` the values by column that stand for nothing."""
    clips = []
    seen: dict[tuple[str, float, float | None], int] = {}
    names = NamesOnDisk(wanted.root)
    faults = []
    for number, row in _rows(manifest):
        where = f"line {number} of {manifest.name}"
        try:
            missing.update(_drop_missing(row))
            clip = _listed(row, wanted, names, where)
        except UserError as error:
            faults.append(f"{where}: {error}")
            continue
        key = (clip.path, clip.start_s or 0.0, clip.end_s)
        if key in seen:
            faults.append(
                f"{where}: '{clip.path}' is already listed in line {seen[key]}; "
                "keep only one of the two rows"
            )
            continue
        seen[key] = number
        clips.append(clip)
    if faults:
        raise UserError(joined(faults))
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
        text = text_of(manifest)
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        raise UserError(f"dataset.manifest: no file {manifest}") from None
    except OSError as error:
        raise UserError(f"dataset.manifest: {manifest} cannot be read ({error.strerror})") from None
    except UnicodeDecodeError as error:
        raise UserError(
            f"dataset.manifest: {manifest.name} is not UTF-8 (byte {error.start}); save it as UTF-8"
        ) from None
    # the line with which Excel names the separator
    said = re.match(r'"?sep=(\\t|.)"?[,;\t]*(\r\n|\r|\n|$)', text, re.IGNORECASE)
    separator = said[1].replace("\\t", "\t") if said else ","
    before = 1 if said else 0
    lines = io.StringIO(text[said.end() :] if said else text, newline="")
    reader = csv.reader(lines, strict=True, delimiter=separator, skipinitialspace=True)
    try:
        header = _header(next(reader, []), manifest)
        for fields in reader:
            number = reader.line_num + before
            if not any(field.strip() for field in fields):
                continue
            if len(fields) != len(header):
                what = "a comma" if separator == "," else f"{separator!r}"
                raise UserError(
                    f"line {number} of {manifest.name}: {len(fields)} fields where "
                    f"the header has {len(header)}; quote fields that contain {what}"
                )
            yield number, dict(zip(header, (field.strip() for field in fields), strict=True))
    except csv.Error as error:
        raise UserError(
            f"line {reader.line_num + before} of {manifest.name}: not valid csv: {error}"
        ) from None


def _header(fields: list[str], manifest: Path) -> list[str]:
    names = [spelling_key(field) for field in fields]
    if not any(names):
        raise UserError(
            f"dataset.manifest: {manifest.name} is empty; it needs a header with path and label"
        )
    targets = FRAME_TARGETS in names or any(target_name(name) for name in names)
    has_labels = targets or any(name in names for name in LABELS)
    absent = [
        name for name in (REQUIRED if has_labels else (*REQUIRED, LABELS[0])) if name not in names
    ]
    if absent:
        found = ", ".join(escaped(name) for name in names[:_SHOWN]) + ", ..." * (
            len(names) > _SHOWN
        )
        raise UserError(
            f"dataset.manifest: {manifest.name} has no column "
            f"{' and no column '.join(map(quoted, absent))} (found: {found}); "
            f"{_remedy(fields, absent)}"
        )
    if all(name in names for name in LABELS):
        raise UserError(
            f"dataset.manifest: {manifest.name} has both 'label' and 'frame_labels': either clips "
            "or frames have a class; drop one of the columns"
        )
    same = [target_name(name) or name for name in names]
    known = [name for name in same if name in _COLUMNS or target_name(name)]
    for name in known:
        if known.count(name) > 1:
            raise UserError(f"dataset.manifest: {manifest.name} has two columns '{name}'")
    for name in names:
        # a misspelled optional column would be left out in silence
        near = [] if name in known else difflib.get_close_matches(name, _COLUMNS, 1, cutoff=0.8)
        if near and near[0] not in names:
            raise UserError(
                f"dataset.manifest: {manifest.name} has a column {quoted(name)}, which means "
                f"nothing here; did you mean '{near[0]}'? rename it, or drop it"
            )
    return names


def _remedy(fields: Sequence[str], absent: Sequence[str]) -> str:
    """Say what is wrong with a header that lacks columns."""
    only = fields[0] if len(fields) == 1 else ""
    other = next((mark for mark in (";", "\t", "|") if mark in only), None)
    if other:
        mark = repr(other)[1:-1]
        return (
            f"the separator must be a comma, not '{mark}': save the table with commas, or put a "
            f"first line 'sep={mark}' in front"
        )
    if "," in only:
        return "its lines are in quotes as a whole: take these quotes off"
    names = [spelling_key(field) for field in fields]
    if any(name.strip("'`\u2018\u2019\u201c\u201d") in absent for name in names):
        return 'quotes must be ", or left out'
    renamed = {needed: _alike(needed, names) for needed in absent}
    if any(renamed.values()):
        words = [f"'{escaped(name)}' to '{needed}'" for needed, name in renamed.items() if name]
        return f"rename {', '.join(words)}?"
    if any(Path(name).suffix in VIDEO_SUFFIXES for name in names):
        return "its first line is a clip: put a line 'path,label' before it"
    return "its first line must name the columns"


def _alike(needed: str, names: Sequence[str]) -> str | None:
    """Return the column that most likely is the needed one under another name."""
    plain = {re.sub(r"[\W_]+", "_", name): name for name in names}
    known = next((plain[name] for name in OTHER_NAMES.get(needed, ()) if name in plain), None)
    near = difflib.get_close_matches(needed, names, n=1)
    return near[0] if near else known


def _drop_missing(row: dict[str, str]) -> list[tuple[str, str]]:
    """Empty the cells of optional columns that stand for nothing; return them."""
    found = [
        (column, value)
        for column, value in row.items()
        if value
        and (column in OPTIONAL or column.startswith(TRAIT))
        and is_missing(value)
        and not (column in _NUMBERS and _is_number(value))
    ]
    row.update({column: "" for column, _ in found})
    return found


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _listed(row: dict[str, str], wanted: Wanted, names: NamesOnDisk, where: str) -> ListedClip:
    for needed in (*REQUIRED, *LABELS):
        if not row.get(needed, "-"):
            raise UserError(f"'{needed}' is empty")
    path = names.find(row["path"])
    folder = resolve_inside(wanted.root, path, wanted.follow_links).is_dir()
    first = _whole_number(row, "first_image")
    said = row.get("faces", "").lower()
    if said not in FACES:
        raise UserError(f"faces '{said}' is not one of detect, aligned")
    if not folder and (first is not None or FACES[said] != "detect"):
        raise UserError("first_image and faces: aligned are only for folders of images")
    file = row.get("frame_labels")
    values = row.get(FRAME_TARGETS)
    start, end = _seconds(row, "start_s"), _seconds(row, "end_s")
    if end is not None and end <= (start or 0.0):
        raise UserError(f"end_s {end} is not after start_s {start or 0.0}")
    targets = of_clip(row)
    if values:
        place = resolve_inside(wanted.root, names.find(values), wanted.follow_links)
        targets += (read_frame_targets(place),)
    return ListedClip(
        path=posixpath.normpath(path),
        label=row.get("label"),
        subject=row.get("subject") or None,
        split=_split(row.get("split", "")),
        fold=_whole_number(row, "fold"),
        group=row.get("group") or None,
        start_s=start,
        end_s=end,
        where=where,
        frames=(
            read_frame_names(resolve_inside(wanted.root, names.find(file), wanted.follow_links))
            if file
            else None
        ),
        images=Images(fps=wanted.fps, first=first) if folder else None,
        faces=(FACES[said] if said else wanted.faces) if folder else "detect",
        traits=tuple(
            (name.removeprefix(TRAIT), value)
            for name, value in sorted(row.items())
            if name.startswith(TRAIT) and name != TRAIT and value
        ),
        targets=targets,
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
        raise UserError(f"split {quoted(text)} is not one of {', '.join(SPLIT_NAMES)}")
    return SPLIT_NAMES[text.lower()]


def _whole_number(row: dict[str, str], column: str) -> int | None:
    text = row.get(column, "")
    if not text:
        return None
    try:
        return int(text)
    except ValueError:
        raise UserError(f"{column} '{text}' is not a whole number") from None
