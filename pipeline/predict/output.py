"""Tables of predictions, one row per face and frame, written as they are computed.

A frame without a face has a row too, with `success` false and `face_id` -1: no frame is missing.

Sources of the two formats of other tools:
  openface: OpenFace 2.2, Baltrusaitis et al., FG 2018; its wiki, "Output Format"
  pyfeat: the columns of a `Fex`, Cheong et al., doi 10.1007/s42761-023-00191-4
"""

from __future__ import annotations

import csv
import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, get_args

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.common.files import FULL, remove, writing_to

if TYPE_CHECKING:
    # torch, which a reader of names need not wait for
    from arpgnet.pipeline.predict.likeness import Likeness

Format = Literal["parquet", "csv", "jsonl", "openface", "pyfeat", "intervals"]
FORMATS: tuple[Format, ...] = get_args(Format)
# no two formats share one: neither replaces the other
SUFFIX: dict[Format, str] = {
    "parquet": ".parquet", "csv": ".csv", "jsonl": ".jsonl",
    "openface": ".openface.csv", "pyfeat": ".pyfeat.csv", "intervals": ".intervals.csv",
}  # fmt: skip
# formats whose users expect landmarks
WITH_LANDMARKS = frozenset({"openface", "pyfeat"})
INCOMPLETE = "# complete=false"
# rows of a row group, and of what is lost when the process is killed
GROUP_ROWS = 2048
NAN = float("nan")


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
    nearest frame that was shown to the network.
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
        likeness: how unlike the training clips its faces are; known at the end.
    """

    video: str
    classes: Sequence[str]
    points: int
    window_s: float = NAN
    stride_s: float = NAN
    warning: str = ""
    likeness: Likeness | None = None


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


def plain(row: Row, head: TableHeader) -> dict[str, Any]:
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
        **{f"p_{name}": value for name, value in _classes(row, head).items()},
        "label": _label(row, head),
        "coverage": row.coverage if row.success else NAN,
        "window_s": head.window_s,
        "stride_s": head.stride_s,
        **_points(row, head),
    }


def openface(row: Row, head: TableHeader) -> dict[str, Any]:
    """Return OpenFace's columns: frames from 1, all x_ before all y_ in pixels, then classes."""
    return {
        "frame": row.frame + 1,
        "face_id": max(row.face_id, 0),
        "timestamp": row.time_s,
        "confidence": row.confidence,
        "success": int(row.success),
        **_points(row, head),
        **{f"p_{name}": value for name, value in _classes(row, head).items()},
        "label": _label(row, head),
    }


def pyfeat(row: Row, head: TableHeader) -> dict[str, Any]:
    """Return the columns of a Fex: classes by their plain names, of which Py-Feat knows seven."""
    x1, y1, x2, y2 = _box(row)
    return {
        "frame": row.frame,
        "approx_time": row.time_s,
        "FaceRectX": x1,
        "FaceRectY": y1,
        "FaceRectWidth": x2 - x1,
        "FaceRectHeight": y2 - y1,
        "FaceScore": row.confidence if row.success else NAN,
        **_points(row, head),
        **_classes(row, head),
        "Identity": f"Person_{row.face_id}" if row.success else "",
        "input": head.video,
    }


class Lines:
    """A text file that is written line by line, without a buffer.

    A line that does not fit on a full disk is removed whole, and the one before it is replaced by
    the mark of an incomplete table.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb", buffering=0)
        # of the last line, and of the one before
        self._end = self._earlier = 0

    def write(self, line: str) -> None:
        """Write one whole line, including its end."""
        left = memoryview(line.encode())
        try:
            while left:
                left = left[self._file.write(left) :]
        except OSError:
            # the first line may be a table's head, which must stay
            self._end = self._earlier or self._end
            self._file.truncate(self._end)
            self._file.seek(self._end)
            raise
        self._earlier, self._end = self._end, self._file.tell()

    def close(self, mark: str | None) -> None:
        """Write a last line, if any, and close the file."""
        with self._file:
            if mark is not None:
                self.write(mark)


class TextTable:
    """A table in a text file, whose last line says where rows are missing."""

    incomplete = INCOMPLETE

    def __init__(self, path: Path, head: TableHeader) -> None:
        self._head, self._path = head, path
        self._lines = Lines(path)

    def close(self, complete: bool) -> None:
        with writing_to(self._path.parent):
            self._lines.close(None if complete else f"{self.incomplete}\n")

    def discard(self) -> None:
        with suppress(UserError):
            self.close(complete=False)


class CsvTable(TextTable):
    """Comma-separated values with a decimal point; unknown numbers are empty. A row is in the file
    as soon as it is known."""

    def __init__(self, path: Path, head: TableHeader, form: Any) -> None:
        super().__init__(path, head)
        self._form = form
        columns = list(form(Row(0, 0.0), head))
        self._writer = csv.DictWriter(self._lines, columns, lineterminator="\n")
        self._writer.writeheader()

    def add(self, row: Row) -> None:
        with writing_to(self._path.parent):
            values = self._form(row, self._head)
            self._writer.writerow({key: as_text(value) for key, value in values.items()})


class JsonTable(TextTable):
    """One JSON object per line, null for unknown values; a last line {"complete": false} if rows
    are missing."""

    incomplete = '{"complete": false}'

    def add(self, row: Row) -> None:
        values = {
            key: None if isinstance(value, float) and math.isnan(value) else _rounded(value)
            for key, value in plain(row, self._head).items()
        }
        with writing_to(self._path.parent):
            self._lines.write(json.dumps(values, ensure_ascii=False) + "\n")


INTERVAL_COLUMNS = ("face_id", "start_s", "end_s", "duration_s", "label", "mean_p")


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
        self._seen: dict[int, tuple[int, float]] = {}
        self._frame, self._time_s, self._frame_s = -1, 0.0, 0.0

    def add(self, row: Row) -> None:
        if row.frame != self._frame:
            self._end_frame()
            if self._frame >= 0:
                self._frame_s = row.time_s - self._time_s
            self._frame, self._time_s, self._seen = row.frame, row.time_s, {}
        if row.success and row.probabilities is not None:
            label = int(row.probabilities.argmax())
            self._seen[row.face_id] = label, float(row.probabilities[label])

    def close(self, complete: bool) -> None:
        self._end_frame()
        # as long as the frame before
        end_s = self._time_s + self._frame_s
        for face in list(self._open):
            self._end(face, end_s)
        super().close(complete)

    def _end_frame(self) -> None:
        for face in list(self._open):
            if face not in self._seen or self._seen[face][0] != self._open[face].label:
                self._end(face, self._time_s)
        for face, (label, probability) in self._seen.items():
            one = self._open.setdefault(face, _Interval(self._time_s, label))
            one.total += probability
            one.frames += 1

    def _end(self, face: int, end_s: float) -> None:
        one = self._open.pop(face)
        numbers = (one.start_s, end_s, end_s - one.start_s)
        row = [face, *(round(value, 6) for value in numbers), self._head.classes[one.label]]
        with writing_to(self._path.parent):
            self._writer.writerow([*row, round(one.total / one.frames, 6)])


class ParquetTable:
    """`GROUP_ROWS` rows per row group; `complete` and the classes in the file's metadata."""

    def __init__(self, path: Path, head: TableHeader) -> None:
        self._head, self._path = head, path
        self._schema = _schema(head)
        # an open file: pyarrow takes some names for addresses, and all for UTF-8
        self._file = pa.OSFile(os.fsencode(path), "wb")
        self._writer = pq.ParquetWriter(self._file, self._schema, compression="zstd")
        self._waiting: list[Mapping[str, Any]] = []

    def add(self, row: Row) -> None:
        self._waiting.append(plain(row, self._head))
        if len(self._waiting) >= GROUP_ROWS:
            self._flush()

    def close(self, complete: bool) -> None:
        try:
            if self._waiting:
                self._flush()
            with writing_to(self._path.parent):
                self._writer.add_key_value_metadata(
                    {
                        "complete": "true" if complete else "false",
                        "classes": json.dumps(list(self._head.classes), ensure_ascii=False),
                        "window_s": str(self._head.window_s),
                        "stride_s": str(self._head.stride_s),
                        "warning": self._head.warning,
                        **_domain(self._head.likeness),
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


def _domain(likeness: Likeness | None) -> dict[str, str]:
    """Return the metadata about the training domain, empty where it is unknown."""
    if likeness is None or likeness.percentile is None:
        return {"domain_percentile": "", "domain_beyond": "", "domain_warning": ""}
    return {
        "domain_percentile": f"{likeness.percentile:.6f}",
        "domain_beyond": f"{likeness.beyond:.6f}",
        "domain_warning": likeness.warning,
    }


def _schema(head: TableHeader) -> pa.Schema:
    kinds = {
        "video": pa.string(), "label": pa.string(), "frame": pa.int32(), "face_id": pa.int32(),
        "time_s": pa.float64(), "success": pa.bool_(),
    }  # fmt: skip
    names = plain(Row(0, 0.0), head)
    return pa.schema([(name, kinds.get(name, pa.float32())) for name in names])


def _box(row: Row) -> list[float]:
    return [NAN] * 4 if row.box is None else [float(value) for value in row.box]


def _classes(row: Row, head: TableHeader) -> dict[str, float]:
    values = [NAN] * len(head.classes) if row.probabilities is None else row.probabilities.tolist()
    return dict(zip(head.classes, values, strict=True))


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
