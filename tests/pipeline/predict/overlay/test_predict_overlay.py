"""`arpgnet predict --overlay` through the command line."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from arpgnet.pipeline.cli.main import app
from arpgnet.pipeline.predict.overlay.marks import color_of
from helpers.face_videos import film_of_a_face
from helpers.overlay_videos import film, frames_of
from helpers.untrained_run import write_run


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("run"), {"decode": {"frames": 4}})


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A rendered face, 24 frames."""
    return film_of_a_face(tmp_path_factory.mktemp("video") / "one.mp4")


def arpgnet(workspace: Path, *arguments: str | Path) -> tuple[int, str]:
    words = ["predict", "--model", str(workspace), "--window", "0.6", *map(str, arguments)]
    done = CliRunner().invoke(app, words)
    return done.exit_code, done.output + str(done.exception or "")


def test_the_overlay_lies_beside_the_table_and_agrees_with_it(
    workspace: Path, video: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "videos"
    folder.mkdir()
    shutil.copy(video, folder)
    # the second run does not take the first one's overlay for a video
    for _ in range(2):
        status, said = arpgnet(workspace, folder, "--out", folder, "--overlay")
        assert (status, said.count(" frames, ")) == (0, 1), said
        assert f"{folder / 'one.overlay.mp4'}: overlay\n" in said
    assert {path.name for path in folder.iterdir()} == {"one.mp4", "one.csv", "one.overlay.mp4"}
    table = pd.read_csv(folder / "one.csv")
    times, images = frames_of(folder / "one.overlay.mp4")
    assert times == pytest.approx(table["time_s"].tolist(), abs=1e-4)
    for row, image in zip(table.itertuples(), images, strict=True):
        beside = image[round((row.y1 + row.y2) / 2), round(row.x1)]
        assert np.abs(beside.astype(int) - color_of(row.face_id)).max() < 70


def test_without_a_face_the_pictures_are_there(workspace: Path, tmp_path: Path) -> None:
    gray = film(tmp_path / "gray.mkv")
    status, said = arpgnet(workspace, gray, "--out", tmp_path, "--overlay", "--format", "openface")
    assert status == 1
    assert "no face found in 10 frames" in said
    assert len(frames_of(tmp_path / "gray.overlay.mp4")[0]) == 10


def test_what_cannot_be_is_a_line(workspace: Path, video: Path, tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("not a video")
    assert "not a video" in arpgnet(workspace, tmp_path / "text.mp4", "--overlay")[1]
    other = tmp_path / "one.overlay.mp4"
    shutil.copy(video, other)
    before = other.read_bytes()
    status, said = arpgnet(workspace, video, other, "--out", tmp_path, "--overlay")
    assert status == 1
    assert "would be overwritten: choose another --out" in said
    (tmp_path / "out/one.overlay.mp4.partial").mkdir(parents=True)
    status, said = arpgnet(workspace, video, "--out", tmp_path / "out", "--overlay")
    assert status == 1
    assert "cannot be written" in said
    assert other.read_bytes() == before
