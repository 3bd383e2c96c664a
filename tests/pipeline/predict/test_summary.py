"""What a summary and a table of intervals say of rows that are known."""

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from arpgnet.pipeline.geometry.pose import UNKNOWN
from arpgnet.pipeline.predict.output import IntervalTable
from arpgnet.pipeline.predict.rows import Row, TableHeader
from arpgnet.pipeline.predict.summary import FaceSummary, columns_of, summary_table

CLASSES = ["anger", "neutral"]
HEAD = TableHeader("talk.mp4", CLASSES, 0, 3.2, 0.2)
BOX = np.array([0.0, 0.0, 9.0, 9.0])


def row(frame: int, face: int, anger: float | None) -> Row:
    """A face's row at 10 frames per second; face -1: nobody is there."""
    if face < 0:
        return Row(frame, frame / 10)
    scores = None if anger is None else np.array([anger, 1 - anger])
    return Row(frame, frame / 10, face, BOX, 0.9, scores, 1.0)


def turned(row: Row, yaw: float) -> Row:
    return replace(row, pose=replace(UNKNOWN, angles=np.array([yaw, 2.0, -1.0])))


def test_videos_of_one_folder_are_told_apart_in_a_terminal() -> None:
    summary = FaceSummary(HEAD)
    for one in ROWS:
        summary.add(one)

    def told(*videos: str) -> str:
        rows = [{**summary.rows()[0], "video": video} for video in videos]
        console = Console(width=120, record=True, file=io.StringIO())
        console.print(summary_table(HEAD.tasks, rows))
        return console.export_text()

    folder = "/a/long/path/to/the/videos/of/a/study/that/fills/the/line"
    said = told(f"{folder}/x/ann.mp4", f"{folder}/y/bob.mp4")
    assert "x/ann.mp4" in said
    assert "y/bob.mp4" in said
    assert folder not in said
    # with nothing in common but the disk, they stay whole
    assert "/data/bob.mp4" in told("/home/ann.mp4", "/data/bob.mp4")


ROWS = [
    *(turned(row(0, 0, 0.9), 10.0), row(0, 1, 0.2)),
    *(turned(row(1, 0, 0.7), 20.0), row(1, 1, 0.1)),
    row(2, 0, 0.4),
    row(3, -1, None),
    *(row(4, 0, 0.3), row(4, 1, None)),
]


def intervals(path: Path, rows: list[Row], complete: bool = True) -> pd.DataFrame:
    table = IntervalTable(path, HEAD)
    for one in rows:
        table.add(one)
    table.close(complete)
    return pd.read_csv(path)


def test_a_summary_has_a_row_per_face() -> None:
    summary = FaceSummary(HEAD)
    for one in ROWS:
        summary.add(one)
    summary.close(complete=True)
    first, second = summary.rows()
    assert list(first) == columns_of(HEAD.tasks)
    assert (first["video"], first["face_id"], first["frames"]) == ("talk.mp4", 0, 4)
    assert first["seconds"] == pytest.approx(0.4)
    assert first["coverage"] == pytest.approx(4 / 5)
    assert first["mean_anger"] == pytest.approx((0.9 + 0.7 + 0.4 + 0.3) / 4)
    assert first["fraction_anger"] == pytest.approx(0.5)
    assert first["label"] == "anger"
    assert (first["peak_s"], first["peak_label"]) == (0.0, "anger")
    assert (first["yaw"], first["roll"]) == (pytest.approx(15.0), pytest.approx(-1.0))
    assert np.isnan(first["quality"])
    assert np.isnan(second["yaw"])
    # a frame that no window has shown counts as seen, not as scored
    assert (second["frames"], second["fraction_neutral"]) == (3, 1.0)
    assert (second["peak_s"], second["peak_p"]) == (pytest.approx(0.1), pytest.approx(0.9))


def test_intervals_end_with_the_class_or_with_the_face(tmp_path: Path) -> None:
    table = intervals(tmp_path / "i.csv", ROWS).sort_values(["face_id", "start_s"])
    found = list(
        zip(table["face_id"], table["start_s"], table["end_s"], table["label"], strict=True)
    )
    assert found == [
        (0, 0.0, 0.2, "anger"),
        (0, 0.2, 0.3, "neutral"),
        (0, 0.4, 0.5, "neutral"),
        (1, 0.0, 0.2, "neutral"),
    ]
    assert table["duration_s"].tolist() == pytest.approx([0.2, 0.1, 0.1, 0.2])
    assert table["mean_p"].tolist() == pytest.approx([0.8, 0.6, 0.7, 0.85])


def test_an_incomplete_table_of_intervals_says_so(tmp_path: Path) -> None:
    table = intervals(tmp_path / "i.csv", ROWS, complete=False)
    assert table["complete"].tolist() == [True] * (len(table) - 1) + [False]
    assert table["label"].notna().all()


@given(scores=st.lists(st.sampled_from([None, 0.1, 0.9]), min_size=1, max_size=30))
def test_intervals_cover_every_scored_frame_once(
    tmp_path_factory: pytest.TempPathFactory, scores: list[float | None]
) -> None:
    rows = [row(frame, 0 if one is not None else -1, one) for frame, one in enumerate(scores)]
    table = intervals(tmp_path_factory.mktemp("i") / "i.csv", rows)
    shown = sum(one is not None for one in scores)
    if len(scores) > 1:
        assert table["duration_s"].sum() == pytest.approx(shown / 10)
    starts, ends = table["start_s"].to_numpy(), table["end_s"].to_numpy()
    assert (starts[1:] >= ends[:-1] - 1e-9).all()
    # neighbors differ, or there is a gap between them
    for place in range(len(table) - 1):
        same = table["label"][place] == table["label"][place + 1]
        assert not (same and starts[place + 1] == ends[place])
