"""The columns that each format of a table has.

Sources of the two formats of other tools:
  openface: OpenFace 2.2, Baltrusaitis et al., FG 2018; its wiki, "Output Format"
  pyfeat: the columns of a `Fex`, Cheong et al., doi 10.1007/s42761-023-00191-4
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from arpgnet.pipeline.geometry.pose import UNKNOWN
from arpgnet.pipeline.geometry.quality import Quality
from arpgnet.pipeline.predict.display import Display
from arpgnet.pipeline.predict.rows import NAN, Row, TableHeader
from arpgnet.pipeline.tables.facs import PRESENT, unit_of
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


def formats_of(kinds: Iterable[str]) -> tuple[Format, ...]:
    """Return the formats that predictions of some tasks have: `intervals` needs one of which
    something is present or not."""
    some = any(kind == EXPRESSION or kind in PRESENT for kind in kinds)
    return tuple(form for form in FORMATS if some or form != "intervals")


def beside(table: Path, suffix: str) -> Path:
    """Return the path of another file of the same video."""
    own = max((one for one in SUFFIX.values() if table.name.endswith(one)), key=len, default="")
    return table.with_name(table.name.removesuffix(own) + suffix)


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
    action units `AU12_c` (1: present, from a probability of 0.5 or the run's threshold on) or
    `AU12_r` (0 to 5).

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
        **_openface_predicted(row, head),
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
        **_pyfeat_predicted(row, head),
        "Identity": f"Person_{row.face_id}" if row.success else "",
        "input": head.video,
        "complete": complete,
    }


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


def _tasks(row: Row, head: TableHeader) -> Iterator[tuple[Display, dict[str, float]]]:
    """Yield each task with its outputs by name, the main one first."""
    for display, values in head.values(row):
        found = [NAN] * len(display.names) if values is None else values.tolist()
        yield display, dict(zip(display.names, found, strict=True))


def _predicted(row: Row, head: TableHeader) -> dict[str, Any]:
    """Return a column for each class and the most probable one, or one for each target."""
    columns: dict[str, Any] = {}
    for display, values in _tasks(row, head):
        columns |= _classes(values) if display.of_classes else values
    return columns


def _classes(values: Mapping[str, float]) -> dict[str, Any]:
    return {**{f"p_{name}": value for name, value in values.items()}, "label": _label(values)}


def _openface_predicted(row: Row, head: TableHeader) -> dict[str, Any]:
    columns: dict[str, Any] = {}
    for display, values in _tasks(row, head):
        columns |= _classes(values) if display.of_classes else _openface_targets(display, values)
    return columns


def _pyfeat_predicted(row: Row, head: TableHeader) -> dict[str, float]:
    """A unit has one column: of its presence and its intensity the task that comes first."""
    columns: dict[str, float] = {}
    for _, values in _tasks(row, head):
        for name, value in values.items():
            columns.setdefault(_pyfeat_name(name), value)
    return columns


def _openface_targets(display: Display, values: Mapping[str, float]) -> dict[str, float]:
    columns = {}
    present = set(display.marked(np.array(list(values.values()))))
    for number, (name, value) in enumerate(values.items()):
        unit = unit_of(name)
        if unit is None:
            columns[name] = value
        elif unit[1]:
            columns[f"AU{unit[0]:02d}_r"] = value
        else:
            there = value if math.isnan(value) else float(number in present)
            columns[f"AU{unit[0]:02d}_c"] = there
    return columns


def _pyfeat_name(name: str) -> str:
    unit = unit_of(name)
    return f"AU{unit[0]:02d}" if unit else name


def _label(values: Mapping[str, float]) -> str:
    """Return the most probable class, the first of equal ones; empty without a prediction."""
    return "" if any(map(math.isnan, values.values())) else max(values, key=lambda one: values[one])


def _points(row: Row, head: TableHeader) -> dict[str, float]:
    points = np.full((head.points, 2), NAN) if row.points is None else row.points
    return {
        f"{axis}_{number}": float(value)
        for axis, column in zip("xy", points.T, strict=True)
        for number, value in enumerate(column)
    }
