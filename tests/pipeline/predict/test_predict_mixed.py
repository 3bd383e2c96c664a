"""`arpgnet predict` with a network that has outputs of clips and outputs of frames."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from arpgnet.pipeline.cli.main import app
from helpers.face_videos import film, images_of
from helpers.untrained_run import write_run

UNITS = ["au_1", "au_12"]
SETTINGS = {"decode": {"sampling": "all", "frames": 4}, "train": {"window": 4, "stride": 2}}
CLASSES = ["anger", "happiness", "neutral"]
SHARES = [f"p_{name}" for name in CLASSES]


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return film(tmp_path_factory.mktemp("video") / "one.mp4", images_of(1)[:12])


def predicted(root: Path, video: Path, *more: str, **run: Any) -> pd.DataFrame:
    write_run(root, SETTINGS, **run)
    words = ["predict", "--model", str(root), "--out", str(root), *more, str(video)]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output + str(done.exception)
    table = pd.read_csv(root / "one.csv")
    assert len(table) == 12
    return table


MIXED: dict[str, Any] = {"also": {"action_units": UNITS}, "apart": ["action_units"]}


@pytest.mark.parametrize("window", [pytest.param("0.6", marks=pytest.mark.slow), "0.24"])
def test_frames_beside_clips(tmp_path: Path, video: Path, window: str) -> None:
    words = ("--window", window, "--stride", "0.08")
    both = predicted(tmp_path / "both", video, *words, **MIXED)
    alone = predicted(tmp_path / "alone", video, *words)
    # in each window the clip's part is that of a network of clips
    assert both[alone.columns].equals(alone)
    assert both[UNITS].apply(lambda column: column.between(0, 1)).all(axis=None)
    assert both[UNITS].nunique().min() == 12
    assert (both[SHARES].nunique() == 1).all() == (window == "0.6")


def test_clips_beside_frames(tmp_path: Path, video: Path) -> None:
    own: dict[str, Any] = {"task": "frame", "kind": "action_units", "outputs": UNITS}
    further = {"also": {"expression": CLASSES}, "apart": ["expression"]}
    words = ("--window", "0.6")
    both = predicted(tmp_path / "both", video, *words, **own, **further)
    alone = predicted(tmp_path / "alone", video, *words, **own)
    # the video is one clip, in which frames are shown as evaluation shows them
    assert both[UNITS].equals(alone[UNITS])
    assert both["coverage"].equals(alone["coverage"])
    assert both[UNITS].nunique().min() == 12
    assert (both[SHARES].nunique() == 1).all()
    assert both[SHARES].sum(axis=1).to_numpy() == pytest.approx(1, abs=1e-5)
    assert both["label"].isin(CLASSES).all()


@pytest.mark.slow
def test_frames_are_smoothed_and_clips_beside_them_are_not(tmp_path: Path, video: Path) -> None:
    own: dict[str, Any] = {
        "task": "frame",
        "kind": "valence_arousal",
        "outputs": ["valence", "arousal"],
        "also": {"expression": CLASSES},
        "apart": ["expression"],
    }
    words = ("--window", "0.24", "--stride", "0.24")
    plain = predicted(tmp_path / "plain", video, *words, **own)
    smooth = predicted(tmp_path / "smooth", video, *words, **own, smooth=5)
    names = own["outputs"]
    expected = plain[names].rolling(5, center=True, min_periods=1).mean()
    np.testing.assert_allclose(smooth[names], expected, atol=2e-6)
    assert (plain[names] - smooth[names]).abs().max().max() > 1e-4
    rest = plain.columns.difference(names)
    assert smooth[rest].equals(plain[rest])
    assert plain[SHARES].nunique().min() == 2
