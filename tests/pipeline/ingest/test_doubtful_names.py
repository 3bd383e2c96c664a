"""One class or person in two spellings, and missing values as classes, are refused in one line."""

from __future__ import annotations

import numpy as np
import pytest
from ruamel.yaml import YAML

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.common.params import DatasetParams
from arpgnet.pipeline.datasets.base import ListedClip
from arpgnet.pipeline.datasets.frame_names import FrameNames
from arpgnet.pipeline.ingest.classes import choose_classes, map_classes


def clips(*labels, **more):
    return [
        ListedClip(f"{row}.mp4", label, where=f"line {row}", **more)
        for row, label in enumerate(labels, 2)
    ]


def refused(listed, **settings):
    with pytest.raises(UserError) as error:
        map_classes(listed, DatasetParams(**settings))
    assert "\n" not in str(error.value)
    return str(error.value)


def proposed(said):
    """The setting that the message proposes, as YAML reads it."""
    text = said.split("dataset.map: ")[1]
    return YAML(typ="safe").load(text[: text.index("}") + 1])


@pytest.mark.parametrize(
    ("labels", "kept"),
    [
        (["Happy", "happy", "happy", "sad"], "happy"),
        (["Happy", "HAPPY ", "happy", "happy", "sad"], "happy"),
        (["sad", "sad\u200b", "sad\u200b", "joy"], "sad"),
        (["alegri\u0301a", "alegr\u00eda", "tristeza"], "alegr\u00eda"),
        (["happy ", "happy", "sad"], "happy"),
        (["very happy", "very  happy", "sad"], "very happy"),
    ],
)
def test_the_proposed_map_makes_one_class_of_all_spellings(labels, kept):
    listed = clips(*labels)
    said = refused(listed)
    assert said.startswith("classes ")
    assert "line 2" in said
    mapped = map_classes(listed, DatasetParams(map=proposed(said)))
    classes, _ = choose_classes(mapped.clips, DatasetParams())
    assert classes == sorted({kept, labels[-1]})


def test_the_difference_is_visible():
    assert r"'sad' and 'sad\u200b'" in refused(clips("sad", "sad\u200b", "joy"))
    said = refused(clips("alegri\u0301a", "alegr\u00eda", "joy"))
    assert "'alegri\\u0301a' and 'alegr\u00eda'" in said


def test_a_listed_spelling_is_kept():
    said = refused(clips("Happy", "happy", "happy", "sad"), classes=["Happy", "sad"])
    assert proposed(said) == {"happy": "Happy"}


def test_a_spelling_that_is_left_out_is_none():
    listed = clips("Happy", "happy", "sad")
    for settings in ({"map": {"Happy": None}}, {"exclude": ["Happy"]}):
        map_classes(listed, DatasetParams(**settings))


def test_frame_labels():
    frames = FrameNames(("Joy", "joy", "sad"), np.array([0, 1, 2], np.int16))
    assert proposed(refused([ListedClip("a.mp4", None, frames=frames)])) == {"joy": "Joy"}


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("subject", ("S1", "s1 ")),
        ("subject", ("s\u200b1", "s1")),
        ("group", ("Film", "film")),
    ],
)
def test_people(column, values):
    listed = [
        ListedClip(f"{n}.mp4", "ab"[n], where=f"line {n}", **{column: values[n]}) for n in (0, 1)
    ]
    said = refused(listed)
    assert said.startswith(f"{column}s ")
    assert "line 0" in said
    assert "line 1" in said
    assert "both sides of a split" in said


def test_traits():
    listed = [
        ListedClip("a.mp4", "x", traits=(("gender", "Female"),)),
        ListedClip("b.mp4", "y", traits=(("gender", "female"),)),
    ]
    assert "values of trait_gender 'Female' and 'female' differ" in refused(listed)


@pytest.mark.parametrize("word", ["nan", "-1", "NA", "None", "null", "unknown"])
def test_missing_labels(word):
    listed = clips("joy", word, word, "sad")
    said = refused(listed)
    assert f"class '{word}' (2 clips, first: line 3) is read as a missing label" in said
    assert proposed(said) == {word: None}
    left = map_classes(listed, DatasetParams(map=proposed(said)))
    assert len(left.clips) == 2
    assert sum(left.left_out.values()) == 2
    # a class of that name, where the user says so
    for settings in ({"map": {word: word}}, {"classes": ["joy", word, "sad"]}):
        assert len(map_classes(listed, DatasetParams(**settings)).clips) == 4


def test_missing_values_of_frames_are_counted():
    frames = FrameNames(("joy", "nan", "sad"), np.array([0, 1, 1, 2], np.int16))
    listed = [ListedClip("a.mp4", None, frames=frames)]
    mapped = map_classes(listed, DatasetParams())
    assert mapped.left_out == {"frames: 'nan' is a missing value": 2}
    assert mapped.clips[0].classes == {"joy", "sad"}
    kept = map_classes(listed, DatasetParams(map={"nan": "nan"}))
    assert kept.clips[0].classes == {"joy", "nan", "sad"}
