"""Folders of images through the decode stage: which are kept, and as what."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from arpgnet.pipeline.common.errors import ClipError, UserError
from arpgnet.pipeline.common.params import DecodeParams
from arpgnet.pipeline.decode.clip import DecodeClip
from arpgnet.pipeline.decode.image_folder import sample_images
from arpgnet.pipeline.store import digest
from arpgnet.pipeline.tables.manifest import Clip
from arpgnet.pipeline.video.frames import SampledFrame, decode_jpeg
from arpgnet.pipeline.video.image_folder import folder_sha256

HEIGHT, WIDTH = 96, 128
ALL = DecodeParams(sampling="all")
CLIP = Clip("c", "c", "", fps=25.0, image_sequence=True)


def image(number: int) -> np.ndarray:
    """A smooth BGR image."""
    small = np.random.default_rng(number).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return np.asarray(cv2.resize(small, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC))


def folder_of(folder: Path, numbers: Iterable[int], suffix: str = ".jpg") -> Path:
    folder.mkdir(exist_ok=True)
    for number in numbers:
        cv2.imwrite(str(folder / f"{number:05d}{suffix}"), image(number))
    return folder


def kept(
    folder: Path, clip: Clip = CLIP, params: DecodeParams = ALL, landmarks: Path | None = None
) -> list[SampledFrame]:
    return list(sample_images(folder, clip, landmarks, params))


def test_a_jpeg_is_kept_byte_by_byte_and_nothing_else_is(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "f", [1], ".jpg")
    folder_of(folder, [2], ".png")
    # what it is called does not matter
    (folder / "00003.png").write_bytes((folder / "00001.jpg").read_bytes())
    first, second, third = kept(folder)
    assert first.jpeg == third.jpeg == (folder / "00001.jpg").read_bytes()
    shown = decode_jpeg(second.jpeg)[..., ::-1]
    assert np.abs(shown.astype(int) - image(2)).mean() < 5
    assert {(frame.width, frame.height) for frame in (first, second)} == {(WIDTH, HEIGHT)}
    assert {frame.decoder for frame in (first, second)} == {"images"}
    assert first.points is None


def test_numbers_are_frames_and_gaps_are_kept(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "f", [2, 3, 9])
    counted = kept(folder, replace(CLIP, first_image=1))
    assert [frame.index for frame in counted] == [1, 2, 8]
    assert [frame.time_s for frame in counted] == pytest.approx([0.04, 0.08, 0.32])
    assert [frame.index for frame in kept(folder)] == [0, 1, 2]


def test_sampling_chooses_among_the_images_that_are_there(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "f", [*range(1, 11), *range(31, 41)])
    clip = replace(CLIP, fps=10.0, first_image=1)
    uniform = kept(folder, clip, DecodeParams(frames=4))
    assert [frame.index + 1 for frame in uniform] == [3, 8, 33, 38]
    twice_a_second = kept(folder, clip, DecodeParams(sampling="fps", fps=2.0))
    # ticks in the gap are nearest to one of its ends
    assert [frame.index for frame in twice_a_second] == [0, 5, 9, 30, 35]


def test_a_part_of_the_images_by_time(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "f", range(1, 11))
    # 3 / 30 is 0.1, and a millionth more or less
    clip = replace(CLIP, fps=30.0, start_s=0.1000001, end_s=0.2)
    assert [frame.index for frame in kept(folder, clip)] == [3, 4, 5]
    # the last image is shown until 0.333 s
    with pytest.raises(ClipError, match=r"^no image between 0\.32 s and inf s$"):
        kept(folder, replace(clip, start_s=0.32, end_s=None))


def test_shrunk_images_take_their_landmarks_along(tmp_path: Path) -> None:
    folder, points = folder_of(tmp_path / "f", [1, 2]), tmp_path / "points"
    points.mkdir()
    # centers of pixels lie at whole numbers: the image begins at -0.5
    corners = np.tile([[-0.5, -0.5], [WIDTH - 0.5, HEIGHT - 0.5], [31.0, 10.0]], (23, 1))[:68]
    np.savetxt(points / "00001_landmarks.txt", corners, fmt="   %.7e")
    large, _ = kept(folder, landmarks=points)
    np.testing.assert_array_equal(np.reshape(large.points or [], (68, 2)), corners)
    params = DecodeParams(sampling="all", max_side=64)
    small, without = kept(folder, params=params, landmarks=points)
    assert (small.width, small.height) == (64, 48)
    assert small.jpeg != large.jpeg
    expected = [[-0.5, -0.5], [63.5, 47.5], [15.25, 4.75]]
    np.testing.assert_allclose(np.reshape(small.points or [], (68, 2))[:3], expected)
    assert without.points is None


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("1 2 3", "landmarks 00001_landmarks.txt: 3 numbers, 136 expected"),
        ("1 x", "landmarks 00001_landmarks.txt: not a number"),
        ("nan " * 136, "landmarks 00001_landmarks.txt: not a number"),
        ("\u00e9", "landmarks 00001_landmarks.txt: not a number"),
    ],
)
def test_malformed_landmarks(tmp_path: Path, content: str, reason: str) -> None:
    folder = folder_of(tmp_path / "f", [1])
    (folder / "00001_landmarks.txt").write_text(content, encoding="utf-8")
    with pytest.raises(ClipError, match=f"^{reason}$"):
        kept(folder, landmarks=folder)


def test_damaged_images_are_passed_over_up_to_a_half(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "f", range(1, 11))
    for number in (1, 4, 5, 7, 8):
        path = folder / f"{number:05d}.jpg"
        path.write_bytes(path.read_bytes()[:-50])
    assert [frame.index for frame in kept(folder)] == [1, 2, 5, 8, 9]
    (folder / "00010.jpg").write_bytes(b"")
    with pytest.raises(ClipError, match=r"^6 of 10 images cannot be read$"):
        kept(folder)


def test_a_folder_that_changed_since_it_was_listed(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "c", [1, 2])
    clip = replace(CLIP, sha256=digest(folder_sha256(folder)), corpus="a")
    work = DecodeClip({"a": tmp_path}, ALL)
    (table,) = work.run(clip)
    assert table.column("frame_index").to_pylist() == [0, 1]
    folder_of(folder, [3])
    with pytest.raises(UserError, match=r"^c changed since it was listed: run `dvc repro` again$"):
        list(work.run(clip))
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    with pytest.raises(UserError, match=r"^c in .* cannot be read \(No such file or directory\)"):
        list(work.run(clip))


def test_the_key_follows_rate_and_numbering() -> None:
    work = DecodeClip({}, ALL)
    changes = [{}, {"fps": 30.0}, {"first_image": 1}, {"landmarks": "points"}, {"start_s": 1.0}]
    assert len({work.key(replace(CLIP, **change)) for change in changes}) == len(changes)
