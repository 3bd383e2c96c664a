"""Tables, read back as their users read them."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from scipy.spatial.transform import Rotation

from arpgnet.pipeline.geometry.pose import HeadPose, rotation_of
from arpgnet.pipeline.geometry.quality import Quality
from arpgnet.pipeline.predict.output import SUFFIX, Format, Row, TableHeader, open_table

HEAD = TableHeader("a, b.mp4", ["anger", "neutral"], 2, 3.2, 0.2)
POSE = HeadPose(
    np.array([30.0, 20.0, -10.0]), rotation_of(0.0, 0.0, -45.0) @ rotation_of(30.0, 0.0, 0.0),
    np.array([1.0, -2.0, 700.0]),
)  # fmt: skip
ROWS = [
    Row(
        0, 0.0, 3, np.array([10.0, 20.0, 40.5, 60.0]), 0.875, np.array([0.25, 0.75]), 0.5,
        np.array([[11.0, 21.0], [12.0, 22.0]]), None, POSE, Quality(30.5, 20.0, 1.4, 0.9),
    ),
    Row(1, 0.04),
    Row(2, 0.08, 3, np.array([10.0, 20.0, 40.0, 60.0]), 0.5),
]  # fmt: skip


def write(folder: Path, form: Format, complete: bool = True) -> Path:
    path = folder / f"table{SUFFIX[form]}"
    table = open_table(path, form, HEAD)
    for row in ROWS:
        table.add(row)
    table.close(complete)
    return path


@pytest.mark.parametrize("form", ["csv", "parquet", "jsonl"])
def test_our_own_forms_say_the_same(tmp_path: Path, form: Format) -> None:
    read = {
        "csv": pd.read_csv,
        "parquet": pd.read_parquet,
        "jsonl": lambda path: pd.read_json(path, lines=True),
    }[form]
    table = read(write(tmp_path, form))
    assert list(table) == [
        *("video", "frame", "time_s", "face_id", "x1", "y1", "x2", "y2", "confidence", "success"),
        *("p_anger", "p_neutral", "label", "coverage", "window_s", "stride_s"),
        *("yaw", "pitch", "roll"),
        *("face_px", "interocular_px", "sharpness", "exposure", "quality"),
        *("x_0", "x_1", "y_0", "y_1"),
    ]
    assert table["video"].tolist() == ["a, b.mp4"] * 3
    assert table["window_s"].tolist() == pytest.approx([3.2] * 3)
    assert table["stride_s"].tolist() == pytest.approx([0.2] * 3)
    assert table["face_id"].tolist() == [3, -1, 3]
    assert table["success"].tolist() == [True, False, True]
    first = table.iloc[0]
    assert (first["x2"], first["p_neutral"], first["label"]) == (40.5, 0.75, "neutral")
    assert (first["x_1"], first["y_0"]) == (12.0, 21.0)
    assert first[["yaw", "pitch", "roll"]].tolist() == [30.0, 20.0, -10.0]
    assert first[["face_px", "interocular_px"]].tolist() == [30.5, 20.0]
    # the worst: 20 of 35.2 pixels
    assert first["quality"] == pytest.approx(20 / 35.2, rel=1e-5)
    for name in ("yaw", "sharpness", "quality"):
        assert table[name].isna().tolist() == [False, True, True]
    assert table["x1"].isna().tolist() == [False, True, False]
    assert table["p_anger"].isna().tolist() == [False, True, True]


def test_openface(tmp_path: Path) -> None:
    table = pd.read_csv(write(tmp_path, "openface"))
    assert list(table)[:15] == [
        "frame", "face_id", "timestamp", "confidence", "success",
        "pose_Tx", "pose_Ty", "pose_Tz", "pose_Rx", "pose_Ry", "pose_Rz",
        "x_0", "x_1", "y_0", "y_1",
    ]  # fmt: skip
    assert table.loc[0, "pose_Tx":"pose_Tz"].tolist() == [1.0, -2.0, 700.0]
    around_z = Rotation.from_rotvec([0.0, 0.0, -np.pi / 4]) * Rotation.from_rotvec(
        [0.0, -np.pi / 6, 0.0]
    )
    # scipy's capital letters: first x, then y and z of the turned head
    assert table.loc[0, "pose_Rx":"pose_Rz"].tolist() == pytest.approx(
        around_z.as_euler("XYZ").tolist(), abs=1e-5
    )
    assert table["frame"].tolist() == [1, 2, 3]
    assert table["success"].tolist() == [1, 0, 1]
    assert table["confidence"].tolist() == [0.875, 0.0, 0.5]
    # as users choose what to keep
    assert len(table[(table["success"] == 1) & (table["confidence"] > 0.8)]) == 1


def test_pyfeat(tmp_path: Path) -> None:
    table = pd.read_csv(write(tmp_path, "pyfeat"))
    first = table.iloc[0]
    rect = first[["FaceRectX", "FaceRectY", "FaceRectWidth", "FaceRectHeight", "FaceScore"]]
    assert rect.tolist() == [10.0, 20.0, 30.5, 40.0, 0.875]
    assert (first["anger"], first["neutral"], first["input"]) == (0.25, 0.75, "a, b.mp4")
    # as its convert_to_euler has it, but in radians
    x, y, z = Rotation.from_matrix(POSE.rotation.T).as_euler("xyz")
    assert first[["Pitch", "Roll", "Yaw"]].tolist() == pytest.approx([x, -z, -y], abs=1e-5)
    # a frame without a face is a row of NaN there
    assert np.isnan(table["FaceScore"][1])
    assert table["frame"].tolist() == [0, 1, 2]


def test_what_is_not_complete_says_so(tmp_path: Path) -> None:
    text = write(tmp_path, "csv", complete=False).read_text()
    assert text.splitlines()[-1] == "# complete=false"
    assert len(pd.read_csv(tmp_path / "table.csv", comment="#")) == 3
    lines = write(tmp_path, "jsonl", complete=False).read_text().splitlines()
    assert json.loads(lines[-1]) == {"complete": False}
    for complete in (True, False):
        metadata = pq.read_metadata(write(tmp_path, "parquet", complete)).metadata
        assert metadata[b"complete"] == str(complete).lower().encode()
        assert json.loads(metadata[b"classes"]) == ["anger", "neutral"]
