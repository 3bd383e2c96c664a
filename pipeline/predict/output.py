"""Tables of predictions, one row per face and frame, written as they are computed.

A frame without a face has a row too, with `success` false and `face_id` -1: no frame is missing.
`complete` is true in every row but the last one of a table that ends early.
"""

from __future__ import annotations

import csv
import json
import math
import os
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.common.files import FULL, remove, writing_to
from arpgnet.pipeline.predict.display import Display
from arpgnet.pipeline.predict.formats import Format, openface, plain, pyfeat
from arpgnet.pipeline.predict.rows import ByFrame, Row, TableHeader

if TYPE_CHECKING:
    # torch, which a reader of names need not wait for
    from arpgnet.pipeline.predict.likeness import Likeness

# rows of a row group, and of what is lost when the process is killed
GROUP_ROWS = 2048


class Table(Protocol):
    """A file that rows are added to."""

    def add(self, row: Row) -> None: ...

    def close(self, complete: bool) -> None:
        """Finish the file, and mark it where rows are missing; without a row that could be marked,
        remove it."""
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
        self._any = False

    @abstractmethod
    def _line(self, row: Any, complete: bool) -> None:
        """Write the line of a row."""

    def _write(self, row: Any) -> None:
        start = self._lines.end
        with writing_to(self._path.parent):
            self._line(row, True)
        self._recent.append((start, row))
        self._any = True

    def close(self, complete: bool) -> None:
        with writing_to(self._path.parent), closing(self._lines):
            if not complete:
                self._mark()
        if not complete and not self._any:
            remove(self._path)

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


INTERVAL_COLUMNS = ("face_id", "start_s", "end_s", "duration_s", "label")


@dataclass
class _Interval:
    start_s: float
    total: float = 0.0
    frames: int = 0


class IntervalTable(TextTable):
    """One row per face and stretch of frames with the same most probable class, or in which an
    action unit is present, as ELAN, Praat and BORIS import it.

    A stretch ends where that is no longer so, or the face is not seen; a frame lasts until the next
    one. Rows are in the file as soon as they end. Where several tasks have stretches, a column
    names the task.
    """

    def __init__(self, path: Path, head: TableHeader) -> None:
        super().__init__(path, head)
        self._writer = csv.writer(self._lines, lineterminator="\n")
        tasks = [display for display in head.tasks if display.says_when]
        self._several = len(tasks) > 1
        columns = [*INTERVAL_COLUMNS, _mean_name(tasks), "complete"]
        if self._several:
            columns.insert(columns.index("label"), "task")
        self._writer.writerow(columns)
        # by face, task and output
        self._open: dict[tuple[int, str, str], _Interval] = {}
        self._frames = ByFrame(self._add_frame)
        self._end_s = 0.0

    def add(self, row: Row) -> None:
        # a frame without a row here is an answer too
        self._any = True
        self._frames.add(row)

    def close(self, complete: bool) -> None:
        self._frames.end()
        for key in list(self._open):
            self._end(key, self._end_s)
        super().close(complete)

    def _add_frame(self, rows: list[Row], frame_s: float) -> None:
        time_s = rows[0].time_s
        seen = {
            (row.face_id, display.kind, display.names[label]): float(values[label])
            for row in rows
            for display, values in self._head.values(row)
            if values is not None and display.says_when
            for label in display.marked(values)
        }
        for key in list(self._open):
            if key not in seen:
                self._end(key, time_s)
        for key, value in seen.items():
            one = self._open.setdefault(key, _Interval(time_s))
            one.total += value
            one.frames += 1
        self._end_s = time_s + frame_s

    def _end(self, key: tuple[int, str, str], end_s: float) -> None:
        one, (face, task, label) = self._open.pop(key), key
        numbers = (one.start_s, end_s, end_s - one.start_s)
        row = [face, *(round(value, 6) for value in numbers)]
        what = [task, label] if self._several else [label]
        self._write([*row, *what, round(one.total / one.frames, 6)])

    def _line(self, row: list[Any], complete: bool) -> None:
        self._writer.writerow([*row, complete])


def _mean_name(tasks: Sequence[Display]) -> str:
    """Name the column of means by what they are: probabilities, intensities, or one or the
    other."""
    levels = [display.kind == "intensity" for display in tasks]
    return "mean_intensity" if all(levels) else "mean_value" if any(levels) else "mean_p"


class ParquetTable:
    """`GROUP_ROWS` rows per row group; `complete` and the classes in the file's metadata."""

    def __init__(self, path: Path, head: TableHeader) -> None:
        self._head, self._path = head, path
        self._schema = _schema(head)
        # an open file: pyarrow takes some names for addresses, and all for UTF-8
        self._file = pa.OSFile(os.fsencode(path), "wb")
        self._writer = pq.ParquetWriter(self._file, self._schema, compression="zstd")
        self._waiting: list[dict[str, Any]] = []
        self._any = False

    def add(self, row: Row) -> None:
        # the last row waits for `close`
        if len(self._waiting) >= GROUP_ROWS:
            self._flush()
        self._waiting.append(plain(row, self._head))
        self._any = True

    def close(self, complete: bool) -> None:
        if not complete and not self._any:
            self.discard()
            return
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
                        "scale": self._head.display.scale,
                        **_domain(self._head.likeness),
                        **_tasks(self._head),
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


def _tasks(head: TableHeader) -> dict[str, str]:
    """Return the metadata about the main task's thresholds, in the order of the classes, and about
    further tasks; none where there are none."""
    thresholds = list(head.thresholds)
    also = [display.metadata for display in head.also]
    return {
        **({"thresholds": json.dumps(thresholds)} if thresholds else {}),
        **({"also": json.dumps(also, ensure_ascii=False)} if also else {}),
    }


def _schema(head: TableHeader) -> pa.Schema:
    kinds = {
        "video": pa.string(), "label": pa.string(), "frame": pa.int32(), "face_id": pa.int32(),
        "time_s": pa.float64(), "success": pa.bool_(), "complete": pa.bool_(),
    }  # fmt: skip
    names = plain(Row(0, 0.0), head)
    return pa.schema([(name, kinds.get(name, pa.float32())) for name in names])


def _rounded(value: Any) -> Any:
    # six decimals: of a pixel, a second and a probability
    return round(value, 6) if isinstance(value, float) else value


def as_text(value: Any) -> Any:
    """Return a csv cell: six decimals, nothing where a number is unknown."""
    if isinstance(value, float):
        return "" if math.isnan(value) else _rounded(value)
    return value
