"""Packets that are missing, doubled or joined are noticed where no decoder does."""

from pathlib import Path

import numpy as np
import pytest

from arpgnet.pipeline.common.errors import ClipError
from arpgnet.pipeline.video.chunks import Chunks
from arpgnet.pipeline.video.container import open_video
from arpgnet.pipeline.video.survey import survey
from helpers import made_videos as made


def broken(path: Path) -> list[int]:
    """Numbers of the packets that are noticed."""
    with open_video(path) as (container, stream):
        chunks = Chunks(path, container, stream)
        return [n for n, packet in enumerate(container.demux(stream)) if chunks.broken_at(packet)]


def changed(path: Path, data: bytes) -> Path:
    other = path.with_name(f"changed{path.suffix}")
    other.write_bytes(data)
    return other


@pytest.fixture
def avi(tmp_path: Path) -> Path:
    return made.write(tmp_path / "a.avi", "mjpeg", pixels="yuvj420p", width=160, height=120)


@pytest.fixture
def gif(tmp_path: Path) -> Path:
    return made.write(tmp_path / "a.gif", "gif", pixels="rgb8", width=160, height=120, frames=40)


def chunk_starts(data: bytes) -> list[int]:
    """Of the images in an AVI, before its index."""
    end = data.index(b"idx1")
    starts, at = [], data.index(b"movi")
    while (at := data.find(b"00dc", at, end)) >= 0:
        starts.append(at)
        at += 4
    return starts


def test_whole_files_are_whole(avi: Path, gif: Path, tmp_path: Path) -> None:
    stream = made.write(tmp_path / "a.ts")
    assert broken(avi) == broken(gif) == broken(stream) == []


def test_an_image_that_is_missing_from_an_avi_is_missed_at_its_place(avi: Path) -> None:
    data = avi.read_bytes()
    starts = chunk_starts(data)
    assert len(starts) == made.FRAMES
    # its name is gone: the demuxer looks for the next one
    lost = data[: starts[30]] + b"lost" + data[starts[30] + 4 :]
    path = changed(avi, lost)
    assert broken(path)[0] == 30
    # 16 frames before it are not trusted, and less than half is no clip
    assert len(survey(path).times) == 14


def test_bytes_that_are_doubled_or_missing_break_the_row(avi: Path) -> None:
    """FFmpeg drops the index of such a file, and finds the next chunk by its name."""
    data = avi.read_bytes()
    at = chunk_starts(data)[20] + 30
    for other in (data[:at] + data[at - 900 : at] + data[at:], data[:at] + data[at + 900 :]):
        assert broken(changed(avi, other))[0] in (20, 21)


def test_images_of_no_bytes_repeat_the_one_before(avi: Path) -> None:
    """DivX and others write them for frames that are dropped: nothing is missing."""
    data = avi.read_bytes()
    at = chunk_starts(data)[30]
    filled = data[:at] + b"00dc" + bytes(4) + data[at:]
    assert broken(changed(avi, filled)) == []


def test_sound_and_padding_between_the_images_are_no_damage(avi: Path) -> None:
    data = avi.read_bytes()
    at = chunk_starts(data)[30]
    between = b"01wb" + (5).to_bytes(4, "little") + b"12345\0" + b"JUNK" + (2).to_bytes(4, "little")
    assert broken(changed(avi, data[:at] + between + b"..."[:2] + data[at:])) == []


def test_blocks_that_do_not_end_with_a_gif_s_image_are_noticed(gif: Path) -> None:
    data = gif.read_bytes()
    with open_video(gif) as (container, stream):
        places = [packet.pos for packet in container.demux(stream) if packet.size]
    found = broken(changed(gif, data[: places[20] + 2] + b"\x99" + data[places[20] + 3 :]))
    assert 19 <= found[0] <= 21


def test_packets_that_a_transport_stream_counts_are_missed(tmp_path: Path) -> None:
    path = made.write(tmp_path / "a.ts", options={"g": "15"})
    data = path.read_bytes()
    middle = len(data) // 188 // 2 * 188
    assert broken(changed(path, data[:middle] + data[middle + 5 * 188 :]))


def test_parts_in_another_order_do_not_pass_for_a_video(tmp_path: Path) -> None:
    path = made.write(tmp_path / "a.ts", options={"g": "15"})
    data = path.read_bytes()
    middle = len(data) // 188 // 2 * 188
    swapped = changed(path, data[middle:] + data[:middle])
    try:
        found = survey(swapped)
    except ClipError:
        return
    assert (np.diff(found.times) > 0).all()
    assert len(found.times) <= made.FRAMES // 2
