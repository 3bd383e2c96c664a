"""Target values in tables: names, codes for what is not annotated, and refusals in one line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.datasets.clip_targets import (
    ClipTargets,
    of_clip,
    ordered,
    read_block,
    read_frame_targets,
    read_value,
    target_name,
    target_table,
    unannotated,
)
from arpgnet.pipeline.tables.targets import read_targets, write_targets


@pytest.mark.parametrize(
    ("column", "name"),
    [
        ("au_12", "au_12"),
        ("AU12", "au_12"),
        ("AU01_c", "au_1"),
        ("AU06_r", "au_6_intensity"),
        ("'AU 1'", "au_1"),
        ('"AU 25"', "au_25"),
        ("au_4_intensity", "au_4_intensity"),
        ("Valence", "valence"),
        (" arousal ", "arousal"),
        ("audio", None),
        ("label", None),
    ],
)
def test_columns_by_the_names_that_others_use(column: str, name: str | None) -> None:
    assert target_name(column) == name


@pytest.mark.parametrize("text", ["", "9", "999", "-1", "-1.0", "nan", "NA", "999.0"])
@pytest.mark.parametrize("name", ["au_1", "au_1_intensity"])
def test_codes_of_units_for_nothing(name: str, text: str) -> None:
    assert np.isnan(read_value(name, text))


def test_of_affect_minus_one_is_a_value_and_minus_five_is_none() -> None:
    assert read_value("valence", "-1") == -1
    assert np.isnan(read_value("arousal", "-5"))
    assert np.isnan(read_value("arousal", ""))


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("au_6", "3", "au_6 '3' is not 0 or 1 (not annotated: 9, 999, -1 or nothing); intensities"),
        ("au_6", "yes", "au_6 'yes' is not 0 or 1"),
        ("au_6", "-5", "au_6 '-5' is not 0 or 1 (not annotated: 9, 999, -1 or nothing)"),
        ("au_6", "0.5", "is not 0 or 1"),
        ("au_6_intensity", "6", "is not in 0 to 5"),
        ("valence", "1.5", "is not in -1 to 1 (not annotated: -5 or nothing)"),
        ("valence", "inf", "is not in -1 to 1"),
    ],
)
def test_other_values_are_refused(name: str, text: str, said: str) -> None:
    with pytest.raises(UserError) as error:
        read_value(name, text)
    assert said in str(error.value)


def test_a_table_of_frames_in_any_order_of_columns_and_lines(tmp_path: Path) -> None:
    path = tmp_path / "v.csv"
    path.write_text("arousal,frame,'AU 12',au_1\n-5,4,1,9\n0.5,2,0,1\n")
    found = read_frame_targets(path)
    assert found.names == ("arousal", "au_12", "au_1")
    assert found.frames is not None
    assert found.frames.tolist() == [2, 4]
    np.testing.assert_array_equal(found.values, np.array([[0.5, 0, 1], [np.nan, 1, np.nan]], "f4"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "v.csv has no frames"),
        ("au_1\n", "v.csv has no frames"),
        ("smile\n1\n", "line 1 of v.csv names no target (found: smile)"),
        ("au_1,AU01\n1,0\n", "line 1 of v.csv names au_1 twice"),
        ("au_1,au_2\n1\n", "line 2 of v.csv: 1 fields where the header has 2"),
        ("au_1\n0\n4\n", "line 3 of v.csv: au_1 '4' is not 0 or 1"),
        ("frame,au_1\nx,0\n", "line 2 of v.csv: frame 'x' is not a whole number"),
        ("frame,au_1\n1,0\n1,1\n", "line 3 of v.csv: frame 1 is listed twice"),
    ],
)
def test_no_such_table_is_refused_in_a_line(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "v.csv"
    path.write_text(text)
    with pytest.raises(UserError) as error:
        read_frame_targets(path)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_all_clips_in_one_table_with_a_count_of_the_gaps(tmp_path: Path) -> None:
    clip = of_clip({"path": "a.mp4", "au_12": "1", "valence": "-5"})
    assert of_clip({"path": "a.mp4"}) == ()
    frames = ClipTargets(("au_12", "au_2"), np.array([[0, 9], [1, 1]], np.float32), np.arange(2))
    table = target_table({"a": clip, "b": clip, "c": (frames,)})
    assert table.names == ["au_2", "au_12", "valence"]
    assert table.clip_id.tolist() == ["a", "b", "c", "c"]
    assert table.frame_index.tolist() == [-1, -1, 0, 1]
    write_targets(table, tmp_path / "targets.parquet")
    back = read_targets(tmp_path / "targets.parquet")
    assert back.names == table.names
    np.testing.assert_array_equal(back.values, table.values)
    np.testing.assert_array_equal(back.frame_index, table.frame_index)
    holed = target_table({"a": clip, "b": of_clip({"au_12": "9", "valence": "0"})})
    assert unannotated(holed) == [
        "targets without an annotation, which are masked, of 2 clips: au_12 1, valence 1"
    ]


def test_units_in_order_of_their_numbers() -> None:
    names = ["valence", "au_12", "au_2_intensity", "au_2", "arousal"]
    assert ordered(names) == ["au_2", "au_2_intensity", "au_12", "valence", "arousal"]


def test_many_lines_at_once_are_read_as_one_by_one() -> None:
    names = ["au_1", "au_2_intensity", "valence"]
    lines = ["1,2.5,-1", "9,999,-5", "-1,0,0.25", "0,5,nan"]
    expected = [[read_value(n, cell) for n, cell in zip(names, line.split(","), strict=True)]
                for line in lines]  # fmt: skip
    np.testing.assert_array_equal(read_block(names, lines), np.array(expected, np.float32))
    for wrong in ("2,0,0", "1,6,0", "1,0,-2", "1,0", "1,,0", "1,0,x", "1,0,inf"):
        assert read_block(names, [*lines, wrong]) is None
