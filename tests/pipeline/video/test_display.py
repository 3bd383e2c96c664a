"""Images are those that a player shows, whatever the file says of orientation and pixels."""

from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest

from arpgnet.pipeline.common.errors import ClipError
from arpgnet.pipeline.common.params import DecodeParams
from arpgnet.pipeline.decode.backends import import_decord
from arpgnet.pipeline.decode.clip import sample_frames
from arpgnet.pipeline.video.container import probe
from arpgnet.pipeline.video.frames import decode_jpeg
from arpgnet.pipeline.video.stream import plan, stream
from helpers import made_videos as made

# a b c d of x' = a x + c y, y' = b x + d y
MATRICES: dict[str, made.Matrix] = {
    "as stored": (1, 0, 0, 1),
    "clockwise": (0, 1, -1, 0),
    "half turn": (-1, 0, 0, -1),
    "counter-clockwise": (0, -1, 1, 0),
    "left for right": (-1, 0, 0, 1),
    "up for down": (1, 0, 0, -1),
    "transposed": (0, 1, 1, 0),
    "anti-transposed": (0, -1, -1, 0),
    "nearly half a turn, mirrored": (0.95, 0.31, 0.31, -0.95),
}


def placed(image: np.ndarray, matrix: made.Matrix) -> np.ndarray:
    """Each pixel where the rounded matrix puts it."""
    a, b, c, d = (round(value) for value in matrix)
    y, x = np.mgrid[: image.shape[0], : image.shape[1]]
    across, down = a * x + c * y, b * x + d * y
    across, down = across - across.min(), down - down.min()
    shown = np.zeros((down.max() + 1, across.max() + 1, 3), np.uint8)
    shown[down, across] = image
    return shown


def images(path: Path) -> list[np.ndarray]:
    return [shown.image for shown in stream(path, plan(path))]


def sampled(path: Path, backend: str) -> list[np.ndarray]:
    params = DecodeParams.model_validate({"sampling": "all", "backend": backend})
    return [decode_jpeg(frame.jpeg) for frame in sample_frames(path, params)]


def difference(one: np.ndarray, other: np.ndarray) -> float:
    assert one.shape == other.shape
    return float(np.abs(one.astype(int) - other).mean())


@pytest.mark.parametrize("name", MATRICES)
@pytest.mark.parametrize("pixel", [None, Fraction(3, 2)])
def test_a_video_is_shown_as_its_matrix_says(
    tmp_path: Path, name: str, pixel: Fraction | None
) -> None:
    matrix = MATRICES[name]
    width = 160 if pixel is None else 240
    path = made.write(
        tmp_path / "a.mp4", frames=5, width=160, height=120, matrix=matrix, pixel=pixel
    )
    right = placed(cv2.resize(made.make_image(3, 160, 120), (width, 120)), matrix)
    shown = images(path)[3]
    assert difference(shown, right) < 8
    info = probe(path)
    assert (info.width, info.height) == right.shape[1::-1]
    a, b, c, d = matrix
    assert info.mirrored == (a * d < b * c)
    decoded = sampled(path, "pyav")
    assert difference(decoded[3], shown) < 4
    if import_decord() is not None:
        other = sampled(path, "decord")
        assert all(np.array_equal(one, two) for one, two in zip(decoded, other, strict=True))


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("a.mp4", "libx264"), ("a.mkv", "libx264"), ("a.ts", "libx264"), ("a.flv", "libx264"),
        ("a.avi", "mpeg4"),
    ],
)  # fmt: skip
@pytest.mark.parametrize(
    ("pixel", "size"), [(Fraction(4, 3), (240, 138)), (Fraction(3, 4), (180, 184))]
)
def test_pixels_are_square(
    tmp_path: Path, name: str, codec: str, pixel: Fraction, size: tuple[int, int]
) -> None:
    """The side that is too short grows, as in players."""
    path = made.write(tmp_path / name, codec, frames=12, width=180, height=138, pixel=pixel)
    info = probe(path)
    assert (info.width, info.height) == size
    shown = images(path)[2]
    assert difference(shown, cv2.resize(made.make_image(2, 180, 138), size)) < 8
    assert made.number_of(sampled(path, "pyav")[2]) == 2


@pytest.mark.parametrize(
    "pixel", [None, Fraction(100), Fraction(1, 100), Fraction(1280, 1281)], ids=str
)
def test_pixels_of_an_unknown_absurd_or_rounded_shape_are_square(
    tmp_path: Path, pixel: Fraction | None
) -> None:
    path = made.write(tmp_path / "a.ts", frames=12, pixel=pixel)
    assert [image.shape for image in images(path)] == [(240, 320, 3)] * 12


def test_pixels_that_change_their_shape(tmp_path: Path) -> None:
    """Each frame has its own, although the decoder is some frames ahead."""
    options = {"bf": "3"}
    wide = made.write(tmp_path / "a.ts", frames=10, pixel=Fraction(4, 3), options=options)
    high = made.write(tmp_path / "b.ts", frames=10, pixel=Fraction(2, 3), options=options)
    path = made.joined(tmp_path / "c.ts", wide, high)
    right = [(240, 427, 3)] * 10 + [(360, 320, 3)] * 10
    assert [image.shape for image in images(path)] == right
    assert [image.shape for image in sampled(path, "pyav")] == right


@pytest.mark.skipif(import_decord() is None, reason="decord is not installed")
def test_decord_is_not_used_where_images_change_their_size(tmp_path: Path) -> None:
    options = {"deadline": "realtime", "cpu-used": "8"}
    parts = [
        made.write(tmp_path / f"{width}.webm", "libvpx", frames=5, width=width, options=options)
        for width in (320, 160)
    ]
    path = made.joined(tmp_path / "c.webm", *parts)
    assert [image.shape[1] for image in sampled(path, "pyav")] == [320] * 5 + [160] * 5
    with pytest.raises(ClipError, match="decord gives all images the first one's size and shape"):
        sampled(path, "decord")


def overwrite(path: Path, box: bytes, offset: int, old: bytes, new: bytes) -> None:
    """Put bytes in the place of others, which must be there, so far behind a box's name."""
    data = bytearray(path.read_bytes())
    at = data.index(box) + offset
    assert data[at : at + len(old)] == old
    data[at : at + len(old)] = new
    path.write_bytes(data)


@pytest.mark.parametrize("where", [{}, {"movflags": "faststart"}])
def test_a_damaged_size_in_the_header_makes_no_oblong_pixels(
    tmp_path: Path, where: dict[str, str]
) -> None:
    path = made.write(tmp_path / "a.mp4", frames=3, container_options=where)
    stated = (320).to_bytes(2, "big") + (240).to_bytes(2, "big")
    overwrite(path, b"stsd", 44, stated, b"\xff\xf0\xff\xf0")
    assert [image.shape for image in images(path)] == [(240, 320, 3)] * 3


def test_a_track_that_is_shown_in_another_size_has_oblong_pixels(tmp_path: Path) -> None:
    """Old QuickTime files say it by the track's size alone."""
    path = made.write(tmp_path / "a.mov", frames=3)
    overwrite(path, b"tkhd", 80, (320 << 16).to_bytes(4, "big"), (480 << 16).to_bytes(4, "big"))
    assert [image.shape for image in images(path)] == [(240, 480, 3)] * 3


def test_a_damaged_matrix_makes_no_oblong_pixels(tmp_path: Path) -> None:
    """FFmpeg would make a ratio of it."""
    path = made.write(tmp_path / "a.mp4", frames=3)
    # a and b of a b c d; nothing was in b
    one = (1 << 16).to_bytes(4, "big")
    overwrite(path, b"tkhd", 44, one + bytes(4), one + b"\x00\x01\x00\x00")
    assert [image.shape for image in images(path)] == [(240, 320, 3)] * 3
