"""What is whole, and what was cut; `test_corpus.py` has the undamaged videos of all kinds."""

import struct
from pathlib import Path

import av
import pytest

from arpgnet.pipeline.common.errors import ClipError
from arpgnet.pipeline.common.params import DecodeParams
from arpgnet.pipeline.decode.clip import sample_frames
from arpgnet.pipeline.video.survey import survey
from helpers import made_videos as made
from helpers.corpus_videos import FRAMES, Case, write_case

EVERY = DecodeParams(sampling="all")
KEYS = {"g": "5", "bf": "0"}
FAST = {"cpu-used": "8", "deadline": "realtime"}
# those that say how long they are
LENGTH_KNOWN = [
    Case("libx264", "mkv", options=KEYS, sound="libopus"),
    Case("libx264", "mkv", options=KEYS),
    Case("libvpx", "webm", options=FAST, sound="libopus"),
    Case("libx264", "flv", options=KEYS, sound="aac"),
    Case("mpeg4", "avi", options={"g": "5"}, sound="libmp3lame"),
    Case("wmv2", "wmv", options={"g": "5"}),
    # other streams go on for longer than the video: they end early too
    Case("libx264", "flv", options=KEYS, sound="aac", timing="sound longer"),
    Case("libx264", "mkv", options=KEYS, sound="libopus", timing="late"),
]


@pytest.mark.parametrize("case", LENGTH_KNOWN, ids=lambda case: case.name)
def test_a_cut_file_is_not_whole_wherever_it_was_cut(tmp_path: Path, case: Case) -> None:
    whole = write_case(tmp_path, case)
    assert survey(whole).whole
    for part in (0.5, 0.7, 0.8):
        path = made.cut(whole, tmp_path / f"cut.{case.suffix}", part)
        try:
            found = survey(path)
        except ClipError:
            continue  # not even a frame
        assert len(found.times) == FRAMES or not found.whole, f"cut at {part:.0%}"


def test_a_file_that_lacks_its_index_only_is_whole(tmp_path: Path) -> None:
    whole = made.write(tmp_path / "a.mkv", options=KEYS)
    data = whole.read_bytes()
    cues = data.rindex(b"\x1c\x53\xbb\x6b")
    path = tmp_path / "b.mkv"
    path.write_bytes(data[:cues])
    assert survey(path).whole


def test_what_a_trimmed_file_hides_is_not_missing(tmp_path: Path) -> None:
    """A telephone trims by an edit list: all frames stay in the file."""
    whole = made.write(tmp_path / "a.mp4", options=KEYS)
    data = bytearray(whole.read_bytes())
    at = data.index(b"elst")
    # of 60 frames the first 15, in 1/1000 s
    data[at + 12 : at + 16] = (15 * 40).to_bytes(4, "big")
    path = tmp_path / "b.mp4"
    path.write_bytes(data)
    found = survey(path)
    assert found.whole
    assert 15 <= len(found.times) <= 16
    assert len(list(sample_frames(path, EVERY))) == len(found.times)


def test_a_late_video_is_measured_from_its_first_frame(tmp_path: Path) -> None:
    """3 s of sound, then 0.8 s of both, of which more than half is left."""
    case = Case("libx264", "mkv", options=KEYS, sound="libopus", timing="late")
    whole = write_case(tmp_path, case)
    with av.open(str(whole)) as container:
        (stream,) = container.streams.video
        places = [packet.pos for packet in container.demux(stream) if packet.size]
    path = tmp_path / "b.mkv"
    path.write_bytes(whole.read_bytes()[: places[15] + 20])
    found = survey(path)
    assert not found.whole
    assert found.declared_s == pytest.approx(0.8, abs=0.05)
    assert len(list(sample_frames(path, EVERY))) == len(found.times)


@pytest.mark.parametrize(("suffix", "before"), [("mkv", b"\x44\x89\x88"), ("flv", b"duration\0")])
def test_a_gapless_file_is_whole_whatever_duration_it_declares(
    tmp_path: Path, suffix: str, before: bytes
) -> None:
    """As a screen recorder does that holds the last image, and writes no length with it."""
    path = made.write(tmp_path / f"a.{suffix}", options=KEYS)
    data = bytearray(path.read_bytes())
    at = data.index(before) + len(before)
    (declared,) = struct.unpack(">d", data[at : at + 8])
    data[at : at + 8] = struct.pack(">d", 10 * declared)
    if suffix == "mkv":
        data = data.replace(b"DURATION", b"XURATION")
    path.write_bytes(data)
    found = survey(path)
    assert found.declared_s == pytest.approx(24, abs=0.5)
    assert found.whole
    assert len(list(sample_frames(path, EVERY))) == made.FRAMES
    # with a gap it is not
    middle = len(data) // 2
    path.write_bytes(data[:middle] + bytes(40) + data[middle + 40 :])
    with pytest.raises(ClipError, match=r"truncated|damaged"):
        list(sample_frames(path, EVERY))
