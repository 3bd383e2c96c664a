"""Class names and their order."""

from __future__ import annotations

import pytest

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.common.params import DatasetParams
from arpgnet.pipeline.datasets.base import ListedClip
from arpgnet.pipeline.ingest.classes import choose_classes

CLIPS = [
    ListedClip(f"{label}{number}.mp4", label, where=f"line {number}")
    for number, label in enumerate(["joy", "anger", "joy", "fear"], start=2)
]


def test_auto_is_sorted():
    assert choose_classes(CLIPS, DatasetParams()) == (["anger", "fear", "joy"], {})


def test_a_list_fixes_the_order():
    params = DatasetParams(classes=["joy", "fear", "anger"])
    assert choose_classes(CLIPS, params)[0] == ["joy", "fear", "anger"]


def test_exclude_is_counted():
    assert choose_classes(CLIPS, DatasetParams(exclude=["joy"])) == (["anger", "fear"], {"joy": 2})


@pytest.mark.parametrize(
    ("params", "message"),
    [
        (
            {"classes": ["Joy", "anger", "fear"]},
            r"class 'joy' \(2 clips, first: line 2\) is not in dataset.classes; nearest: 'Joy'",
        ),
        ({"classes": ["joy", "anger"]}, r"class 'fear' \(1 clip, first: line 5\) is not in"),
        (
            {"classes": ["joy", "anger", "fear", "fearful"]},
            "no clip has the class 'fearful'; nearest: 'fear'",
        ),
        ({"exclude": ["angry"]}, "dataset.exclude: no clip has the class 'angry'; nearest: 'ange"),
        ({"classes": ["joy", "anger", "fear"], "exclude": ["joy"]}, "'joy' is in both"),
        (
            {"classes": ["joy", "disgust"]},
            r"class 'anger' .*class 'fear' .*; list them there, or in dataset.exclude",
        ),
        ({"exclude": ["x", "y"]}, r"the class 'x'.*; dataset.exclude: no clip has the class 'y'"),
        ({"exclude": ["joy", "fear"]}, r"two classes are needed; the data set has anger"),
    ],
)
def test_mistakes(params, message):
    with pytest.raises(UserError, match=message):
        choose_classes(CLIPS, DatasetParams(**params))
