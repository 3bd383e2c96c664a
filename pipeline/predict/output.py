"""Tables of predictions, one row per face and frame, written as they are computed.

A frame without a face has a row too, with `success` false and `face_id` -1: no frame is missing.
`complete` is true in every row but the last one of a table that ends early.

Sources of the two formats of other tools:
  openface: OpenFace 2.2, Baltrusaitis et al., FG 2018; its wiki, "Output Format"
  pyfeat: the columns of a `Fex`, Cheong et al., doi 10.1007/s42761-023-00191-4
"""

from __future__ import annotations

import csv
import json
import math
import os
import re
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, get_args

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.common.files import FULL, remove, writing_to
from arpgnet.pipeline.geometry.pose import UNKNOWN, HeadPose
from arpgnet.pipeline.geometry.quality import Quality
from arpgnet.pipeline.predict.by_frame import ByFrame
from arpgnet.pipeline.tables.predictions import EXPRESSION

Format = Literal["parquet", "csv", "jsonl", "openface", "pyfeat", "intervals"]
FORMATS: tuple[Format, ...] = get_args(Format)
# no two formats share one: neither replaces the other
SUFFIX: dict[Format, str] = {
    "parquet": ".parquet", "csv": ".csv", "jsonl": ".jsonl",
    "openface": ".openface.csv", "pyfeat": ".pyfeat.csv", "intervals": ".intervals.csv",
}  # fmt: skip
# formats whose users expect landmarks
WITH_LANDMARKS = frozenset({"openface", "pyfeat"})
# rows of a row group, and of what is lost when the process is killed
GROUP_ROWS = 2048
NAN = float("nan")
# probability from which on an action unit counts as present
PRESENT = 0.5


@dataclass(frozen=True)
class Regions:
    """What the network attends to in a face.

    Attributes:
        where: the regions' centers, float [N, 2], as a fraction of the face's box from its upper
            left corner.
        times_uniform: float [N], attention divided by uniform attention over the same graph; NaN
            for a region that is not visible.
    """

    where: np.ndarray
    times_uniform: np.ndarray


@dataclass(frozen=True)
class Row:
    """A face in a frame; for a frame without a face, `face_id` is -1 and the rest is empty.

    Shapes: box float [4], probabilities float [K] or None if no window has shown the face,
    points float [P, 2] in pixels of the video or None. `regions`, if requested, is that of the
    nearest frame that was shown to the network. `pose` and `quality` are None if not known.
    `blurred`, float [n, 4], are the boxes of everybody in the frame, if nobody may be recognized in
    its image.
    """

    frame: int
    time_s: float
    face_id: int = -1
    box: np.ndarray | None = None
    confidence: float = 0.0
    probabilities: np.ndarray | None = None
    coverage: float = 0.0
    points: np.ndarray | None = None
    regions: Regions | None = None
    pose: HeadPose | None = None
    quality: Quality | None = None
    blurred: np.ndarray | None = None

    @property
    def success(self) -> bool:
        return self.box is not None


@dataclass(frozen=True)
class TableHeader:
    """Properties of a whole table.

    Attributes:
        video: its name in the table.
        classes: K names.
        points: P landmarks per face; 0: none.
        window_s, stride_s: duration of what is classified together, and from one such window to the
            next (0: one window alone), seconds.
        warning: what the reader must know of the network.
        kind: the task; of others than expressions, `classes` are the names of targets, and
            probabilities their values.
        scale: what the values of targets mean.
    """

    video: str
    classes: Sequence[str]
    points: int
    window_s: float = NAN
    stride_s: float = NAN
    warning: str = ""
    kind: str = EXPRESSION
    scale: str = ""

    @property
    def of_classes(self) -> bool:
        """Whether one of the classes is the most probable."""
        return self.kind == EXPRESSION


def beside(table: Path, suffix: str) -> Path:
    """Return the path of another file of the same video."""
    own = max((one for one in SUFFIX.values() if table.name.endswith(one)), key=len, default="")
    return table.with_name(table.name.removesuffix(own) + suffix)


class Table(Protocol):
    """A file that rows are added to."""

    def add(self, row: Row) -> None: ...

    def close(self, complete: bool) -> None:
        """Finish the file, and mark it where rows are missing."""
        ...

    def discard(self) -> None:
        """End the file after a fault, such as a full disk: keep what can be read and is marked,
        remove the rest."""
        ...


@contextmanager
def closed_after_a_fault(table: Table) -> Iterator[None]:
    """End a table well-formed if what fills it fails; if it succeeds, the caller closes it."""
    try:
        yield
    except UserError:
        # a full disk: the next video needs the space
        table.discard()
        raise
    except BaseException:
        table.close(complete=False)
        raise


class Tee:
    """Writes the same rows to several tables."""

    def __init__(self, tables: Sequence[Table]) -> None:
        self._tables = list(tables)

    def append(self, table: Table) -> None:
        """Write the coming rows to another table too."""
        self._tables.append(table)

    def add(self, row: Row) -> None:
        for table in self._tables:
            table.add(row)

    def close(self, complete: bool) -> None:
        """Close every table, even if closing another one fails."""
        with ExitStack() as stack:
            for table in self._tables:
                stack.callback(table.close, complete)

    def discard(self) -> None:
        # the last one first: a line of a table needs the space that the others had
        for table in reversed(self._tables):
            table.discard()


def open_table(path: Path, form: Format, head: TableHeader) -> Table:
    """Open a new table; an existing one is replaced.

    Raises:
        UserError: the file cannot be written; none is left.
    """
    with writing_to(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            if form == "parquet":
                return ParquetTable(path, head)
            if form == "jsonl":
                return JsonTable(path, head)
            if form == "intervals":
                return IntervalTable(path, head)
            return CsvTable(path, head, {"openface": openface, "pyfeat": pyfeat}.get(form, plain))
        except OSError as error:
            if error.errno in FULL:
                remove(path)
            raise


def plain(row: Row, head: TableHeader, complete: bool = True) -> dict[str, Any]:
    """Return the columns of Parquet, CSV and JSON lines."""
    corners = dict(zip(("x1", "y1", "x2", "y2"), _box(row), strict=True))
    return {
        "video": head.video,
        "frame": row.frame,
        "time_s": row.time_s,
        "face_id": row.face_id,
        **corners,
        "confidence": row.confidence,
        "success": row.success,
        **_predicted(row, head),
        "coverage": row.coverage if row.success else NAN,
        "window_s": head.window_s,
        "stride_s": head.stride_s,
        **angles(row),
        **quality(row),
        "complete": complete,
        **_points(row, head),
    }


def openface(row: Row, head: TableHeader, complete: bool = True) -> dict[str, Any]:
    """Return OpenFace's columns: frames from 1, all x_ before all y_ in pixels, then classes; of
    action units `AU12_c` (1: present, from a probability of 0.5 on) or `AU12_r` (0 to 5).

    `pose_T` in millimeters, z away from the camera; `pose_R` in radians relative to the camera's
    axes, `R = Rx Ry Rz`, positive down, to the image's left and clockwise.
    """
    pose = row.pose or UNKNOWN
    return {
        "frame": row.frame + 1,
        "face_id": max(row.face_id, 0),
        "timestamp": row.time_s,
        "confidence": row.confidence,
        "success": int(row.success),
        **{f"pose_T{axis}": float(value) for axis, value in zip("xyz", pose.position, strict=True)},
        **{f"pose_R{axis}": float(value) for axis, value in zip("xyz", pose.euler, strict=True)},
        **_points(row, head),
        **(_predicted(row, head) if head.of_classes else _openface_targets(row, head)),
        "complete": int(complete),
    }


def pyfeat(row: Row, head: TableHeader, complete: bool = True) -> dict[str, Any]:
    """Return the columns of a Fex: classes by their plain names, of which Py-Feat knows seven, and
    action units as `AU12`.

    `Pitch`, `Roll`, `Yaw` in radians, as since Py-Feat 0.7 (degrees before), relative to the
    camera's axes; positive up, clockwise and to the image's left, as its `convert_to_euler` has it.
    """
    x1, y1, x2, y2 = _box(row)
    rx, ry, rz = (float(value) for value in (row.pose or UNKNOWN).euler)
    return {
        "frame": row.frame,
        "approx_time": row.time_s,
        "FaceRectX": x1,
        "FaceRectY": y1,
        "FaceRectWidth": x2 - x1,
        "FaceRectHeight": y2 - y1,
        "FaceScore": row.confidence if row.success else NAN,
        **_points(row, head),
        "Pitch": -rx,
        "Roll": rz,
        "Yaw": ry,
        **{_pyfeat_name(name): value for name, value in _classes(row, head).items()},
        "Identity": f"Person_{row.face_id}" if row.success else "",
        "input": head.video,
        "complete": complete,
    }


class Lines:
    """A text file that is written line by line, without a buffer."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb", buffering=0)

    @property
    def end(self) -> int:
        return self._file.tell()

    def write(self, line: str) -> None:
        """Write one whole line, including its end; on a full disk nothing of it."""
        start = self.end
        left = memoryview(line.encode())
        try:
            while left:
                left = left[self._file.write(left) :]
        except OSError:
            self.cut(start)
            raise

    def cut(self, end: int) -> None:
        """Remove what comes after so many bytes."""
        self._file.truncate(end)
        self._file.seek(end)

    def close(self) -> None:
        self._file.close()


class TextTable(ABC):
    """A table in a text file; a row is in it as soon as it is known."""

    def __init__(self, path: Path, head: TableHeader) -> None:
        self._head, self._path = head, path
        self._lines = Lines(path)
        # the last two rows, and where their lines begin
        self._recent: deque[tuple[int, Any]] = deque(maxlen=2)

    @abstractmethod
    def _line(self, row: Any, complete: bool) -> None:
        """Write the line of a row."""

    def _write(self, row: Any) -> None:
        start = self._lines.end
        with writing_to(self._path.parent):
            self._line(row, True)
        self._recent.append((start, row))

    def close(self, complete: bool) -> None:
        with writing_to(self._path.parent), closing(self._lines):
            if not complete:
                self._mark()

    def discard(self) -> None:
        with suppress(UserError):
            self.close(complete=False)

    def _mark(self) -> None:
        """Write the last row again, as the last of an incomplete table; the one before it where a
        full disk has no space for that."""
        while self._recent:
            start, row = self._recent.pop()
            self._lines.cut(start)
            try:
                self._line(row, False)
                break
            except OSError:
                if not self._recent:
                    raise


class CsvTable(TextTable):
    """Comma-separated values with a decimal point; unknown numbers are empty."""

    def __init__(self, path: Path, head: TableHeader, form: Any) -> None:
        super().__init__(path, head)
        self._form = form
        columns = list(form(Row(0, 0.0), head))
        self._writer = csv.DictWriter(self._lines, columns, lineterminator="\n")
        self._writer.writeheader()

    def add(self, row: Row) -> None:
        self._write(row)

    def _line(self, row: Row, complete: bool) -> None:
        values = self._form(row, self._head, complete)
        self._writer.writerow({key: as_text(value) for key, value in values.items()})


class JsonTable(TextTable):
    """One JSON object per line, null for unknown values."""

    def add(self, row: Row) -> None:
        self._write(row)

    def _line(self, row: Row, complete: bool) -> None:
        values = {
            key: None if isinstance(value, float) and math.isnan(value) else _rounded(value)
            for key, value in plain(row, self._head, complete).items()
        }
        self._lines.write(json.dumps(values, ensure_ascii=False) + "\n")


INTERVAL_COLUMNS = ("face_id", "start_s", "end_s", "duration_s", "label", "mean_p", "complete")


@dataclass
class _Interval:
    start_s: float
    label: int
    total: float = 0.0
    frames: int = 0


class IntervalTable(TextTable):
    """One row per face and stretch of frames with the same most probable class, as ELAN, Praat and
    BORIS import it.

    A stretch ends where another class is more probable, or the face is not seen; a frame lasts
    until the next one. Rows are in the file as soon as they end.
    """

    def __init__(self, path: Path, head: TableHeader) -> None:
        super().__init__(path, head)
        self._writer = csv.writer(self._lines, lineterminator="\n")
        self._writer.writerow(INTERVAL_COLUMNS)
        self._open: dict[int, _Interval] = {}
        self._frames = ByFrame(self._add_frame)
        self._end_s = 0.0

    def add(self, row: Row) -> None:
        self._frames.add(row)

    def close(self, complete: bool) -> None:
        self._frames.end()
        for face in list(self._open):
            self._end(face, self._end_s)
        super().close(complete)

    def _add_frame(self, rows: list[Row], frame_s: float) -> None:
        time_s = rows[0].time_s
        seen = {
            row.face_id: (label := int(row.probabilities.argmax()), float(row.probabilities[label]))
            for row in rows
            if row.probabilities is not None
        }
        for face in list(self._open):
            if face not in seen or seen[face][0] != self._open[face].label:
                self._end(face, time_s)
        for face, (label, probability) in seen.items():
            one = self._open.setdefault(face, _Interval(time_s, label))
            one.total += probability
            one.frames += 1
        self._end_s = time_s + frame_s

    def _end(self, face: int, end_s: float) -> None:
        one = self._open.pop(face)
        numbers = (one.start_s, end_s, end_s - one.start_s)
        row = [face, *(round(value, 6) for value in numbers), self._head.classes[one.label]]
        self._write([*row, round(one.total / one.frames, 6)])

    def _line(self, row: list[Any], complete: bool) -> None:
        self._writer.writerow([*row, complete])


class ParquetTable:
    """`GROUP_ROWS` rows per row group; `complete` and the classes in the file's metadata."""

    def __init__(self, path: Path, head: TableHeader) -> None:
        self._head, self._path = head, path
        self._schema = _schema(head)
        # an open file: pyarrow takes some names for addresses, and all for UTF-8
        self._file = pa.OSFile(os.fsencode(path), "wb")
        self._writer = pq.ParquetWriter(self._file, self._schema, compression="zstd")
        self._waiting: list[dict[str, Any]] = []

    def add(self, row: Row) -> None:
        # the last row waits for `close`
        if len(self._waiting) >= GROUP_ROWS:
            self._flush()
        self._waiting.append(plain(row, self._head))

    def close(self, complete: bool) -> None:
        try:
            if self._waiting:
                self._waiting[-1]["complete"] = complete
                self._flush()
            with writing_to(self._path.parent):
                self._writer.add_key_value_metadata(
                    {
                        "complete": "true" if complete else "false",
                        "classes": json.dumps(list(self._head.classes), ensure_ascii=False),
                        "window_s": str(self._head.window_s),
                        "stride_s": str(self._head.stride_s),
                        "warning": self._head.warning,
                        "kind": self._head.kind,
                        "scale": self._head.scale,
                    }
                )
                self._writer.close()
                self._file.close()
        except UserError:
            self.discard()
            raise

    def discard(self) -> None:
        """Remove the file: without its end it cannot be read."""
        with suppress(OSError, pa.ArrowException):
            self._writer.close()
        with suppress(OSError, pa.ArrowException):
            self._file.close()
        remove(self._path)

    def _flush(self) -> None:
        columns = [
            pa.array([row[item.name] for row in self._waiting], item.type) for item in self._schema
        ]
        self._waiting = []
        with writing_to(self._path.parent):
            self._writer.write_table(pa.Table.from_arrays(columns, schema=self._schema))


def _schema(head: TableHeader) -> pa.Schema:
    kinds = {
        "video": pa.string(), "label": pa.string(), "frame": pa.int32(), "face_id": pa.int32(),
        "time_s": pa.float64(), "success": pa.bool_(), "complete": pa.bool_(),
    }  # fmt: skip
    names = plain(Row(0, 0.0), head)
    return pa.schema([(name, kinds.get(name, pa.float32())) for name in names])


def _box(row: Row) -> list[float]:
    return [NAN] * 4 if row.box is None else [float(value) for value in row.box]


def angles(row: Row) -> dict[str, float]:
    """Return yaw, pitch and roll in degrees, relative to the line of sight."""
    values = (row.pose or UNKNOWN).angles
    return dict(zip(("yaw", "pitch", "roll"), map(float, values), strict=True))


def quality(row: Row) -> dict[str, float]:
    """Return what is measured of the face's image, and its quality from 0 to 1."""
    found = row.quality or Quality(NAN, NAN, NAN, NAN)
    yaw, pitch, _ = (row.pose or UNKNOWN).angles
    return {**asdict(found), "quality": NAN if row.quality is None else found.score(yaw, pitch)}


def _classes(row: Row, head: TableHeader) -> dict[str, float]:
    values = [NAN] * len(head.classes) if row.probabilities is None else row.probabilities.tolist()
    return dict(zip(head.classes, values, strict=True))


def _predicted(row: Row, head: TableHeader) -> dict[str, Any]:
    """Return a column for each class and the most probable one, or one for each target."""
    values = _classes(row, head)
    if not head.of_classes:
        return dict(values)
    return {**{f"p_{name}": value for name, value in values.items()}, "label": _label(row, head)}


def _unit(name: str) -> tuple[int, bool] | None:
    """Return a target's number of the action unit, and whether it is its intensity."""
    found = re.fullmatch(r"au_(\d+)(_intensity)?", name)
    return (int(found[1]), found[2] is not None) if found else None


def _openface_targets(row: Row, head: TableHeader) -> dict[str, float]:
    columns = {}
    for name, value in _classes(row, head).items():
        unit = _unit(name)
        if unit is None:
            columns[name] = value
        elif unit[1]:
            columns[f"AU{unit[0]:02d}_r"] = value
        else:
            columns[f"AU{unit[0]:02d}_c"] = value if math.isnan(value) else float(value >= PRESENT)
    return columns


def _pyfeat_name(name: str) -> str:
    unit = _unit(name)
    return f"AU{unit[0]:02d}" if unit else name


def _label(row: Row, head: TableHeader) -> str:
    if row.probabilities is None:
        return ""
    return head.classes[int(row.probabilities.argmax())]


def _points(row: Row, head: TableHeader) -> dict[str, float]:
    points = np.full((head.points, 2), NAN) if row.points is None else row.points
    return {
        f"{axis}_{number}": float(value)
        for axis, column in zip("xy", points.T, strict=True)
        for number, value in enumerate(column)
    }


def _rounded(value: Any) -> Any:
    # six decimals: of a pixel, a second and a probability
    return round(value, 6) if isinstance(value, float) else value


def as_text(value: Any) -> Any:
    """Return a csv cell: six decimals, nothing where a number is unknown."""
    if isinstance(value, float):
        return "" if math.isnan(value) else _rounded(value)
    return value
