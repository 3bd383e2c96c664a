"""Clips of the same images are found; others, of the same person in the same place, are not."""

from __future__ import annotations

import itertools
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from arpgnet.pipeline.common.errors import ClipError
from arpgnet.pipeline.datasets import fingerprint
from arpgnet.pipeline.datasets.file_cache import FileCache, near_duplicates_of
from arpgnet.pipeline.datasets.fingerprint import (
    ClipStart,
    find_near_duplicates,
    movement,
    same_images,
    similarity,
    thumbnails,
)
from arpgnet.pipeline.datasets.groups import connected
from arpgnet.pipeline.datasets.media import Media
from helpers.tiny_videos import write_video


def film(
    path: Path,
    take: int,
    *,
    codec: str = "libx264",
    options: dict[str, str] | None = None,
    fps: int = 30,
    size: int = 128,
    crop: int = 0,
    gray: bool = False,
    gain: float = 1.0,
    lead: str = "",
    moves: bool = True,
    seconds: float = 2.4,
) -> Path:
    """A face of ellipses before a wall; takes differ only in how head, eyes and mouth move."""
    rng = np.random.default_rng(take)
    rates, phases = rng.uniform(2, 7, 4), rng.uniform(0, 6, 4)
    wall = cv2.resize(
        np.random.default_rng(99).integers(60, 170, (5, 5, 3), dtype=np.uint8), (128, 128)
    )
    side = size - 2 * crop
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=fps)
        stream.width = stream.height = side
        stream.pix_fmt, stream.options = "yuv420p", options or {}
        stream.codec_context.thread_count = 1
        for index in range(round(seconds * fps)):
            time = index / fps
            x, y, eye, mouth = np.sin(rates * (time if moves else 0.0) + phases)
            image = wall.copy()
            head = (round(64 + 6 * x), round(66 + 4 * y))
            cv2.ellipse(image, head, (28, 38), 0, 0, 360, (190, 160, 140), -1)
            for turn in (-11, 11):
                place = (head[0] + turn, head[1] - 10)
                cv2.ellipse(image, place, (5, round(3 + 2 * eye)), 0, 0, 360, (30, 30, 30), -1)
            place = (head[0], head[1] + 18)
            cv2.ellipse(image, place, (12, round(6 + 5 * mouth)), 0, 0, 360, (120, 40, 50), -1)
            if lead == "black" and time < 0.6:
                image[:] = 0
            if lead == "fade":
                image = (image * min(1.0, time)).astype(np.uint8)
            if lead == "title" and time < 0.6:
                image[:] = 0
                cv2.putText(image, "TEST", (20, 70), 0, 1, (255, 255, 255), 3)
            if lead == "all black":
                image[:] = 0
            image = (image * gain).clip(0, 255).astype(np.uint8)
            image = cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA)
            image = np.ascontiguousarray(image[crop : size - crop, crop : size - crop])
            if gray:
                image[:] = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None]
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))
    return path


def groups(*paths: Path) -> list[int | None]:
    """What ingest finds."""
    media = [Media(path) for path in paths]
    with FileCache() as cache:
        metadata = dict(zip(media, cache.describe(media), strict=True))
        return list(near_duplicates_of(metadata, cache).values())


def test_one_performance_encoded_again_and_other_takes_of_it(tmp_path):
    """Same person, clothing, wall and light in all of them."""
    copies = [
        film(tmp_path / "low rate.mp4", 0, options={"crf": "38"}),
        film(tmp_path / "other codec.avi", 0, codec="mpeg4", options={"qmin": "20", "qmax": "20"}),
        film(tmp_path / "smaller.mkv", 0, size=64),
        film(tmp_path / "gray.mp4", 0, gray=True),
        film(tmp_path / "darker.mp4", 0, gain=0.7),
        film(tmp_path / "cut.mp4", 0, crop=2),
        film(tmp_path / "fewer.mp4", 0, fps=10),
        film(tmp_path / "more.mp4", 0, fps=50),
    ]
    others = [film(tmp_path / f"take{take}.mp4", take) for take in range(1, 8)]
    found = groups(film(tmp_path / "first.mp4", 0), *copies, *others)
    assert found == [0] * 9 + [None] * 7


@pytest.mark.parametrize("lead", ["black", "fade", "title"])
def test_a_common_start_makes_no_near_duplicates(tmp_path, lead):
    clips = [film(tmp_path / f"{take}.mp4", take, lead=lead) for take in range(4)]
    again = film(tmp_path / "again.mp4", 2, lead=lead, options={"crf": "34"})
    assert groups(*clips, again) == [None, None, 2, None, 2]


def test_still_shots_and_black_clips(tmp_path):
    clips = [film(tmp_path / f"{take}.mp4", take, moves=False) for take in range(3)]
    again = film(tmp_path / "again.avi", 1, moves=False, codec="mpeg4", options={"qmax": "6"})
    gray = film(tmp_path / "gray.mp4", 1, moves=False, gray=True, size=64)
    # there is nothing in them that could be the same
    black = [film(tmp_path / f"black{n}.mp4", n, lead="all black") for n in range(2)]
    assert groups(*clips, again, gray, *black) == [None, 1, None, 1, 1, None, None]


def test_the_start_alone_does_not_decide(tmp_path):
    one = film(tmp_path / "a.mp4", 1)
    start = thumbnails(one)
    other = np.concatenate([start, thumbnails(film(tmp_path / "b.mp4", 2), 2.4)])
    whole = [thumbnails(one, 2.4), other]
    assert len(start) == 6
    images = [ClipStart(2.4, start)] * 2
    assert find_near_duplicates(images, lambda rows: [whole[row] for row in rows]) == [None, None]
    assert find_near_duplicates(images, lambda rows: [whole[0] for _ in rows]) == [0, 0]


def test_short_clips_are_compared_more_exactly(tmp_path):
    clips = [write_video(tmp_path / f"{n}.mp4", n, frames=9) for n in range(6)]
    again = write_video(tmp_path / "again.avi", 2, frames=9, quality=9)
    assert groups(*clips, again) == [None, None, 2, None, None, None, 2]


def test_length(tmp_path):
    clips = [film(tmp_path / f"{n}.mp4", 0, seconds=s) for n, s in enumerate((2.0, 2.2, 2.6))]
    assert groups(*clips) == [0, 0, None]
    images = [ClipStart(length, thumbnails(clips[0])) for length in (None, 7.0, None, 9.0)]
    assert find_near_duplicates(images, lambda rows: [images[r].start for r in rows]) == [0] * 4


def test_no_image(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"nothing to see")
    with pytest.raises(ClipError, match="not a video"):
        thumbnails(tmp_path / "a.mp4")


@pytest.mark.parametrize("spread", [3, 30, 90], ids=["all near", "some near", "few near"])
def test_the_choice_of_candidates_loses_no_near_duplicate(spread, monkeypatch):
    monkeypatch.setattr(fingerprint, "_BLOCK", 16)
    rng = np.random.default_rng(spread)
    course = rng.normal(128, 30, (6, 16, 16)).cumsum(axis=0) / 2
    starts = []
    for number in range(50):
        start = course + rng.normal(0, rng.uniform(0, spread), course.shape)
        starts.append(np.clip(start, 0, 255).astype(np.uint8)[: 6 - number % 3])
    clips = [ClipStart(float(rng.uniform(1.0, 1.5)), start) for start in starts]
    moves = [movement(start) for start in starts]
    pairs = [
        (a, b)
        for a, b in itertools.combinations(range(50), 2)
        if abs((clips[a].length_s or 0) - (clips[b].length_s or 0)) <= 0.3
        and similarity(moves[a], moves[b]) >= fingerprint.MIN_SIMILARITY_START
        and same_images(moves[a], moves[b])
    ]
    group = connected(len(clips), pairs)
    near_duplicates = {row for pair in pairs for row in pair}
    assert near_duplicates
    expected = [group[row] if row in near_duplicates else None for row in range(len(clips))]
    assert find_near_duplicates(clips, lambda rows: [starts[row] for row in rows]) == expected
