"""Folders of images: which image is which frame, and what can be read."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from arpgnet.pipeline.common.errors import ClipError
from arpgnet.pipeline.video.image_folder import (
    decode_image,
    first_image,
    folder_sha256,
    folder_state,
    is_jpeg,
    natural,
    read_folder,
)

HEIGHT, WIDTH = 48, 64
# orientation 6: to be shown turned by 90 degrees clockwise
TURNED = bytes.fromhex(
    "ffe1 0022 457869660000 4d4d 002a 00000008 0001 0112 0003 00000001 0006 0000 00000000"
)


@pytest.fixture
def image() -> np.ndarray:
    """A smooth BGR image."""
    small = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return np.asarray(cv2.resize(small, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC))


def encoded(image: np.ndarray, suffix: str = ".jpg") -> bytes:
    return bytes(cv2.imencode(suffix, image)[1].tobytes())


def files(folder: Path, *names: str) -> Path:
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).write_bytes(b"x")
    return folder


def test_names_sort_by_the_numbers_in_them(tmp_path: Path) -> None:
    names = ("a10.jpg", "a9.png", "a1²3.JPEG", "notes.txt", ".a1.jpg")
    found = read_folder(files(tmp_path / "f", *names), None)
    assert found.names == ["a1²3.JPEG", "a9.png", "a10.jpg"]
    assert found.index.tolist() == [0, 1, 2]
    assert found.frames == 3


def test_numbers_count_frames_and_have_gaps(tmp_path: Path) -> None:
    folder = files(tmp_path / "f", "00011.jpg", "00002.jpg", "00005.jpg")
    found = read_folder(folder, 1)
    assert found.names == ["00002.jpg", "00005.jpg", "00011.jpg"]
    assert found.index.tolist() == [1, 4, 10]
    assert found.frames == 11
    assert read_folder(folder, None).index.tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        ((), "no image in the folder"),
        (("labels.txt",), "no image in the folder"),
        (("00001.jpg", "1.png"), r"'0*1\.\w+' and '0*1\.\w+' have the same number"),
        (("00000.jpg", "00001.jpg"), "'00000.jpg' has a number before the first frame's, 1"),
        (("00001.jpg", "cover.jpg"), "'cover.jpg' has no number"),
        (("20260131123456.jpg",), "'20260131123456.jpg': no number of a frame"),
    ],
)
def test_a_folder_that_cannot_be_numbered(
    tmp_path: Path, names: tuple[str, ...], reason: str
) -> None:
    folder = files(tmp_path / "f", *names)
    with pytest.raises(ClipError, match=reason):
        read_folder(folder, 1)


def test_gray_deep_and_transparent_images_become_rgb(image: np.ndarray) -> None:
    gray = np.arange(HEIGHT * WIDTH, dtype=np.uint16).reshape(HEIGHT, WIDTH) * 21
    found = decode_image(encoded(gray, ".png"))
    assert found is not None
    np.testing.assert_array_equal(found, np.stack([(gray >> 8).astype(np.uint8)] * 3, axis=-1))
    clear = np.dstack([image, np.full((HEIGHT, WIDTH), 9, np.uint8)])
    found = decode_image(encoded(clear, ".png"))
    assert found is not None
    np.testing.assert_array_equal(found, image[..., ::-1])
    found = decode_image(encoded(image[..., 0], ".jpg"))
    assert found is not None
    assert found.shape == (HEIGHT, WIDTH, 3)
    np.testing.assert_array_equal(found[..., 0], found[..., 2])


def test_a_turned_image_is_set_upright(image: np.ndarray) -> None:
    plain = encoded(image)
    turned = decode_image(plain[:2] + TURNED + plain[2:])
    upright = decode_image(plain)
    assert turned is not None
    assert upright is not None
    np.testing.assert_array_equal(turned, np.rot90(upright, -1))


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".bmp", ".webp", ".tiff"])
@pytest.mark.parametrize("part", [0.0, 0.1, 0.6, 0.99])
def test_an_image_that_ends_early_is_none(image: np.ndarray, suffix: str, part: float) -> None:
    data = encoded(image, suffix)
    assert decode_image(data) is not None
    assert decode_image(data[: int(part * len(data))]) is None


def test_other_bytes_are_no_image(image: np.ndarray) -> None:
    assert decode_image(b"version https://git-lfs.github.com/spec/v1\n") is None
    # a head that claims 60,000 x 60,000 pixels
    data = bytearray(encoded(image, ".bmp"))
    data[18:26] = (60_000).to_bytes(4, "little") * 2
    assert decode_image(bytes(data)) is None


def test_a_jpeg_is_known_by_its_bytes(image: np.ndarray) -> None:
    assert is_jpeg(encoded(image, ".jpg"))
    assert not is_jpeg(encoded(image, ".png"))
    assert not is_jpeg(b"")


def test_the_first_image_is_the_first_that_can_be_read(tmp_path: Path, image: np.ndarray) -> None:
    folder = files(tmp_path / "f", "1.jpg", "3.jpg")
    with pytest.raises(ClipError, match=r"^none of 2 images can be read$"):
        first_image(read_folder(folder, None))
    (folder / "2.png").write_bytes(encoded(image, ".png"))
    np.testing.assert_array_equal(first_image(read_folder(folder, None)), image[..., ::-1])


def test_what_changes_the_digests(tmp_path: Path) -> None:
    folder = files(tmp_path / "f", "1.jpg", "2.jpg")
    # a name that is no UTF-8 is one nevertheless
    os.close(os.open(os.fsencode(folder) + b"/3\xff.jpg", os.O_CREAT))
    state, content = folder_state(folder), folder_sha256(folder)
    (folder / ".DS_Store").write_bytes(b"x")
    (folder / "thumbs.db").write_bytes(b"x")
    assert (folder_state(folder), folder_sha256(folder)) == (state, content)
    # the same bytes at another time
    os.utime(folder / "1.jpg", (1, 1))
    assert folder_state(folder) != state
    assert folder_sha256(folder) == content
    (folder / "1_landmarks.txt").write_text("1 2")
    assert folder_sha256(folder) != content
    content = folder_sha256(folder)
    (folder / "2.jpg").rename(folder / "4.jpg")
    assert folder_sha256(folder) != content


def test_numbers_in_names_sort_by_their_value() -> None:
    names = ["s10", "s2", "s2b10", "s2b9", "b", "10", "9"]
    assert sorted(names, key=natural) == ["9", "10", "b", "s2", "s2b9", "s2b10", "s10"]


def test_what_only_looks_like_a_number_is_text() -> None:
    assert sorted(["m²1", "m10", "m2"], key=natural) == ["m2", "m10", "m²1"]
