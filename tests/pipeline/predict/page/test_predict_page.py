"""The page's file: what is in it, and that nothing else is needed."""

import base64
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from arpgnet.pipeline.geometry.pose import UNKNOWN
from arpgnet.pipeline.geometry.quality import Quality
from arpgnet.pipeline.predict.display import Display
from arpgnet.pipeline.predict.page import page as page_module
from arpgnet.pipeline.predict.page.columns import NO_REGIONS
from arpgnet.pipeline.predict.page.page import Page, film_path, page_path
from arpgnet.pipeline.predict.rows import Regions, Row, TableHeader
from arpgnet.pipeline.video.stream import plan
from helpers.overlay_videos import CLASSES, film, frames_of

NAMES = ["left eye", "right eye", "mouth"]
TIMES = [0, 40, 60, 150, 190]
LOOK = Regions(np.array([[0.3, 0.3], [0.7, 0.3], [0.5, 0.8]]), np.array([1.5, np.nan, 0.5]))


def rows(count: int = 5) -> list[Row]:
    """Face 0 in all frames but the second, face 4 in the last one and not classified."""
    made = []
    for frame, time_ms in enumerate(TIMES[:count]):
        if frame == 1:
            made.append(Row(frame, time_ms / 1000))
            continue
        box = np.array([64.0 + frame, 36, 320, 180])
        values = np.array([0.1, 0.7, 0.2]) if frame < 4 else np.array([0.5, 0.25, 0.25])
        regions = None if frame == 0 else LOOK
        pose = replace(UNKNOWN, angles=np.array([frame, -10.0, 0.5]))
        good = Quality(144.0, 60.0, 1.5, 0.75)
        made.append(
            Row(frame, time_ms / 1000, 0, box, 0.9, values, 0.75, None, regions, pose, good)
        )
    if count == 5:
        made.append(Row(4, TIMES[4] / 1000, 4, np.array([0.0, 0, 64, 36]), 0.6))
    return made


def write(
    folder: Path, some: list[Row], *, name: str = "a.mkv", complete: bool = True, **metadata: Any
) -> str:
    """The page's text."""
    video = film(folder / "a.mkv", times_ms=TIMES, sound="libopus")
    head = TableHeader(
        name,
        metadata.get("classes", CLASSES),
        metadata.get("points", 0),
        stride_s=0.0,
        also=metadata.get("also", ()),
    )
    path = page_path(folder / "out/a.csv")
    path.parent.mkdir(exist_ok=True)
    regions = metadata.get("regions", NAMES)
    frame_tasks = metadata.get("frame_tasks", [False])
    made = Page(
        path, video, plan(video), head, regions=regions, model="run", frame_tasks=frame_tasks
    )
    for row in some:
        made.add(row)
    made.close(complete)
    return path.read_text(encoding="utf-8")


def metadata_of(text: str) -> dict[str, Any]:
    found = re.search(
        r'<script type="application/json" id="metadata">(.*?)</script>', text, re.DOTALL
    )
    assert found
    return dict(json.loads(found[1]))


def numbers(text: str, kind: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), kind)


def test_it_holds_the_rows(tmp_path: Path) -> None:
    metadata = metadata_of(write(tmp_path, rows()))
    assert numbers(metadata["times"], "<f4") == pytest.approx(np.array(TIMES) / 1000)
    assert (metadata["tasks"][0]["names"], metadata["regions"]) == (CLASSES, NAMES)
    one, other = metadata["faces"]
    assert (one["id"], other["id"]) == (0, 4)
    assert numbers(one["frames"], "<u4").tolist() == [0, 2, 3, 4]
    boxes = numbers(one["boxes"], "<f4").reshape(-1, 4)
    assert boxes[0] == pytest.approx([0.1, 0.1, 0.5, 0.5])
    values = numbers(one["shares"][0], "<u2").reshape(-1, 3) / 65534
    assert values[0] == pytest.approx([0.1, 0.7, 0.2], abs=1e-5)
    assert values[3] == pytest.approx([0.5, 0.25, 0.25], abs=1e-5)
    assert numbers(one["coverage"], "<u2") / 65534 == pytest.approx(0.75, abs=1e-5)
    angles = numbers(one["angles"], "<f4").reshape(-1, 3)
    np.testing.assert_array_equal(angles, [[frame, -10.0, 0.5] for frame in (0, 2, 3, 4)])
    assert numbers(one["quality"], "<u2") / 65534 == pytest.approx(0.75, abs=1e-5)
    assert np.isnan(numbers(other["angles"], "<f4")).all()
    # what is not known is the highest number
    assert numbers(other["quality"], "<u2").tolist() == [65535]
    assert numbers(other["shares"][0], "<u2").tolist() == [65535] * 3
    # frames between two that the network was shown have the same regions
    assert numbers(one["look"], "<u4").tolist() == [NO_REGIONS, 0, 0, 0]
    assert numbers(one["where"], "<f4").reshape(-1, 3, 2).shape == (1, 3, 2)
    times_uniform = numbers(one["timesUniform"], "<f4")
    assert times_uniform[[0, 2]] == pytest.approx([1.5, 0.5])
    assert np.isnan(times_uniform[1])


def test_it_holds_the_landmarks_where_there_are_any(tmp_path: Path) -> None:
    text = write(tmp_path, rows())
    assert metadata_of(text)["points"] == 0
    assert 'id="landmarks"' not in text
    points = np.array([[64.0, 36.0], [320.0, 180.0], [-3.0, 20.0]])
    box = np.array([64.0, 36, 320, 180])
    some = [Row(0, 0.0, 0, box, points=points), Row(1, 0.04, 0, box)]
    text = write(tmp_path, some, points=3)
    metadata = metadata_of(text)
    assert metadata["points"] == 3
    assert 'id="landmarks"' in text
    values = numbers(metadata["faces"][0]["points"], "<u2").reshape(2, 3, 2)
    assert values[0, :2] / 65534 == pytest.approx(np.array([[0.1, 0.1], [0.5, 0.5]]), abs=1e-4)
    # outside of the image, and not located
    assert (values[0, 2] == 65535).all()
    assert (values[1] == 65535).all()


def test_it_holds_the_video_at_its_times_with_its_sound(tmp_path: Path) -> None:
    text = write(tmp_path, rows())
    found = re.search(r'id="film-bytes">([^<]*)<', text)
    assert found
    inside = tmp_path / "inside.mp4"
    inside.write_bytes(base64.b64decode(found[1]))
    times, images = frames_of(inside)
    assert times == pytest.approx(np.array(TIMES) / 1000, abs=1e-4)
    assert images[0].shape == (360, 640, 3)
    assert b"Opus" in inside.read_bytes()
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a.html"]


def test_it_refers_to_nothing_outside(tmp_path: Path) -> None:
    text = write(tmp_path, rows())
    text = re.sub(r'id="film-bytes">[^<]*<', "", text)
    assert not re.findall(r"https?://|url\(|@import|\ssrc=", text)


def test_the_same_rows_give_the_same_bytes(tmp_path: Path) -> None:
    assert write(tmp_path, rows()) == write(tmp_path, rows())


def test_names_are_no_markup(tmp_path: Path) -> None:
    bad = "</script><img src=x onerror=alert(1)>"
    classes = [bad, "b&b", "c"]
    text = write(tmp_path, rows(), name=f"{bad}.mp4", classes=classes, regions=[bad, "x", "y"])
    assert bad not in text
    assert "<img" not in text
    assert metadata_of(text)["tasks"][0]["names"] == classes


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    assert "Incomplete" not in write(tmp_path, rows())
    text = write(tmp_path, rows(3), complete=False)
    assert "Incomplete" in text
    assert "3 frames" in text
    assert "No face was found" in write(tmp_path, [Row(0, 0.0)])


def test_a_network_of_frames_has_values_of_each(tmp_path: Path) -> None:
    assert "has values of its own" in write(tmp_path, rows(), frame_tasks=[True])
    assert "has values of its own" not in write(tmp_path, rows())


def test_a_network_of_clips_and_frames_says_which_values_follow_the_frames(tmp_path: Path) -> None:
    units = [Display("action_units", ["au_12"])]
    text = write(tmp_path, rows(), also=units, frame_tasks=[False, True])
    assert "its values do not change over time.\nOf action units, each frame" in text


def test_without_a_row_there_is_no_page(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write(tmp_path, [])
    assert not list((tmp_path / "out").iterdir())


def test_a_long_video_lies_beside_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_module, "MOST_BYTES", 1000)
    text = write(tmp_path, rows())
    assert 'src="a.page.mp4"' in text
    assert "film-bytes" not in re.sub(r"<script>.*?</script>", "", text, flags=re.DOTALL)
    beside = film_path(page_path(tmp_path / "out/a.csv"))
    assert len(frames_of(beside)[0]) == 5
