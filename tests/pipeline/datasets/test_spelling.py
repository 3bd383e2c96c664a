"""Spellings of one name, and words that stand for nothing."""

from __future__ import annotations

import pytest
from ruamel.yaml import YAML

from arpgnet.pipeline.datasets.spelling import as_yaml, escaped, is_missing, spelled_alike


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Happy", "happy"),
        ("happy", "happy "),
        ("sad", "sad\u200b"),
        ("sad", "\ufeffsad"),
        ("alegr\u00eda", "alegri\u0301a"),
        ("very happy", "very\u00a0 happy"),
        ("sad", "s\u0430d"),  # a Cyrillic letter
        ("sad", "\uff53\uff41\uff44"),
        ('a"\\b', 'a"\\B\u200b'),
        ("stra\u00dfe", "STRASSE"),
    ],
)
def test_spellings_of_one_name(one, other):
    assert spelled_alike([one, "fear", other]) == [sorted([one, other])]
    # and both can be told apart in a message, and be written into params.yaml
    assert escaped(one) != escaped(other)
    for name in (one, other):
        assert YAML(typ="safe").load(f"{{{as_yaml(name)}: x}}") == {name: "x"}


def test_other_names_differ():
    names = [
        "happy",
        "happiness",
        "s1",
        "s01",
        "very happy",
        "veryhappy",
        "\u0433\u043d\u0435\u0432",
    ]
    assert spelled_alike(names) == []
    assert (
        escaped("\u0433\u043d\u0435\u0432 alegr\u00eda") == "\u0433\u043d\u0435\u0432 alegr\u00eda"
    )


@pytest.mark.parametrize(
    "text", ["", "NA", "nan", "NULL", "None", "-1", "N/A", "#N/A", "<NA>", "?"]
)
def test_missing_values(text):
    assert is_missing(text)
    assert is_missing(f" {text}\u200b")
    assert YAML(typ="safe").load(f"{{{as_yaml(text)}: x}}") == {text: "x"}


@pytest.mark.parametrize("text", ["0", "1", "neutral", "other", "Nan Goldin", "n", "no"])
def test_not_missing(text):
    assert not is_missing(text)
