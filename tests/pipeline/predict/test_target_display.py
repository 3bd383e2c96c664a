"""How values of every task are named, formatted and emphasized, in overlay, page and summary."""

from __future__ import annotations

from dataclasses import replace
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


def head_of(main: Display, *also: Display) -> TableHeader:
    return TableHeader(
        "a.mp4", main.names, 0, kind=main.kind, also=also, thresholds=main.thresholds
    )


def with_further(values: list[Row], *further: list[float]) -> list[Row]:
    """The rows, with what further tasks predict in them."""
    return [replace(one, further=np.array(more)) for one, more in zip(values, further, strict=True)]


def summarized(display: Display, *values: list[float] | None) -> FaceSummary:
    summary = FaceSummary(head_of(display))
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
    assert list(row) == columns_of([UNITS])
    assert row["fraction_au_4"] == pytest.approx(2 / 3)
    assert (row["max_au_12"], row["max_s_au_12"]) == (0.6, 0.1)
    assert row["mean_au_4"] == pytest.approx(0.6)
    assert "label" not in row
    table = summary_table([UNITS], [row])
    assert list(table.columns[-1].cells) == ["AU4 67%, AU12 33%"]


def test_a_summary_of_valence_has_mean_and_range() -> None:
    (row,) = summarized(MOODS, [-0.4, 0.2], [0.2, 0.4]).rows()
    assert (row["mean_valence"], row["min_valence"], row["max_valence"]) == (
        pytest.approx(-0.1), -0.4, 0.2,
    )  # fmt: skip
    assert not [name for name in row if "fraction" in name]
    said = list(summary_table([MOODS], [row]).columns[-1].cells)
    assert said[0].startswith("valence -0.10 (-0.40 to +0.20), arousal +0.30")
    (unseen,) = summarized(MOODS, None).rows()
    assert np.isnan(unseen["min_valence"])
    assert list(summary_table([MOODS], [unseen]).columns[-1].cells) == [""]


def test_each_task_has_its_columns_in_a_summary() -> None:
    head = head_of(CLASSES, MOODS, UNITS)
    summary = FaceSummary(head)
    seen = rows([0.2, 0.8], None, [0.4, 0.6])
    more = [-0.4, 0.2, 0.9, 0.1], [np.nan] * 4, [0.2, 0.4, 0.7, 0.6]
    for one in with_further(seen, *more):
        summary.add(replace(one, further=None) if one.probabilities is None else one)
    summary.close(complete=True)
    (row,) = summary.rows()
    assert list(row) == columns_of(head.tasks)
    assert (row["label"], row["fraction_joy"]) == ("joy", 1)
    assert row["mean_valence"] == pytest.approx(-0.1)
    assert (row["min_valence"], row["max_valence"]) == (-0.4, 0.2)
    assert (row["fraction_au_4"], row["fraction_au_12"]) == (1, 0.5)
    table = summary_table(head.tasks, [row])
    assert [column.header for column in table.columns][-2:] == [
        "valence and arousal: mean (range)", "action units: present in % of frames",
    ]  # fmt: skip
    assert list(table.columns[-1].cells) == ["AU4 100%, AU12 50%"]
    # alone, the columns are what they were
    assert columns_of([CLASSES]) == [
        name for name in row if not name.endswith(("valence", "arousal", "au_4", "au_12"))
    ]


def stretches(folder: Path, head: TableHeader, some: list[Row]) -> pd.DataFrame:
    table = IntervalTable(folder / "i.csv", head)
    for one in some:
        table.add(one)
    table.close(complete=True)
    return pd.read_csv(folder / "i.csv").drop(columns=["face_id", "duration_s", "complete"])


def test_intervals_of_several_tasks_name_the_task(tmp_path: Path) -> None:
    own = Display("action_units", UNITS.names, [0.2, 0.95])
    some = with_further(rows([0.2, 0.8], [0.9, 0.1]), [0.3, 0.9, 0.5, -1], [0.1, 0.1, 0.5, -1])
    found = stretches(tmp_path, head_of(CLASSES, own, MOODS), some)
    assert list(found.columns) == ["start_s", "end_s", "task", "label", "mean_p"]
    assert found.to_numpy().tolist() == [
        [0.0, 0.1, "expression", "joy", 0.8],
        [0.0, 0.1, "action_units", "au_4", 0.3],
        [0.1, 0.2, "expression", "anger", 0.9],
    ]
    levels = stretches(tmp_path, head_of(CLASSES, LEVELS), [])
    assert levels.columns[-1] == "mean_value"
    # of one task the file stays as it is, whether it is the main one or not
    plain = stretches(tmp_path, head_of(UNITS), rows([0.5, 0.1]))
    assert plain.equals(stretches(tmp_path, head_of(UNITS, MOODS), rows([0.5, 0.1])))
    other = with_further(rows([0.5, 0.1]), [0.5, 0.1])
    assert stretches(tmp_path, head_of(MOODS, UNITS), other).equals(plain)


def test_intervals_of_units_overlap(tmp_path: Path) -> None:
    found = stretches(tmp_path, head_of(LEVELS), rows([2, 0], [4, 1], [0, 3], [0, 0]))
    assert found.to_numpy().tolist() == [
        [0.0, 0.2, "au_4_intensity", 3.0],
        [0.1, 0.3, "au_12_intensity", 2.0],
    ]
    assert found.columns[-1] == "mean_intensity"


def test_the_strips_curve_of_a_negative_value_hangs_below_zero() -> None:
    size = sizes(640, 360)

    def drawn(valence: float) -> np.ndarray:
        strip = Strip(head_of(MOODS), 640, size)
        for one in rows(*[[valence, 0.0]] * 20):
            image = strip.draw(one.time_s, [one])
        # the first of two lines, two rows high, below the row of the face
        line = image[size.text // 3 + size.row : size.text // 3 + 3 * size.row]
        return np.flatnonzero((line == color_of(0)).all(axis=-1).any(axis=1))

    above, below = drawn(0.8), drawn(-0.8)
    assert above.max() <= below.min()
    assert len(above) == pytest.approx(len(below), abs=1)


def test_further_tasks_have_a_line_of_text_in_the_strip() -> None:
    size = sizes(640, 360)
    alone, both = Strip(head_of(CLASSES), 640, size), Strip(head_of(CLASSES, MOODS), 640, size)
    assert both.height == alone.height + size.row
    first, other = rows([0.2, 0.8]), with_further(rows([0.2, 0.8]), [0.3, -0.5])
    before, after = alone.draw(0.0, first), both.draw(0.0, other)
    # a row for their words, below the face's own; everything else is as without them
    top, second = (size.text // 3 + number * size.row for number in (1, 2))
    assert (after[:top] == before[:top]).all()
    assert (after[second:] == before[top:]).all()
    assert len(np.unique(after[top:second].reshape(-1, 3), axis=0)) > 1
