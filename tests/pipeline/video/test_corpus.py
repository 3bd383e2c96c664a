"""Undamaged videos of every kind: decode and predict give all frames, as players do.

Each is compared with PyAV's plain decoding and, where the program is installed, with
`ffmpeg -vsync passthrough`: same count, same order, same images. `make test` takes 12 of them.
"""

import shutil
import subprocess
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from arpgnet.pipeline.common.params import DecodeParams
from arpgnet.pipeline.decode.clip import sample_frames
from arpgnet.pipeline.video.frames import decode_jpeg
from arpgnet.pipeline.video.stream import Plan, Shown, Unexpected, plan, stream, survey_plan
from helpers.corpus_videos import FRAMES, Case, all_cases, shown, square, write_case
from helpers.made_videos import number_of

CASES = all_cases()
QUICK = 12
EVERY = DecodeParams(sampling="all", jpeg_quality=100)
# mean difference in levels; JPEG at quality 100 makes 0.5
SAME = 2.0


def spread() -> list[object]:
    """All cases, all but 12 marked slow."""
    chosen = {number * len(CASES) // QUICK for number in range(QUICK)}
    return [
        pytest.param(case, id=case.name, marks=() if number in chosen else pytest.mark.slow)
        for number, case in enumerate(CASES)
    ]


def test_there_are_120() -> None:
    assert len(CASES) >= 120
    assert len({case.name for case in CASES}) == len(CASES)


@pytest.mark.parametrize("case", spread())
def test_every_frame_is_shown_once_in_order_and_as_in_players(tmp_path: Path, case: Case) -> None:
    path = write_case(tmp_path, case)
    stored = plainly_decoded(path)
    numbers = [number_of(image) for image in stored]
    # an edit list may leave out what lies before zero, in whole or from a key frame on
    first = numbers[0] if case.timing == "negative" else 0
    assert numbers == list(range(first, FRAMES))
    truth = [shown(case, image) for image in stored]

    expected, predicted = predict(path)
    assert expected.whole
    assert [one.index for one in predicted] == list(range(len(truth)))
    assert_same([one.image for one in predicted], truth)

    decoded = list(sample_frames(path, EVERY))
    assert [one.index for one in decoded] == [one.index for one in predicted]
    assert [one.time_s for one in decoded] == pytest.approx([one.time_s for one in predicted])
    assert_same([decode_jpeg(one.jpeg) for one in decoded], truth)

    # FFmpeg 5.1 shows what an edit list cuts from AV1
    if shutil.which("ffmpeg") and (case.codec, case.timing) != ("libsvtav1", "negative"):
        assert_same([one.image for one in predicted], by_ffmpeg(path, case))


def predict(path: Path) -> tuple[Plan, list[Shown]]:
    """The frames of a prediction, as `Predictor.predict` gets them."""
    expected = plan(path)
    try:
        return expected, list(stream(path, expected))
    except Unexpected:
        expected = survey_plan(path)
        return expected, list(stream(path, expected))


def plainly_decoded(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def by_ffmpeg(path: Path, case: Case) -> list[np.ndarray]:
    """What the program shows; it turns images, and leaves pixels oblong."""
    pixel = 1 / case.pixel if case.orientation[0] % 180 else case.pixel
    run = subprocess.run(
        ["ffmpeg", "-v", "error", "-i", str(path), "-map", "0:v:0", "-vsync", "passthrough",
         "-c:v", "ppm", "-pix_fmt", "rgb24", "-f", "image2pipe", "-"],
        capture_output=True,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr.decode()
    return [square(image, Fraction(pixel)) for image in _images(run.stdout)]


def _images(data: bytes) -> list[np.ndarray]:
    """Read images one after the other: `P6 width height 255` and the bytes."""
    found = []
    while data:
        _, width, height, _ = data[:64].split(maxsplit=4)[:4]
        head = data.index(b"255\n") + 4
        size = int(width) * int(height) * 3
        pixels = np.frombuffer(data, np.uint8, size, head)
        found.append(pixels.reshape(int(height), int(width), 3))
        data = data[head + size :]
    return found


def assert_same(images: list[np.ndarray], truth: list[np.ndarray]) -> None:
    assert len(images) == len(truth)
    for number, (one, other) in enumerate(zip(images, truth, strict=True)):
        assert one.shape == other.shape, f"frame {number}"
        difference = np.abs(one.astype(int) - other).mean()
        assert difference <= SAME, f"frame {number}: {difference:.2f} levels"
