"""The overlay's file: its frames, times, sound, and what is drawn where."""

from pathlib import Path

import av
import numpy as np
import pytest

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.predict.overlay.marks import color_of
from arpgnet.pipeline.predict.overlay.overlay import Overlay
from arpgnet.pipeline.predict.rows import Regions, Row, TableHeader
from arpgnet.pipeline.video.stream import plan
from helpers.overlay_videos import CLASSES, GRAY, film, frames_of, overlay, sound_of

VARIABLE = [0, 40, 60, 150, 190, 1000, 1033]
# what 4:2:0 and H.264 leave of a color, per channel
NEAR = 45
VALUES = np.array([0.8, 0.1, 0.1])


def near(pixels: np.ndarray, color: tuple[int, int, int]) -> np.ndarray:
    """Which pixels have a color: bool [...]."""
    return np.asarray((np.abs(pixels.astype(int) - color) < NEAR).all(axis=-1))


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts"])
def test_frames_have_the_sources_times(tmp_path: Path, name: str) -> None:
    video = film(tmp_path / name, times_ms=VARIABLE)
    times, _ = frames_of(overlay(tmp_path / "o.mp4", video, [(0, (100, 120, 200, 240), 1.0)]))
    own, _ = frames_of(video)
    assert times == pytest.approx(np.array(own) - own[0], abs=1e-4)
    assert times == pytest.approx(np.array(VARIABLE) / 1000, abs=1e-4)


@pytest.mark.parametrize(
    ("name", "codec"), [("a.mp4", "aac"), ("a.ts", "aac"), ("a.mkv", "libopus")]
)
def test_sound_is_copied(tmp_path: Path, name: str, codec: str) -> None:
    video = film(tmp_path / name, sound=codec)
    before, after = sound_of(video), sound_of(overlay(tmp_path / "o.mp4", video, []))
    assert after[0] == before[0]
    assert after[2] == pytest.approx(before[2] - frames_of(video)[0][0], abs=0.03)
    if name != "a.ts":  # there every packet has a header of its own
        assert after[3] == before[3]
    assert np.abs(after[1]).max() == pytest.approx(np.abs(before[1]).max(), rel=0.05)


def test_sound_that_mp4_does_not_hold_is_encoded(tmp_path: Path) -> None:
    made = overlay(tmp_path / "o.mp4", film(tmp_path / "a.mkv", sound="pcm_s16le"), [])
    name, samples, start, _ = sound_of(made)
    assert name == "aac"
    assert start == pytest.approx(0, abs=0.03)
    assert len(samples) == pytest.approx(48000, abs=3000)
    assert np.abs(samples).max() == pytest.approx(0.3, abs=0.05)
    spectrum = np.abs(np.fft.rfft(samples))
    assert spectrum.argmax() * 48000 / len(samples) == pytest.approx(440, abs=2)


@pytest.mark.parametrize(("width", "height"), [(640, 360), (1920, 1080)])
def test_boxes_have_the_faces_colors(tmp_path: Path, width: int, height: int) -> None:
    video = film(tmp_path / "a.mkv", width=width, height=height, times_ms=[0, 40])
    scale = height // 360
    boxes = {0: (60, 150, 180, 300), 1: (300, 150, 420, 300)}
    found = [(face, [scale * value for value in box], 1.0) for face, box in boxes.items()]
    _, images = frames_of(overlay(tmp_path / "o.mp4", video, found))
    for face, box in boxes.items():
        left, top, right, bottom = (scale * value for value in box)
        across, down = (left + right) // 2, (top + bottom) // 2
        for x, y in ((left, down), (right, down), (across, top), (across, bottom)):
            assert near(images[-1][y, x], color_of(face)), (face, x, y)
        assert near(images[-1][down, across], (GRAY, GRAY, GRAY))


def test_the_file_is_h264_with_even_sides(tmp_path: Path) -> None:
    video = film(tmp_path / "a.mkv", width=335, height=251, pixels="yuv444p")
    with av.open(str(overlay(tmp_path / "o.mp4", video, []))) as container:
        context = container.streams.video[0].codec_context
        assert (context.name, context.pix_fmt) == ("h264", "yuv420p")
        assert (context.width, context.height % 2) == (336, 0)


def test_a_portrait_video_is_upright(tmp_path: Path) -> None:
    video = film(tmp_path / "a.mp4", width=360, height=640, rotation=90)
    _, images = frames_of(overlay(tmp_path / "o.mp4", video, [(0, (100, 300, 200, 400), 1.0)]))
    image = images[0]
    assert image.shape[1] == 360
    assert image.shape[0] > 640
    assert near(image[40, 50:300], (255, 255, 255)).all()
    assert near(image[250, 50:300], (GRAY, GRAY, GRAY)).all()
    assert near(image[350, 100], color_of(0))


def test_an_uncertain_face_is_dashed_and_thinner(tmp_path: Path) -> None:
    video = film(tmp_path / "a.mkv", times_ms=[0])
    edges = []
    for coverage in (1.0, 0.2):
        made = overlay(tmp_path / "o.mp4", video, [(0, (100, 150, 300, 300), coverage)])
        edges.append(frames_of(made)[1][0][160:290, 97:104])
    solid, dashed = (near(edge, color_of(0)).any(axis=1).mean() for edge in edges)
    assert solid > 0.95
    assert 0.2 < dashed < 0.75


def test_the_strip_shows_the_course_of_each_face(tmp_path: Path) -> None:
    video = film(tmp_path / "a.mkv", times_ms=range(0, 2000, 40))
    faces = [(0, (60, 120, 180, 300), 1.0), (1, (300, 120, 420, 300), 1.0)]
    _, images = frames_of(overlay(tmp_path / "o.mp4", video, faces))
    early, late = images[5][360:], images[-1][360:]
    for number, half in enumerate((slice(0, 320), slice(320, 640))):
        now = near(late[:, half], color_of(number)).sum()
        assert now > 1.5 * near(early[:, half], color_of(number)).sum()
        assert now > 400
        assert near(late[:, half], color_of(1 - number)).sum() < 20


def test_a_face_that_is_gone_leaves_the_strip(tmp_path: Path) -> None:
    video = film(tmp_path / "a.mkv", times_ms=range(0, 12000, 200))
    expected = plan(video)
    made = Overlay(tmp_path / "o.mp4", video, expected, TableHeader("a", CLASSES, 0))
    box = np.array([60.0, 120.0, 180.0, 300.0])
    for frame, time_s in enumerate(expected.times.tolist()):
        row = Row(frame, time_s, 0, box, 0.9, VALUES, 1.0) if time_s < 2 else Row(frame, time_s)
        made.add(row)
    made.close(True)
    _, images = frames_of(tmp_path / "o.mp4")
    assert near(images[15][360:], color_of(0)).sum() > 50
    assert near(images[-1][360:], color_of(0)).sum() == 0


def test_landmarks_are_dots(tmp_path: Path) -> None:
    video = film(tmp_path / "a.mkv", times_ms=[0])
    made = Overlay(tmp_path / "o.mp4", video, plan(video), TableHeader("a", CLASSES, 2))
    points = np.array([[200.0, 200.0], [np.nan, np.nan]])
    made.add(Row(0, 0.0, 0, np.array([100.0, 120.0, 400.0, 340.0]), 0.9, VALUES, 1.0, points))
    made.close(True)
    _, (image,) = frames_of(tmp_path / "o.mp4")
    assert np.abs(image[198:203, 198:203].astype(int) - GRAY).max() > 60
    assert near(image[230, 230], (GRAY, GRAY, GRAY))


def test_a_small_face_is_left_visible(tmp_path: Path) -> None:
    video = film(tmp_path / "a.mkv", times_ms=[0])
    made = Overlay(tmp_path / "o.mp4", video, plan(video), TableHeader("a", CLASSES, 98))
    inner = np.random.default_rng(0).uniform(8, 52, (98, 2))
    for number, left in enumerate((100.0, 400.0)):
        side = 60.0 if number == 0 else 160.0
        box = np.array([left, 150.0, left + side, 150.0 + side])
        points = box[:2] + inner * side / 60
        made.add(Row(0, 0.0, number, box, 0.9, VALUES, 1.0, points))
    made.close(True)
    _, (image,) = frames_of(tmp_path / "o.mp4")
    # no dots, and a line of at most a tenth of the face
    small = image[150:210, 100:160].astype(int)
    assert (np.abs(small[6:-6, 6:-6] - GRAY).max(axis=-1) < 40).all()
    # dots, between which most of the face is to be seen
    large = np.abs(image[160:300, 410:550].astype(int) - GRAY).max(axis=-1)
    assert 98 < (large > 60).sum() < 0.25 * large.size


def test_the_label_of_a_face_at_the_top_stands_below_it(tmp_path: Path) -> None:
    video = film(tmp_path / "a.mkv", times_ms=[0])
    made = overlay(tmp_path / "o.mp4", video, [(0, (100, 4, 180, 84), 1.0)])
    _, (image,) = frames_of(made)
    assert near(image[20:70, 110:170], (255, 255, 255)).all()
    assert near(image[90:102, 100:180], color_of(0)).mean() > 0.3


def test_the_heat_map_is_explained_and_can_be_left_out(tmp_path: Path) -> None:
    video = film(tmp_path / "a.mkv", times_ms=[0])
    looks = Regions(np.array([[0.5, 0.5]]), np.array([1.5]))
    box = np.array([100.0, 120.0, 300.0, 320.0])
    faces, heights = [], []
    for attention in (True, False):
        head = TableHeader("a", CLASSES, 0)
        made = Overlay(tmp_path / "o.mp4", video, plan(video), head, attention=attention)
        made.add(Row(0, 0.0, 0, box, 0.9, VALUES, 1.0, regions=looks))
        made.close(True)
        image = frames_of(tmp_path / "o.mp4")[1][0]
        faces.append(near(image[220, 200], (GRAY, GRAY, GRAY)))
        # a line more below the curves
        heights.append(len(image))
        assert (image[-16:, 250:400].max() > 150) == attention
    assert faces == [False, True]
    assert heights[0] == heights[1] + 16


@pytest.mark.parametrize(
    "box", [(-50, -40, 900, 800), (600, 10, 700, 30), (5.4, 350.2, 5.6, 350.3)]
)
@pytest.mark.parametrize(("width", "height"), [(640, 360), (32, 24)])
def test_boxes_beyond_the_picture_and_tiny_pictures(
    tmp_path: Path, box: tuple[float, ...], width: int, height: int
) -> None:
    video = film(tmp_path / "a.mkv", width=width, height=height, times_ms=[0, 40])
    faces = [(0, box, 1.0), (7, box, 0.1), (123, box, 1.0)]
    times, _ = frames_of(overlay(tmp_path / "o.mp4", video, faces))
    assert len(times) == 2


def test_a_folder_that_cannot_be_written_is_a_line(tmp_path: Path) -> None:
    video = film(tmp_path / "a.mkv", times_ms=[0])
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot be written"):
        overlay(tmp_path / "file" / "o.mp4", video, [])
    (tmp_path / "o.mp4.partial").mkdir()
    with pytest.raises(UserError, match="cannot be written"):
        overlay(tmp_path / "o.mp4", video, [])
