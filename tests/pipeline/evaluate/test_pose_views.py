"""Scores by yaw and by size, from the stages' outputs made by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from arpgnet.pipeline.common.params import EvaluateParams
from arpgnet.pipeline.evaluate import views as module
from arpgnet.pipeline.evaluate.views import Views, read_views, view_scores
from arpgnet.pipeline.geometry.pose import head_angles, rigid_points, rotation_of
from arpgnet.pipeline.tables.predictions import Predictions
from arpgnet.pipeline.tables.shards import fixed
from helpers.outputs import OutputWriter

PARAMS = EvaluateParams(bootstrap=200)
# 24 clips of 4 subjects; in every second one the head is turned, and its prediction is wrong
NAMES = [f"c{n:02d}" for n in range(24)]
CLIPS = [
    {"clip_id": name, "subject": f"s{n % 8 // 2}", "group": None, "recording": None}
    for n, name in enumerate(NAMES)
]


def points(yaw: float, zoom: float) -> np.ndarray:
    indices, model = rigid_points("98")
    found = np.zeros((98, 2), np.float32)
    found[list(indices)] = (model @ rotation_of(yaw, 0.0, 0.0).T)[:, :2] * zoom + (320.0, 200.0)
    return found


def write(root: Path, turned_by: float = 40.0, width: int = 640) -> None:
    """Three frames per clip; the second one has no face, of the third the face is masked."""
    text, number = pa.string(), pa.int32()
    long = pa.list_(pa.float32(), 196)
    columns = {
        "frames": {"width": number, "height": number},
        "faces": {
            "frame_index": number, "valid": pa.bool_(), "det_score": pa.float32(),
            "bbox": pa.list_(pa.float32(), 4),
        },
        "landmarks": {"valid": pa.bool_(), "points_image": long},
        "graphs": {"valid": pa.bool_()},
    }  # fmt: skip
    for folder, fields in columns.items():
        schema = pa.schema([("clip_id", text), *fields.items()])
        with OutputWriter(root / "data" / folder, schema, {"scheme": "98", "N": 98}) as writer:
            for n, name in enumerate(NAMES):
                if n == 23:
                    writer.add_quarantined(name, "0" * 64, "no face found")
                    continue
                turned = n % 2 == 1
                side = 100.0 if n < 12 else 200.0
                valid = np.array([True, False, folder != "graphs" and folder != "faces"])
                if folder == "landmarks":
                    valid[2] = False
                if folder == "graphs" and n == 0:
                    valid[0] = False
                box = np.array([10.0, 10.0, 10.0 + side, 30.0 + side], np.float32)
                values = {
                    "clip_id": [name] * 3,
                    "width": [width] * 3, "height": [480] * 3,
                    "frame_index": [0, 5, 10],
                    "valid": valid,
                    "det_score": np.array([0.9, 0.0, 0.9], np.float32),
                    "bbox": fixed(np.stack([box, 0 * box, box])),
                    "points_image": fixed(np.stack([points(turned_by * turned, 1.0)] * 3)),
                }  # fmt: skip
                table = pa.table({key: values[key] for key in schema.names}, schema=schema)
                writer.add(name, "0" * 64, [table])


def predictions(frames: bool = False) -> Predictions:
    label = np.arange(24) // 2 % 2
    wrong = np.arange(24) % 2 == 1
    chosen = np.where(wrong, 1 - label, label)
    return Predictions(
        ["a", "b"],
        np.array(NAMES, object),
        np.zeros(24, np.int64) if frames else np.full(24, -1),
        np.array(["arpgnet"] * 24, object),
        np.zeros(24, np.int64),
        np.zeros(24, np.int64),
        np.array(["test"] * 24, object),
        label,
        np.array([[0.9, 0.1], [0.1, 0.9]])[chosen],
    )


@pytest.mark.parametrize("frames", [False, True])
def test_scores_by_yaw_and_size_of_what_the_stages_stored(tmp_path: Path, frames: bool) -> None:
    write(tmp_path)
    views = read_views(tmp_path)
    assert views is not None
    assert (len(views.clip_id), views.small, views.turned) == (23, 23, 1)
    assert views.yaw[1] == pytest.approx(40.0, abs=2.0)
    found = view_scores(predictions(frames), views, CLIPS, PARAMS)
    yaw, size = found["tables"]
    assert [row["clips"] for row in yaw["rows"]] == [12, 0, 0, 11, 0]
    assert yaw["unknown"] == size["unknown"] == 1
    frontal, turned = yaw["rows"][0], yaw["rows"][3]
    assert (frontal["from"], frontal["to"], frontal["subjects"]) == (0.0, 10.0, 4)
    assert (frontal["war"]["mean"], turned["uar"]["mean"]) == (1.0, 0.0)
    assert frontal["unit"] == "subject"
    assert [row["clips"] for row in size["rows"]] == [0, 0, 12, 11, 0]
    assert size["rows"][4]["to"] is None
    assert size["rows"][2]["war"]["mean"] == pytest.approx(0.5)
    assert sum(found["counts"]["yaw"]["frames"]) == sum(found["counts"]["size"]["frames"]) == 23


def test_poses_are_solved_once_for_the_same_points(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []

    def counted(points: np.ndarray, *more: Any) -> np.ndarray:
        calls.append(len(points))
        return head_angles(points, *more)

    monkeypatch.setattr(module, "head_angles", counted)
    write(tmp_path)
    first = read_views(tmp_path)
    assert len(calls) == 23
    again = read_views(tmp_path)
    assert len(calls) == 23
    assert first is not None
    assert again is not None
    np.testing.assert_array_equal(first.yaw, again.yaw)
    # other points under the same keys, as a damaged or older output has them
    write(tmp_path / "other", turned_by=20.0)
    other = read_views(tmp_path / "other")
    assert len(calls) == 46
    assert other is not None
    assert other.yaw[1] == pytest.approx(20.0, abs=2.0)
    # and other images around the same points
    write(tmp_path / "wide", width=1280)
    assert read_views(tmp_path / "wide") is not None
    assert len(calls) == 69


def test_without_a_pose_and_without_the_stages_outputs(tmp_path: Path) -> None:
    assert read_views(tmp_path) is None
    nothing = Views(np.array(NAMES, object), np.zeros(24), np.full(24, np.nan), np.ones(24), 0, 0)
    found = view_scores(predictions(), nothing, CLIPS, PARAMS)
    assert found["tables"][0]["unknown"] == 24
    assert sum(found["counts"]["yaw"]["frames"]) == 0
    assert found["tables"][1]["rows"][0]["clips"] == 24
