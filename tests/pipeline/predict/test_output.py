"""Tables, read back as their users read them."""

import json
from contextlib import suppress
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from scipy.spatial.transform import Rotation

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.geometry.pose import HeadPose, rotation_of
from arpgnet.pipeline.geometry.quality import Quality
from arpgnet.pipeline.predict import output
from arpgnet.pipeline.predict.formats import FORMATS, SUFFIX, Format
from arpgnet.pipeline.predict.output import open_table
from arpgnet.pipeline.predict.rows import Row, TableHeader
from helpers.small_disk import SmallDisk

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
        *("complete", "x_0", "x_1", "y_0", "y_1"),
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


@pytest.mark.parametrize("form", FORMATS)
def test_a_table_that_ends_early_says_so_in_its_last_row(tmp_path: Path, form: Format) -> None:
    reads = {
        "parquet": pd.read_parquet,
        "jsonl": lambda path: pd.read_json(path, lines=True),
    }
    read = reads.get(form, pd.read_csv)
    whole, early = (read(write(tmp_path, form, complete)) for complete in (True, False))
    # as read by a reader that knows nothing of it: no other rows, and nothing else in them
    assert whole["complete"].astype(bool).all()
    assert early["complete"].astype(bool).tolist() == [True] * (len(early) - 1) + [False]
    pd.testing.assert_frame_equal(
        whole.drop(columns="complete"), early.drop(columns="complete"), check_dtype=True
    )


@pytest.mark.parametrize("form", FORMATS)
def test_a_table_without_a_row_that_could_be_marked_is_not_left(
    tmp_path: Path, form: Format
) -> None:
    for complete in (True, False):
        open_table(tmp_path / "talk", form, HEAD).close(complete)
        assert (tmp_path / "talk").exists() == complete


def test_the_last_row_of_a_parquet_group_is_marked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(output, "GROUP_ROWS", len(ROWS))
    table = pd.read_parquet(write(tmp_path, "parquet", complete=False))
    assert table["complete"].tolist() == [True, True, False]


def test_the_metadata_of_parquet_says_whether_it_is_complete(tmp_path: Path) -> None:
    for complete in (True, False):
        metadata = pq.read_metadata(write(tmp_path, "parquet", complete)).metadata
        assert metadata[b"complete"] == str(complete).lower().encode()
        assert json.loads(metadata[b"classes"]) == ["anger", "neutral"]


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_of_a_full_disk_the_last_row_that_fits_is_marked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: Format
) -> None:
    whole = write(tmp_path, form).read_bytes()
    path = tmp_path / "small" / f"table{SUFFIX[form]}"
    path.parent.mkdir()
    first = len(b"".join(whole.splitlines(keepends=True)[: 2 if form == "csv" else 1]))
    # the third row does not fit, or its mark, which is a byte longer; or the second row
    for size, rows in ((len(whole) - 1, 2), (len(whole), 2), (first + 10, 1)):
        with monkeypatch.context() as patch:
            SmallDisk(path.parent, size).mount(patch)
            table = open_table(path, form, HEAD)
            with suppress(UserError):
                for row in ROWS:
                    table.add(row)
            table.discard()
        read = pd.read_csv(path) if form == "csv" else pd.read_json(path, lines=True)
        assert read["complete"].tolist() == [True] * (rows - 1) + [False]
        path.unlink()
