"""Frames as they come are those of a survey; who expected others is told."""

import gc
from pathlib import Path

import av
import numpy as np
import pytest

from arpgnet.pipeline.common.errors import ClipError
from arpgnet.pipeline.video.stream import Unexpected, plan, stream, survey_plan
from arpgnet.pipeline.video.survey import survey
from helpers.made_videos import FRAMES, cut, number_of, shifted, write

IRREGULAR = np.cumsum([0, *([33, 41, 120, 20] * 20)])[:FRAMES].tolist()


@pytest.mark.parametrize(
    ("name", "codec", "times_ms"),
    [
        ("a.mp4", "libx264", None),
        ("a.avi", "mpeg4", None),
        ("a.mkv", "libx264", IRREGULAR),
        ("a.mp4", "libx265", None),
        ("a.gif", "gif", None),
    ],
)
def test_the_frames_and_times_are_the_surveys(
    tmp_path: Path, name: str, codec: str, times_ms: list[int] | None
) -> None:
    pixels = "rgb8" if codec == "gif" else "yuv420p"
    path = write(tmp_path / name, codec, times_ms=times_ms, pixels=pixels)
    found = survey(path)
    expected = plan(path)
    shown = list(stream(path, expected))
    assert [one.index for one in shown] == list(range(len(found.times)))
    assert np.abs([one.time_s for one in shown] - found.times).max() < 1e-6
    assert [number_of(one.image) for one in shown] == list(range(FRAMES))
    assert expected.whole


def test_frames_cut_by_an_edit_list_are_not_shown(tmp_path: Path) -> None:
    source = write(tmp_path / "a.mp4", options={"bf": "0"})
    path = shifted(source, tmp_path / "b.mp4", 10, 512)
    found = survey(path)
    try:
        shown = list(stream(path, plan(path)))
    except Unexpected:
        shown = list(stream(path, survey_plan(path)))
    assert len(shown) == len(found.times)
    assert number_of(shown[0].image) == FRAMES - len(shown)


def test_a_turned_video_is_upright(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", rotation=90)
    first = next(stream(path, plan(path)))
    assert first.image.shape == (320, 240, 3)


def test_of_a_cut_file_the_sound_part_is_shown(tmp_path: Path) -> None:
    whole = write(tmp_path / "a.mkv", options={"g": "5"})
    path = cut(whole, tmp_path / "b.mkv", 0.6)
    found = survey(path)
    try:
        shown = list(stream(path, plan(path)))
    except Unexpected:
        shown = list(stream(path, survey_plan(path)))
    assert len(shown) == len(found.times) > 0
    assert [number_of(one.image) for one in shown] == list(range(len(shown)))


def test_damage_is_reported(tmp_path: Path) -> None:
    path = write(tmp_path / "a.avi", "mpeg4")
    data = bytearray(path.read_bytes())
    middle = data.index(b"00dc", len(data) // 2)
    del data[middle : data.index(b"00dc", middle + 4)]
    path.write_bytes(bytes(data))
    found = survey(path)
    if not found.whole:
        with pytest.raises(Unexpected):
            list(stream(path, plan(path)))
    certain = survey_plan(path)
    assert certain.whole == found.whole
    assert len(list(stream(path, certain))) == len(found.times)


def test_a_video_that_is_too_long_is_refused_by_its_packets_and_by_its_frames(
    tmp_path: Path,
) -> None:
    path = write(tmp_path / "a.mkv")
    last = float(plan(path).times[-1])
    for how in (plan, survey_plan):
        assert len(how(path, last).times) == FRAMES
        with pytest.raises(ClipError, match=r"^longer than the 1 s that are allowed$"):
            how(path, 1.0)


def test_more_frames_than_any_camera_takes_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mkv", times_ms=list(range(FRAMES)))
    with pytest.raises(ClipError, match=r"frames are more than 0.1 s of video have"):
        plan(path, 0.1)


def test_frames_do_not_stay_in_memory(tmp_path: Path) -> None:
    """PyAV's frame and its side data hold each other if somebody reads these."""
    path = write(tmp_path / "a.mp4", rotation=90)
    gc.disable()
    try:
        gc.collect()
        most = 0
        for shown in stream(path, survey_plan(path)):
            # a look at all objects takes 0.2 s
            if shown.index % 8 == 7:
                alive = sum(isinstance(one, av.VideoFrame) for one in gc.get_objects())
                most = max(most, alive)
    finally:
        gc.enable()
    assert most <= 5
