"""Every real clip, by both backends."""

from pathlib import Path

import numpy as np
import pytest

from arpgnet.pipeline.common.params import DecodeParams
from arpgnet.pipeline.decode.backends import Decord, PyAV, import_decord
from arpgnet.pipeline.decode.clip import sample_frames
from arpgnet.pipeline.video.container import probe
from arpgnet.pipeline.video.survey import survey


def clips(assets: Path) -> list[Path]:
    found = sorted((assets / "clips").rglob("*.mkv")) + sorted((assets / "clips").rglob("*.mp4"))
    assert found
    return found


@pytest.mark.skipif(import_decord() is None, reason="decord is not installed")
def test_both_backends_give_the_same_images(assets: Path) -> None:
    for path in clips(assets):
        info, found = probe(path), survey(path)
        assert found.whole, path.name
        assert info.frames in (None, len(found.times)), path.name
        assert info.duration_s == pytest.approx(found.times[-1] + found.frame_s, abs=0.15)
        every = np.arange(len(found.times))
        pairs = zip(
            Decord().frames(path, found, every), PyAV().frames(path, found, every), strict=True
        )
        assert all(np.array_equal(one, other) for one, other in pairs), path.name


def test_uniform_sampling_spans_the_clip(assets: Path) -> None:
    path = clips(assets)[0]
    length = probe(path).duration_s
    kept = list(sample_frames(path, DecodeParams(frames=8, max_side=160)))
    assert length is not None
    centers = (np.arange(8) + 0.5) / 8 * length
    assert np.abs(np.array([frame.time_s for frame in kept]) - centers).max() < 0.1
    assert {max(frame.width, frame.height) for frame in kept} == {160}
