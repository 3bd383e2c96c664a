"""The manifest: one `Clip` a video, how it is split, and how its path is made safe.

Three files are written by the ingest stage and read by all later ones: the manifest
(what the clips are), the splits (which fold uses a clip for what) and the frame labels
(for tasks labeled frame by frame). None holds an absolute path or a time of day, so
equal data gives equal bytes on every machine.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path, PurePosixPath
from types import NoneType
from typing import Any, get_args, get_type_hints

import pyarrow as pa
import pyarrow.json

from arpgnet.pipeline.common.dvc_cache import in_dvc_cache
from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.tables.parquet import open_parquet, write_parquet

MANIFEST = Path("data/manifest.parquet")
SPLITS = Path("data/splits.parquet")
FRAME_LABELS = Path("data/frame_labels.parquet")

METADATA_KEY = b"arpgnet"

OK = "ok"
QUARANTINED = "quarantined"


@dataclass(frozen=True)
class Clip:
    """One labeled face video, or one part of a video when `start_s`/`end_s` are set.

    `path` is POSIX and relative to the root of its `corpus`; times are seconds after the first
    frame; `sha256` is that of the whole file (empty when it could not be read).

    An `image_sequence` is a folder of images: `sha256` is that of all of them, `fps` their rate and
    `first_image` the number in the name of the video's first frame (None: they follow one another
    without gaps). `faces` is `detect`, or how the data set says where the face is: `aligned`, the
    images are faces that were cut out already; `landmarks`, by 68 points per image in the folder
    `landmarks`. `person` is which of two people is meant, by place in the image: left or right.
    `traits` is what the data set says of the subject (gender, age), as sorted JSON or None.
    """

    clip_id: str
    path: str
    sha256: str
    label: str | None = None
    label_index: int | None = None
    subject: str | None = None
    group: str | None = None
    split: str | None = None
    fold: int | None = None
    start_s: float | None = None
    end_s: float | None = None
    fps: float | None = None
    frames: int | None = None
    duration_s: float | None = None
    width: int | None = None
    height: int | None = None
    corpus: str = ""
    image_sequence: bool = False
    first_image: int | None = None
    faces: str = "detect"
    landmarks: str | None = None
    person: str | None = None
    traits: str | None = None
    status: str = OK
    reason: str | None = None

    @property
    def trait_values(self) -> dict[str, str]:
        """Trait -> value; empty where nothing is said."""
        values: dict[str, str] = json.loads(self.traits or "{}")
        return values


@dataclass(frozen=True)
class Manifest:
    """The clips in manifest order, and the class names in label order."""

    clips: list[Clip]
    classes: list[str]
    dataset: str
    notes: dict[str, Any] = field(default_factory=dict)

    @property
    def adapters(self) -> set[str]:
        """Those that listed the clips; of the demo alone, all faces are rendered."""
        return {one["adapter"] for one in self.notes.get("sets", [])} or {self.dataset}


_COLUMN_TYPES = {str: pa.string(), int: pa.int32(), float: pa.float64(), bool: pa.bool_()}


def schema_of(row: type) -> pa.Schema:
    """Make a column of each field of a dataclass; it may be null where the field may be None."""
    columns = []
    for name, hint in get_type_hints(row).items():
        kinds = set(get_args(hint) or (hint,))
        (kind,) = kinds - {NoneType}
        columns.append(pa.field(name, _COLUMN_TYPES[kind], nullable=NoneType in kinds))
    return pa.schema(columns)


MANIFEST_SCHEMA = schema_of(Clip)

SPLITS_SCHEMA = pa.schema(
    [
        pa.field("clip_id", pa.string(), nullable=False),
        pa.field("fold", pa.int32(), nullable=False),
        pa.field("split", pa.string(), nullable=False),
    ]
)

FRAME_LABELS_SCHEMA = pa.schema(
    [
        pa.field("clip_id", pa.string(), nullable=False),
        pa.field("frame_index", pa.int32(), nullable=False),
        pa.field("label_index", pa.int32(), nullable=False),
    ]
)


def write_manifest(
    clips: Sequence[Clip],
    path: Path = MANIFEST,
    *,
    classes: list[str],
    dataset: str,
    notes: dict[str, Any] | None = None,
) -> None:
    """Write the manifest; equal arguments give equal bytes.

    Raises:
        ValueError: two clips have the same `clip_id`, or a status is neither of the two.
    """
    ids = {clip.clip_id for clip in clips}
    if len(ids) != len(clips):
        raise ValueError("clip_id must be unique in the manifest")
    strange = {clip.status for clip in clips} - {OK, QUARANTINED}
    if strange:
        raise ValueError(f"unknown clip status: {sorted(strange)}")
    metadata = {"classes": classes, "dataset": dataset, "notes": notes or {}}
    schema = with_json_metadata(MANIFEST_SCHEMA, metadata)
    write_table(table_of([asdict(clip) for clip in clips], schema), path)


def read_manifest(path: Path = MANIFEST) -> Manifest:
    """Read what `write_manifest` wrote.

    Raises:
        UserError: the file is absent or is not a manifest.
    """
    table = _read(path, MANIFEST_SCHEMA, "manifest")
    metadata = read_json_metadata(table.schema)
    names = [item.name for item in fields(Clip)]
    columns = [table.column(name).to_pylist() for name in names]
    clips = [Clip(*row) for row in zip(*columns, strict=True)]
    return Manifest(clips, metadata["classes"], metadata["dataset"], metadata["notes"])


def read_splits(path: Path = SPLITS) -> pa.Table:
    """Return the table of `SPLITS_SCHEMA`: every clip at most once in every fold.

    Raises:
        UserError: the file is absent or has other columns.
    """
    return _read(path, SPLITS_SCHEMA, "table of splits")


def read_frame_label_table(path: Path = FRAME_LABELS) -> pa.Table:
    """Return the table of `FRAME_LABELS_SCHEMA`; empty where clips, not frames, are labeled.

    Raises:
        UserError: the file is absent or has other columns.
    """
    return _read(path, FRAME_LABELS_SCHEMA, "table of frame labels")


def with_json_metadata(schema: pa.Schema, metadata: dict[str, Any]) -> pa.Schema:
    """Put `metadata` as sorted JSON into the schema's metadata."""
    text = json.dumps(metadata, sort_keys=True, ensure_ascii=False, allow_nan=False)
    return schema.with_metadata({METADATA_KEY: text.encode()})


def read_json_metadata(schema: pa.Schema) -> dict[str, Any]:
    """Read what `with_json_metadata` put into a schema; empty when there is none."""
    metadata: dict[str, Any] = json.loads((schema.metadata or {}).get(METADATA_KEY, b"{}"))
    return metadata


def table_of(rows: Sequence[dict[str, Any]], schema: pa.Schema) -> pa.Table:
    """Return a table from plain rows; a key that is left out is null.

    `pa.Table.from_pylist` would import pandas, which takes longer than all else that a
    stage with nothing to do does.
    """
    if not rows:
        return schema.empty_table()
    lines = "\n".join(json.dumps(row, ensure_ascii=False, allow_nan=False) for row in rows)
    text = lines.encode()
    table = pyarrow.json.read_json(
        pa.BufferReader(text),
        # one block: a row may not be longer than a block
        read_options=pyarrow.json.ReadOptions(use_threads=False, block_size=len(text) + 1),
        parse_options=pyarrow.json.ParseOptions(
            explicit_schema=schema.remove_metadata(), unexpected_field_behavior="error"
        ),
    )
    # the reader forgets which columns may be null
    return pa.Table.from_arrays(table.columns, schema=schema)


def write_table(table: pa.Table, path: Path) -> None:
    """Write one small Parquet file with deterministic bytes, making its folder.

    Raises:
        UserError: the disk is full, or the folder may not be written.
    """
    write_parquet(table, path, compression="zstd", use_dictionary=False, write_statistics=False)


def resolve_inside(root: Path, relative: str, follow_links: bool = False) -> Path:
    """Join a manifest's path to the data set's root; the result lies inside the root.

    Symbolic links are followed before the check, so a link that leaves the root is refused, unless
    the user allows it (`dataset.follow_links`) or DVC made it: a link inside the root to a file in
    DVC's cache (`cache.type symlink`).

    Raises:
        UserError: the path is empty, absolute, climbs with "..", or leads out of the root.
    """
    pure = PurePosixPath(relative)
    if not relative or pure.is_absolute() or ".." in pure.parts or "\0" in relative:
        raise UserError(
            f"path {relative!r} must be relative to the data set's root and without '..': fix it"
        )
    base = root.resolve()
    try:
        full = (base / pure).resolve()
    except (OSError, RuntimeError):
        return base / pure  # links in a circle: whoever opens it finds no file
    if full.is_relative_to(base) and full != base:
        return full
    from_dvc = (base / pure).parent.resolve().is_relative_to(base) and in_dvc_cache(full, base)
    if full == base or not (follow_links or from_dvc):
        raise UserError(
            f"path {relative!r} is a link that leads out of the data set's root: set "
            "dataset.follow_links=true if that is intended, or copy the file into the root"
        )
    # a file of a cache has no suffix, its link has
    return base / pure


def _read(path: Path, schema: pa.Schema, what: str) -> pa.Table:
    try:
        table = open_parquet(path).read()
    except FileNotFoundError:
        raise UserError(f"{path} not found: run `dvc repro ingest` first") from None
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{path} cannot be read ({error}): run `dvc repro ingest`") from None
    if not table.schema.equals(schema):
        raise UserError(f"{path} is not a {what} of this version: run `dvc repro ingest`")
    return table
