"""`arpgnet predict` with networks of other tasks than expressions."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

import arpgnet
from arpgnet.pipeline.cli.main import app
from helpers.face_videos import film, images_of
from helpers.untrained_run import write_run

UNITS = ["au_1", "au_12"]


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return film(tmp_path_factory.mktemp("video") / "one.mp4", images_of(1)[:6])


def predicted(root: Path, video: Path, form: str, *more: str) -> tuple[int, str]:
    words = ["predict", "--model", str(root), "--window", "0.6", "--format", form]
    done = CliRunner().invoke(app, [*words, "--out", str(root), str(video), *more])
    return done.exit_code, done.output + str(done.exception or "")


def test_action_units_have_columns_of_their_own_in_every_format(
    tmp_path: Path, video: Path
) -> None:
    write_run(tmp_path, {"decode": {"frames": 4}}, kind="action_units", outputs=UNITS)
    status, said = predicted(tmp_path, video, "csv", "--overlay", "--page")
    assert status == 0
    assert (tmp_path / "one.overlay.mp4").stat().st_size > 1000
    page = (tmp_path / "one.html").read_text()
    assert "one.mp4: action units" in page
    assert '"AU12 lip corner puller"' in page
    assert "Probability that the unit is present, 0 to 1" in page
    assert "probability that the unit is present, 0 to 1; au_1 inner brow raiser, au_12" in said
    table = pd.read_csv(tmp_path / "one.csv")
    assert not {"label", "p_au_1"} & set(table.columns)
    assert table[UNITS].apply(lambda column: column.between(0, 1)).all(axis=None)
    # each by itself: they are no shares of one
    assert (table[UNITS].sum(axis=1) - 1).abs().max() > 1e-3
    assert predicted(tmp_path, video, "openface")[0] == 0
    openface = pd.read_csv(tmp_path / "one.openface.csv")
    assert (openface["AU12_c"] == (table["au_12"] >= 0.5)).all()
    assert "label" not in openface.columns
    assert predicted(tmp_path, video, "pyfeat")[0] == 0
    pyfeat = pd.read_csv(tmp_path / "one.pyfeat.csv")
    assert pyfeat["AU01"].to_numpy() == pytest.approx(table["au_1"].to_numpy(), abs=1e-6)
    assert predicted(tmp_path, video, "parquet")[0] == 0
    metadata = pq.read_metadata(tmp_path / "one.parquet").metadata
    assert metadata[b"kind"] == b"action_units"
    assert b"thresholds" not in metadata
    assert b"lip corner puller" in metadata[b"scale"]
    assert predicted(tmp_path, video, "intervals")[0] == 0
    stretches = pd.read_csv(tmp_path / "one.intervals.csv")
    assert set(stretches["label"]) == {name for name in UNITS if (table[name] >= 0.5).any()}
    assert (stretches["mean_p"] >= 0.5).all()


def test_the_runs_own_thresholds_say_what_is_present(tmp_path: Path, video: Path) -> None:
    # one that no probability reaches, and one that each does
    thresholds = {"action_units": [0.97, 0.02]}
    own = {"kind": "action_units", "outputs": UNITS, "thresholds": thresholds}
    root = write_run(tmp_path, {"decode": {"frames": 4}}, **own)
    status, said = predicted(root, video, "openface", "--page")
    assert status == 0
    assert "au_12 lip corner puller (present from 0.020)" in " ".join(said.split())
    openface = pd.read_csv(root / "one.openface.csv")
    assert set(openface["AU01_c"]) == {0}
    assert set(openface["AU12_c"]) == {1}
    page = (root / "one.html").read_text()
    assert '"limits": ["\\u2265 0.97", "\\u2265 0.02"]' in page
    assert "From its own threshold on, which stands beside it" in page
    assert predicted(root, video, "parquet")[0] == 0
    metadata = pq.read_metadata(root / "one.parquet").metadata
    assert json.loads(metadata[b"thresholds"]) == thresholds["action_units"]
    assert arpgnet.load(str(root)).thresholds == {"au_1": 0.97, "au_12": 0.02}


@pytest.mark.parametrize(
    ("kind", "outputs", "low", "high"),
    [
        ("intensity", ["au_6_intensity"], 0, 5),
        ("valence_arousal", ["valence", "arousal"], -1, 1),
    ],
)
def test_values_are_on_their_scale(
    tmp_path: Path, video: Path, kind: str, outputs: list[str], low: float, high: float
) -> None:
    write_run(tmp_path, {"decode": {"frames": 4}}, "clip", kind=kind, outputs=outputs)
    assert predicted(tmp_path, video, "openface")[0] == 0
    table = pd.read_csv(tmp_path / "one.openface.csv")
    names = ["AU06_r"] if kind == "intensity" else outputs
    if kind == "valence_arousal":
        status, said = predicted(tmp_path, video, "intervals")
        assert status != 0
        assert "which always have a value: use parquet, csv, jsonl, openface, pyfeat" in said
    assert table[names].apply(lambda column: column.between(low, high)).all(axis=None)


def test_values_of_frames_are_smoothed_as_the_run_says(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    video = film(tmp_path_factory.mktemp("long") / "one.mp4", images_of(1)[:12])
    settings = {"decode": {"sampling": "all"}, "train": {"window": 4, "stride": 2}}
    own = {"kind": "valence_arousal", "outputs": ["valence", "arousal"]}
    tables = []
    for length in (1, 5):
        root = write_run(tmp_path / str(length), settings, "frame", **own, smooth=length)
        assert predicted(root, video, "csv")[0] == 0
        tables.append(pd.read_csv(root / "one.csv"))
    before, after = tables
    expected = before[own["outputs"]].rolling(5, center=True, min_periods=1).mean()
    assert (before["valence"] - after["valence"]).abs().max() > 1e-4
    np.testing.assert_allclose(after[own["outputs"]], expected, atol=2e-6)
    assert before.drop(columns=own["outputs"]).equals(after.drop(columns=own["outputs"]))


ALSO = {"valence_arousal": ["valence", "arousal"], "action_units": UNITS}


def test_further_tasks_have_their_columns_in_every_format(tmp_path: Path, video: Path) -> None:
    write_run(tmp_path, {"decode": {"frames": 4}}, also=ALSO)
    status, said = predicted(tmp_path, video, "parquet", "--page")
    assert status == 0
    assert "valence and arousal: -1 (unpleasant, calm) to 1" in said
    assert "action units: probability that the unit is present" in said
    page = (tmp_path / "one.html").read_text()
    assert "3 classes; valence and arousal; action units." in page
    table = pd.read_parquet(tmp_path / "one.parquet")
    first = list(table.columns).index("label") + 1
    assert list(table.columns)[first : first + 4] == [*ALSO["valence_arousal"], *UNITS]
    shares = [name for name in table.columns if name.startswith("p_")]
    assert table[shares].sum(axis=1).to_numpy() == pytest.approx(1, abs=1e-5)
    assert table[UNITS].apply(lambda column: column.between(0, 1)).all(axis=None)
    metadata = pq.read_metadata(tmp_path / "one.parquet").metadata
    also = json.loads(metadata[b"also"])
    assert {one["kind"]: one["outputs"] for one in also} == ALSO
    assert "lip corner puller" in also[1]["scale"]
    assert metadata[b"kind"] == b"expression"
    assert predicted(tmp_path, video, "openface")[0] == 0
    openface = pd.read_csv(tmp_path / "one.openface.csv")
    assert (openface["AU12_c"] == (table["au_12"] >= 0.5)).all()
    assert list(openface["label"]) == list(table["label"])
    assert predicted(tmp_path, video, "pyfeat")[0] == 0
    pyfeat = pd.read_csv(tmp_path / "one.pyfeat.csv")
    assert pyfeat["AU01"].to_numpy() == pytest.approx(table["au_1"].to_numpy(), abs=1e-5)
    model = arpgnet.load(str(tmp_path))
    assert model.also == ALSO
    again = model.predict(video, window_s=0.6)
    assert again[UNITS].equals(table[UNITS])


def test_the_other_tasks_share_the_main_ones_numbers_of_a_network_without_them(
    tmp_path: Path, video: Path
) -> None:
    for name, also in (("alone", None), ("both", ALSO)):
        root = write_run(tmp_path / name, {"decode": {"frames": 4}}, also=also)
        assert predicted(root, video, "csv")[0] == 0
    alone, both = (pd.read_csv(tmp_path / name / "one.csv") for name in ("alone", "both"))
    # the further head starts last, and all else as without it
    assert both[alone.columns].equals(alone)


def test_only_the_main_tasks_frames_are_smoothed(tmp_path: Path, video: Path) -> None:
    settings = {"decode": {"sampling": "all"}, "train": {"window": 4, "stride": 2}}
    own = {"kind": "valence_arousal", "outputs": ["valence", "arousal"]}
    tables = []
    for length in (1, 5):
        root = tmp_path / str(length)
        write_run(root, settings, "frame", **own, smooth=length, also={"action_units": UNITS})
        assert predicted(root, video, "csv")[0] == 0
        tables.append(pd.read_csv(root / "one.csv"))
    before, after = tables
    assert (before["valence"] - after["valence"]).abs().max() > 1e-4
    assert before[UNITS].equals(after[UNITS])
    assert before[UNITS].std().min() > 0
    # the main task always has a value, the other one does not
    assert predicted(root, video, "intervals")[0] == 0
    found = pd.read_csv(root / "one.intervals.csv")
    assert list(found.columns[4:6]) == ["label", "mean_p"]
    assert set(found["label"]) == {name for name in UNITS if (after[name] >= 0.5).any()}
