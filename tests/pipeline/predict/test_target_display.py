"""How values of every task are named, formatted and emphasized, in overlay, page and summary."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from arpgnet.pipeline.predict.display import Display
from arpgnet.pipeline.predict.output import IntervalTable
from arpgnet.pipeline.predict.overlay.marks import color_of, sizes
from arpgnet.pipeline.predict.overlay.strip import Strip
from arpgnet.pipeline.predict.page.words import words_of
from arpgnet.pipeline.predict.rows import Row, TableHeader
from arpgnet.pipeline.predict.summary import FaceSummary, columns_of, summary_table
from arpgnet.pipeline.tables.facs import RANGES
from arpgnet.pipeline.training.kinds import KINDS

BOX = np.array([0.0, 0.0, 9.0, 9.0])
UNITS = Display("action_units", ["au_4", "au_12"])
LEVELS = Display("intensity", ["au_4_intensity", "au_12_intensity"])
MOODS = Display("valence_arousal", ["valence", "arousal"])
CLASSES = Display("expression", ["anger", "joy"])


def rows(*values: list[float] | None) -> list[Row]:
    """A face's rows at 10 frames per second; None: no window has shown it."""
    return [
        Row(n, n / 10, 0, BOX, 0.9, None if one is None else np.array(one), 1.0)
        for n, one in enumerate(values)
    ]


def summarized(display: Display, *values: list[float] | None) -> FaceSummary:
    summary = FaceSummary(TableHeader("a.mp4", display.names, 0, kind=display.kind))
    for one in rows(*values):
        summary.add(one)
    summary.close(complete=True)
    return summary


def test_every_task_has_a_scale_and_words() -> None:
    assert set(RANGES) == set(KINDS)
    for kind in KINDS:
        words = words_of(Display(kind, ["au_1", "au_2"]))
        assert all(words.values()), kind


@pytest.mark.parametrize(
    ("display", "values", "said"),
    [
        (CLASSES, [0.2, 0.8], "joy 0.80"),
        (UNITS, [0.5, 0.9], "AU4, AU12"),
        (UNITS, [0.49, 0.2], "no action unit"),
        (LEVELS, [0.9, 3.1], "AU12 3.10"),
        (MOODS, [0.42, -0.1], "valence +0.42, arousal -0.10"),
    ],
)
def test_what_is_predicted_is_said_in_a_few_words(
    display: Display, values: list[float], said: str
) -> None:
    assert display.words(np.array(values)) == said
    assert display.words(None) == ""


def test_a_units_number_is_explained() -> None:
    assert UNITS.long == ["AU4 brow lowerer", "AU12 lip corner puller"]
    assert LEVELS.short == UNITS.short == ["AU4", "AU12"]
    assert MOODS.long == MOODS.names


def test_a_summary_of_units_counts_the_frames_that_show_them() -> None:
    found = summarized(UNITS, [0.9, 0.1], [0.7, 0.6], None, [0.2, 0.2])
    (row,) = found.rows()
    assert list(row) == columns_of(UNITS)
    assert row["fraction_au_4"] == pytest.approx(2 / 3)
    assert (row["max_au_12"], row["max_s_au_12"]) == (0.6, 0.1)
    assert row["mean_au_4"] == pytest.approx(0.6)
    assert "label" not in row
    table = summary_table(UNITS, [row])
    assert list(table.columns[-1].cells) == ["AU4 67%, AU12 33%"]


def test_a_summary_of_valence_has_mean_and_range() -> None:
    (row,) = summarized(MOODS, [-0.4, 0.2], [0.2, 0.4]).rows()
    assert (row["mean_valence"], row["min_valence"], row["max_valence"]) == (
        pytest.approx(-0.1), -0.4, 0.2,
    )  # fmt: skip
    assert not [name for name in row if "fraction" in name]
    said = list(summary_table(MOODS, [row]).columns[-1].cells)
    assert said[0].startswith("valence -0.10 (-0.40 to +0.20), arousal +0.30")
    (unseen,) = summarized(MOODS, None).rows()
    assert np.isnan(unseen["min_valence"])
    assert list(summary_table(MOODS, [unseen]).columns[-1].cells) == [""]


def test_intervals_of_units_overlap(tmp_path: Path) -> None:
    head = TableHeader("a.mp4", LEVELS.names, 0, kind=LEVELS.kind)
    table = IntervalTable(tmp_path / "i.csv", head)
    for one in rows([2, 0], [4, 1], [0, 3], [0, 0]):
        table.add(one)
    table.close(complete=True)
    found = pd.read_csv(tmp_path / "i.csv").drop(columns=["face_id", "duration_s", "complete"])
    assert found.to_numpy().tolist() == [
        [0.0, 0.2, "au_4_intensity", 3.0],
        [0.1, 0.3, "au_12_intensity", 2.0],
    ]
    assert found.columns[-1] == "mean_intensity"


def test_the_strips_curve_of_a_negative_value_hangs_below_zero() -> None:
    size = sizes(640, 360)

    def drawn(valence: float) -> np.ndarray:
        strip = Strip(MOODS, 640, size)
        for one in rows(*[[valence, 0.0]] * 20):
            image = strip.draw(one.time_s, [one])
        # the first of two lines, two rows high, below the row of the face
        line = image[size.text // 3 + size.row : size.text // 3 + 3 * size.row]
        return np.flatnonzero((line == color_of(0)).all(axis=-1).any(axis=1))

    above, below = drawn(0.8), drawn(-0.8)
    assert above.max() <= below.min()
    assert len(above) == pytest.approx(len(below), abs=1)
