"""`--blur-faces`: whose faces are blurred, in which frames, and what is left of them."""

import base64
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from arpgnet.pipeline.cli.main import app
from arpgnet.pipeline.common.params import AlignParams, FacesParams
from arpgnet.pipeline.geometry.alignment import similarity, warp
from arpgnet.pipeline.networks.appearance import AppearanceNetwork
from arpgnet.pipeline.networks.detector import Detections, open_detector
from arpgnet.pipeline.networks.packs import load_pack
from arpgnet.pipeline.predict.blur import CELLS, HOLD_S, FaceBlur, blurred
from arpgnet.pipeline.predict.rows import Row
from arpgnet.pipeline.video.stream import plan
from helpers.face_videos import film_of_a_face
from helpers.overlay_videos import film, frames_of
from helpers.untrained_run import write_run

NOISE = np.random.default_rng(0).integers(0, 256, (200, 300, 3), np.uint8)
BOX = np.array([100.0, 60, 180, 140])
STEP_S = 0.2
OTHER = np.array([220.0, 60, 280, 120])


def test_few_colors_are_left_of_a_face_and_the_rest_stays() -> None:
    before = NOISE.copy()
    image = blurred(NOISE, BOX[None])
    assert (before == NOISE).all()
    face = image[60:140, 100:180]
    # nothing but smooth steps between a few colors
    few = cv2.resize(face, (2 * CELLS, 2 * CELLS), interpolation=cv2.INTER_AREA)
    again = cv2.resize(few, (80, 80), interpolation=cv2.INTER_LINEAR)
    assert np.abs(face.astype(int) - again).max() < 12
    far = np.ones(NOISE.shape[:2], bool)
    far[40:160, 80:200] = False
    assert (image[far] == NOISE[far]).all()


def test_a_face_at_the_edge_keeps_no_more_colors() -> None:
    edge = blurred(NOISE, np.array([[-60.0, 60, 20, 140]]))
    assert len(np.unique(edge[100, :30], axis=0)) <= 30 / 2
    assert (blurred(NOISE, np.array([[400.0, 0, 500, 80]])) == NOISE).all()


class MadeUp:
    """A detector that finds what it is told to, image after image."""

    any_sides = False

    def __init__(self, found: dict[int, list[tuple[np.ndarray, float]]]) -> None:
        self._found, self._number = found, 0

    def detect(self, image: np.ndarray) -> Detections:
        faces = self._found.get(self._number, [])
        self._number += 1
        boxes = np.array([box for box, _ in faces], np.float32).reshape(-1, 4)
        scores = np.array([score for _, score in faces], np.float32)
        return Detections(boxes, scores, np.zeros((len(faces), 5, 2), np.float32))

    def look(self, part: np.ndarray) -> Detections:
        pytest.fail("whole images are searched, not parts")

    def scale(self, image: np.ndarray) -> float:
        return 1.0


class Seen:
    """A table that notes what is blurred in each frame."""

    def __init__(self) -> None:
        self.frames: dict[int, np.ndarray] = {}
        self.ended = ""

    def add(self, row: Row) -> None:
        assert row.blurred is not None
        self.frames[row.frame] = row.blurred

    def close(self, complete: bool) -> None:
        self.ended = f"closed {complete}"

    def discard(self) -> None:
        self.ended = "discarded"

    def hides(self, box: np.ndarray) -> list[int]:
        """The frames in which a box is covered."""
        return [
            frame
            for frame, boxes in self.frames.items()
            if any((one[:2] <= box[:2]).all() and (one[2:] >= box[2:]).all() for one in boxes)
        ]


def see(
    folder: Path, found: dict[int, list[tuple[np.ndarray, float]]], rows: dict[int, np.ndarray]
) -> Seen:
    """Blur a video of 40 frames; `rows` are the faces in the table."""
    step_ms = round(1000 * STEP_S)
    video = film(folder / "a.mkv", times_ms=range(0, 40 * step_ms, step_ms))
    expected = plan(video)
    seen = Seen()
    align = AlignParams(pad_retry=0.0)
    blur = FaceBlur(seen, video, expected, MadeUp(found), align)
    for frame, time_s in enumerate(expected.times.tolist()):
        box = rows.get(frame)
        blur.add(Row(frame, time_s) if box is None else Row(frame, time_s, 0, box))
    blur.close(True)
    assert sorted(seen.frames) == list(range(40))
    assert seen.ended == "closed True"
    return seen


def test_a_face_is_blurred_before_and_after_it_is_found_and_between(tmp_path: Path) -> None:
    # found in 10 to 12 and 16 to 20, never in between
    found = {frame: [(BOX + frame, 0.9)] for frame in (10, 11, 12, 16, 17, 18, 19, 20)}
    hold = round(HOLD_S / STEP_S) - 1
    seen = see(tmp_path, found, {})
    assert set(seen.hides(BOX + 10)) >= set(range(10 - hold, 11))
    # it went from the one place to the other unseen
    assert set(seen.hides(BOX + 14)) >= {13, 14, 15}
    assert set(seen.hides(BOX + 20)) >= set(range(20, 21 + hold))
    assert not len(seen.frames[10 - hold - 2])
    assert not len(seen.frames[20 + hold + 2])


def test_a_face_in_the_table_is_blurred_though_it_is_not_found_again(tmp_path: Path) -> None:
    seen = see(tmp_path, {}, dict.fromkeys(range(5, 9), BOX))
    assert seen.hides(BOX) == [5, 6, 7, 8]


def test_what_is_hardly_a_face_is_blurred_where_it_is_found_alone(tmp_path: Path) -> None:
    found = {20: [(BOX, 0.9), (OTHER, 0.35)], 22: [(OTHER, 0.35)]}
    seen = see(tmp_path, found, {})
    assert seen.hides(OTHER) == [20, 21, 22]
    assert len(seen.hides(BOX)) >= 2 * HOLD_S / STEP_S - 1


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same video with its faces and without: folders, and the video."""
    folder = tmp_path_factory.mktemp("blur")
    run = write_run(folder / "run", {"decode": {"frames": 4}})
    video = film_of_a_face(folder / "face.mp4", 12)
    for name, more in (("plain", []), ("blurred", ["--blur-faces"])):
        words = ["predict", str(video), "--model", str(run), "--window", "0.6", "--landmarks"]
        words += ["--overlay", "--page", "--out", str(folder / name), *more]
        done = CliRunner().invoke(app, words)
        assert done.exit_code == 0, done.output
    return {"video": video, "plain": folder / "plain", "blurred": folder / "blurred"}


def images_of(folder: Path, kind: str) -> list[np.ndarray]:
    """What is shown in the overlay or on the page, 192 x 192."""
    path = folder / "face.overlay.mp4"
    if kind == "page":
        text = (folder / "face.html").read_text(encoding="utf-8")
        found = re.search(r'id="film-bytes">([^<]*)<', text)
        assert found
        path = folder.parent / f"{folder.name}.page.mp4"
        path.write_bytes(base64.b64decode(found[1]))
    return [np.ascontiguousarray(image[:192]) for image in frames_of(path)[1]]


def test_the_table_and_the_files_are_the_same(outputs: dict[str, Path]) -> None:
    names = {path.name for path in outputs["blurred"].iterdir()}
    assert names == {"face.csv", "face.html", "face.overlay.mp4"}
    tables = [(outputs[name] / "face.csv").read_bytes() for name in ("plain", "blurred")]
    assert tables[0] == tables[1]


@pytest.mark.parametrize("kind", ["overlay", "page"])
def test_nobody_is_found_or_recognized(outputs: dict[str, Path], kind: str) -> None:
    pack = load_pack("demo")
    detector = open_detector(pack, AlignParams(), FacesParams().device)
    network = AppearanceNetwork(pack.models["embedding"], batch=8)

    def described(image: np.ndarray, points: np.ndarray) -> np.ndarray:
        matrix = similarity(points)
        assert matrix is not None
        vector = network.describe(warp(image, matrix)[None])[0][0]
        return np.asarray(vector / np.linalg.norm(vector))

    source = frames_of(outputs["video"])[1]
    plain, hidden = (images_of(outputs[name], kind) for name in ("plain", "blurred"))
    for image, shown, unrecognizable in list(zip(source, plain, hidden, strict=True))[::4]:
        points = detector.detect(image).kps[0]
        own = described(image, points)
        if kind == "page":  # the landmarks on the overlay hide a part of the face
            assert own @ described(shown, points) > 0.8
            assert not len(detector.detect(unrecognizable))
        assert own @ described(unrecognizable, points) < 0.5


def test_the_page_says_that_faces_are_blurred(outputs: dict[str, Path]) -> None:
    said = {name: (outputs[name] / "face.html").read_text("utf-8") for name in ("plain", "blurred")}
    assert "Faces are blurred" in said["blurred"]
    assert "Faces are blurred" not in said["plain"]


def test_without_images_there_is_nothing_to_blur(outputs: dict[str, Path], tmp_path: Path) -> None:
    words = ["predict", str(outputs["video"]), "--blur-faces", "--out", str(tmp_path)]
    done = CliRunner().invoke(app, words)
    assert "add --overlay or --page" in str(done.exception)
