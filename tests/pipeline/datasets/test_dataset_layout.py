"""What names of files and folders say."""

from __future__ import annotations

from pipeline.datasets.layout import natural


def test_numbers_in_names_sort_by_their_value() -> None:
    names = ["s10", "s2", "s2b10", "s2b9", "b", "10", "9"]
    assert sorted(names, key=natural) == ["9", "10", "b", "s2", "s2b9", "s2b10", "s10"]


def test_what_only_looks_like_a_number_is_text() -> None:
    assert sorted(["m²1", "m10", "m2"], key=natural) == ["m2", "m10", "m²1"]
