"""Clips of the same pictures are found; others are not."""

from __future__ import annotations

import numpy as np
import pytest

from arpgnet.pipeline.common.errors import ClipError
from arpgnet.pipeline.datasets import fingerprint
from arpgnet.pipeline.datasets.fingerprint import (
    Fingerprint,
    find_near_duplicates,
    same_images,
    thumbnails,
)
from arpgnet.pipeline.datasets.groups import connected
from helpers.tiny_videos import write_video


def unused(row: int) -> np.ndarray:
    raise AssertionError(f"clip {row} was looked at as a whole")


def test_thumbnails_follow_the_picture(tmp_path):
    stack = thumbnails(write_video(tmp_path / "a.mp4", 1, frames=40))
    assert (stack.shape, stack.dtype) == ((8, 16, 16), np.uint8)
    assert len(thumbnails(write_video(tmp_path / "b.mp4", 1, frames=9))) == 3
    # the disc is the brightest thing and moves
    assert len({int(picture.argmax()) for picture in stack}) > 4


def test_no_picture(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"nothing to see")
    with pytest.raises(ClipError, match="not a video"):
        thumbnails(tmp_path / "a.mp4")


def test_near_duplicates_among_others(tmp_path):
    clips = [
        *(write_video(tmp_path / f"{n}.mp4", n) for n in range(6)),
        write_video(tmp_path / "again.avi", 2, quality=12),
        write_video(tmp_path / "larger.mp4", 4, side=128, frames=41),
        write_video(tmp_path / "longer.mp4", 5, frames=60),
    ]
    frames = [40] * 7 + [41, 60]
    pictures = [Fingerprint(n, thumbnails(path)) for n, path in zip(frames, clips, strict=True)]
    assert find_near_duplicates(pictures, unused) == [None, None, 2, None, 4, None, 2, 4, None]


def test_near_duplicates_do_not_depend_on_the_order():
    rng = np.random.default_rng(0)
    base = [rng.integers(0, 255, (8, 16, 16), dtype=np.uint8) for _ in range(700)]
    pictures = [Fingerprint(50 + n % 40, stack) for n, stack in enumerate(base)]
    pictures.append(Fingerprint(52, base[3]))
    pictures.append(Fingerprint(None, base[3]))
    groups = find_near_duplicates(pictures, unused)
    assert {row for row, group in enumerate(groups) if group is not None} == {3, 700}
    order = rng.permutation(len(pictures))
    shuffled = find_near_duplicates([pictures[row] for row in order], unused)
    assert {int(order[row]) for row, group in enumerate(shuffled) if group is not None} == {3, 700}


def test_a_still_start_is_settled_by_the_whole_clip():
    black = np.zeros((8, 16, 16), np.uint8)
    rng = np.random.default_rng(1)
    whole = [rng.integers(0, 255, (12, 16, 16), dtype=np.uint8) for _ in range(2)]
    pictures = [Fingerprint(96, black)] * 3
    assert find_near_duplicates(pictures, lambda row: whole[row % 2]) == [0, None, 0]


def test_still_pictures():
    rng = np.random.default_rng(2)
    still = np.repeat(rng.integers(0, 250, (1, 16, 16), dtype=np.uint8), 8, axis=0)
    other = np.repeat(rng.integers(0, 250, (1, 16, 16), dtype=np.uint8), 8, axis=0)
    noisy = still + rng.integers(0, 2, still.shape, dtype=np.uint8)
    assert same_images(still, noisy)
    assert not same_images(still, other)


def test_same_place_other_movement():
    # what stands still weighs most in a thumbnail; a performance is told by what moves
    rng = np.random.default_rng(3)
    place = rng.integers(40, 200, (16, 16)).astype(np.int16)
    a, b = ((place + rng.integers(-3, 4, (8, 16, 16))).astype(np.uint8) for _ in range(2))
    assert not same_images(a, b)


@pytest.mark.parametrize("spread", [3, 9, 40], ids=["all near", "some near", "few near"])
def test_the_choice_of_candidates_loses_no_near_duplicate(spread, monkeypatch):
    monkeypatch.setattr(fingerprint, "_BLOCK", 16)
    rng = np.random.default_rng(spread)
    course = rng.normal(128, 30, (8, 16, 16))
    starts = [course + rng.normal(0, rng.uniform(0, spread), course.shape) for _ in range(50)]
    clips = [
        Fingerprint(int(rng.integers(30, 36)), np.clip(start, 0, 255).astype(np.uint8))
        for start in starts
    ]
    pairs = [
        (a, b)
        for a in range(len(clips))
        for b in range(a + 1, len(clips))
        if abs((clips[a].frames or 0) - (clips[b].frames or 0)) <= fingerprint.LENGTH_TOLERANCE
        and same_images(clips[a].start, clips[b].start)
    ]
    group = connected(len(clips), pairs)
    duplicates = {row for pair in pairs for row in pair}
    assert duplicates
    expected = [group[row] if row in duplicates else None for row in range(len(clips))]
    assert find_near_duplicates(clips, unused) == expected
