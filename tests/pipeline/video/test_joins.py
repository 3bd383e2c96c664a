"""Recordings that were joined: `cat a.ts b.ts > c.ts`."""

from pathlib import Path

import numpy as np
import pytest

from arpgnet.pipeline.common.errors import ClipError
from arpgnet.pipeline.common.params import DecodeParams
from arpgnet.pipeline.decode.clip import sample_frames
from arpgnet.pipeline.video.frames import decode_jpeg
from arpgnet.pipeline.video.stream import Unexpected, plan, stream, survey_plan
from arpgnet.pipeline.video.survey import survey
from helpers import made_videos as made

SIDE = {"width": 160, "height": 120}
B_FRAMES = {"bf": "3", "g": "20"}
PACKET = 188
FIRST, SECOND = 70, 33


def recordings(folder: Path, codec: str = "libx264") -> tuple[bytes, bytes]:
    one, two = folder / "one.ts", folder / "two.ts"
    options = B_FRAMES if codec == "libx264" else {"bf": "2"}
    made.write(one, codec, frames=FIRST, options=options, **SIDE)
    made.write(two, codec, frames=SECOND, options=options, **SIDE)
    return one.read_bytes(), two.read_bytes()


def is_whole(path: Path) -> bool:
    try:
        return survey(path).whole
    except ClipError:
        return False  # damaged so early that no frame is left


def predicted(path: Path) -> list[int]:
    try:
        frames = list(stream(path, plan(path)))
    except Unexpected:
        frames = list(stream(path, survey_plan(path)))
    return [made.number_of(frame.image) for frame in frames]


@pytest.mark.parametrize("codec", ["libx264", "mpeg2video"])
def test_both_recordings_are_read_one_after_the_other(tmp_path: Path, codec: str) -> None:
    one, two = recordings(tmp_path, codec)
    path = tmp_path / "joined.ts"
    path.write_bytes(one + two)
    both = [*range(FIRST), *range(SECOND)]
    found = survey(path)
    assert found.whole
    assert found.times == pytest.approx(np.arange(len(both)) / 25, abs=1e-3)
    kept = list(sample_frames(path, DecodeParams(sampling="all")))
    assert [made.number_of(decode_jpeg(frame.jpeg)) for frame in kept] == both
    assert [frame.time_s for frame in kept] == pytest.approx(found.times)
    assert predicted(path) == both


def test_so_are_three_with_the_time_of_a_camera_s_packets(tmp_path: Path) -> None:
    """M2TS: 4 bytes before every packet."""
    one, two = recordings(tmp_path)
    data = one + two + one
    packets = [data[at : at + PACKET] for at in range(0, len(data), PACKET)]
    path = tmp_path / "joined.m2ts"
    path.write_bytes(b"".join(b"\0\0\0\0" + packet for packet in packets))
    assert survey(path).whole
    assert predicted(path) == [*range(FIRST), *range(SECOND), *range(FIRST)]


def test_damage_before_the_join_is_damage(tmp_path: Path) -> None:
    one, two = recordings(tmp_path)
    half = len(one) // PACKET // 2 * PACKET
    path = tmp_path / "joined.ts"
    path.write_bytes(one[:half] + one[half + PACKET :] + two)
    found = survey(path)
    assert not found.whole
    shown = predicted(path)
    assert shown == list(range(len(shown)))


def test_halves_in_the_wrong_order_are_no_recordings(tmp_path: Path) -> None:
    one, _ = recordings(tmp_path)
    half = len(one) // PACKET // 2 * PACKET
    path = tmp_path / "swapped.ts"
    path.write_bytes(one[half:] + one[:half])
    assert not is_whole(path)


def test_a_part_that_comes_twice_is_damage(tmp_path: Path) -> None:
    one, _ = recordings(tmp_path)
    half = len(one) // PACKET // 2 * PACKET
    path = tmp_path / "twice.ts"
    path.write_bytes(one[: half + 3 * PACKET] + one[half:])
    assert not is_whole(path)
