"""Videos whose images change their size: the overlay and the page show them undistorted."""

import base64
import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from arpgnet.pipeline.cli.main import app
from arpgnet.pipeline.predict.letterbox import Letterbox
from arpgnet.pipeline.predict.overlay.marks import color_of
from arpgnet.pipeline.predict.rows import Row
from helpers.face_videos import images_of
from helpers.made_videos import joined, write_images
from helpers.overlay_videos import frames_of
from helpers.untrained_run import write_run

PART = 12


@pytest.mark.parametrize(
    ("frame", "place"),
    [
        ((640, 360), (0, 0, 640, 360)), ((202, 360), (219, 0, 421, 360)),
        ((1280, 360), (0, 90, 640, 270)), ((1279, 721), (0, 0, 640, 360)),
        ((64, 36), (0, 0, 640, 360)),
    ],
)  # fmt: skip
def test_a_frame_is_as_large_as_it_fits_and_in_the_middle(
    frame: tuple[int, int], place: tuple[int, int, int, int]
) -> None:
    canvas = Letterbox(640, 360)
    width, height = frame
    shown = canvas.image(np.full((height, width, 3), 200, np.uint8))
    left, top, right, bottom = place
    assert (shown[top:bottom, left:right] == 200).all()
    assert shown.sum() == 200 * 3 * (right - left) * (bottom - top)
    points = np.array([[0.0, 0.0], [width / 2, height / 2], [np.nan, np.nan]])
    row = Row(0, 0.0, 0, np.array([0.0, 0, width, height]), points=points)
    moved = canvas.row(row, width, height)
    assert moved.box is not None
    assert moved.points is not None
    assert moved.box == pytest.approx(np.array(place, float))
    assert moved.points[:2] == pytest.approx(np.array([[left, top], [320, 180]]))
    assert np.isnan(moved.points[2]).all()
    assert canvas.row(Row(0, 0.0), width, height).box is None


def test_the_overlay_and_the_page_of_a_phone_that_is_turned(tmp_path: Path) -> None:
    workspace = write_run(tmp_path / "run", {"decode": {"frames": 4}})
    faces = images_of(1, PART)
    wide = [np.pad(image, ((0, 0), (100, 92), (0, 0)), mode="edge") for image in faces]
    parts = [
        write_images(tmp_path / f"{number}.webm", "libvpx", images)
        for number, images in enumerate((wide, faces))
    ]
    joined(tmp_path / "turned.webm", *parts)
    words = ["--model", str(workspace), "--window", "0.4", "--out", str(tmp_path), "--overlay"]
    done = CliRunner().invoke(app, ["predict", *words, "--page", str(tmp_path / "turned.webm")])
    assert done.exit_code == 0, done.output
    table = pd.read_csv(tmp_path / "turned.csv")
    # the box is in its own frame's pixels
    assert table["x1"].iloc[: PART - 1].mean() - table["x1"].iloc[-5:].mean() > 80
    text = (tmp_path / "turned.html").read_text()
    film = re.search(r'id="film-bytes">([^<]*)<', text)
    metadata = re.search(r'id="metadata">(.*?)</script>', text)
    assert film
    assert metadata
    (tmp_path / "page.mp4").write_bytes(base64.b64decode(film[1]))
    _, pages = frames_of(tmp_path / "page.mp4")
    _, overlays = frames_of(tmp_path / "turned.overlay.mp4")
    last = len(table) - 1
    for image in (pages[last], overlays[last][:192]):
        assert image.shape == (192, 384, 3)
        assert image[:, :92].max() < 30
        assert image[:, 292:].max() < 30
    bare = np.abs(pages[last][:, 96:288].astype(int) - faces[last - PART]).mean()
    assert bare < 8
    left, right = (96 + table.loc[last, name] for name in ("x1", "x2"))
    middle = round((table.loc[last, "y1"] + table.loc[last, "y2"]) / 2)
    for x in (left, right):
        edge = overlays[last][middle, round(x)].astype(int)
        assert np.abs(edge - color_of(0)).max() < 45
    boxes = json.loads(metadata[1])["faces"][0]["boxes"]
    box = np.frombuffer(base64.b64decode(boxes), "<f4").reshape(-1, 4)[-1]
    assert box[[0, 2]] * 384 == pytest.approx([left, right], abs=0.5)
