"""Recordings that were joined: `cat a.ts b.ts > c.ts`."""

from pathlib import Path

import numpy as np
import pytest

from arpgnet.pipeline.common.errors import ClipError
from arpgnet.pipeline.common.params import DecodeParams
from arpgnet.pipeline.decode.clip import sample_frames
from arpgnet.pipeline.video.container import probe
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


def test_a_clip_may_begin_in_the_second_one(tmp_path: Path) -> None:
    one, two = recordings(tmp_path)
    assert probe(tmp_path / "one.ts").duration_s == pytest.approx(FIRST / 25, abs=0.1)
    path = tmp_path / "joined.ts"
    path.write_bytes(one + two)
    # FFmpeg measures one of the two, and what begins behind that would be refused
    assert probe(path).duration_s is None
    start = (FIRST + 5) / 25
    kept = list(sample_frames(path, DecodeParams(sampling="all"), start, start + 0.2))
    assert [made.number_of(decode_jpeg(frame.jpeg)) for frame in kept] == list(range(5, 10))


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


@pytest.mark.parametrize("suffix", ["mkv", "webm"])
def test_matroska_files_are_joined_too(tmp_path: Path, suffix: str) -> None:
    codec, options = ("libx264", B_FRAMES) if suffix == "mkv" else ("libvpx", {"cpu-used": "8"})
    one, two = tmp_path / f"one.{suffix}", tmp_path / f"two.{suffix}"
    made.write(one, codec, frames=FIRST, options=options, **SIDE)
    made.write(two, codec, frames=SECOND, options=options, **SIDE)
    path = tmp_path / f"joined.{suffix}"
    path.write_bytes(one.read_bytes() + two.read_bytes())
    found = survey(path)
    assert found.whole
    assert found.times == pytest.approx(np.arange(FIRST + SECOND) / 25, abs=2e-3)
    assert predicted(path) == [*range(FIRST), *range(SECOND)]
    # FFmpeg reads two: that the third is left out is said
    path.write_bytes(one.read_bytes() + two.read_bytes() + one.read_bytes())
    assert len(survey(path).times) >= FIRST + SECOND
    assert survey(path).whole == (len(survey(path).times) == 2 * FIRST + SECOND)
