"""Nobody who is tested is learned from."""

from dataclasses import replace
from typing import Any

import pyarrow as pa

from arpgnet.pipeline.pretrain.people import divide
from arpgnet.pipeline.tables.manifest import QUARANTINED, SPLITS_SCHEMA, Clip


def clip(clip_id: str, subject: str | None = None, **more: Any) -> Clip:
    return Clip(clip_id, f"{clip_id}.mp4", more.pop("sha256", clip_id), subject=subject, **more)


def splits(*rows: tuple[str, int, str]) -> pa.Table:
    names = ("clip_id", "fold", "split")
    return pa.Table.from_pylist([dict(zip(names, row, strict=True)) for row in rows], SPLITS_SCHEMA)


def test_all_clips_of_a_tested_person_stay_out() -> None:
    clips = [clip("a1", "ann"), clip("a2", "ann"), clip("b1", "bob"), clip("c1"), clip("c2")]
    # of ann one clip is tested; of c1 nobody knows who it is
    found = divide(clips, splits(("a1", 0, "test"), ("a2", 0, "train"), ("c1", 0, "test")), "all")
    assert [one.clip_id for one in found.tested] == ["a1", "c1"]
    assert [one.clip_id for one in found.free] == ["b1", "c2"]
    assert found.tested_people == {"ann"}
    assert found.left_out == {"a clip of a person who is tested": 3}


def test_near_duplicates_and_parts_of_the_same_file_stay_out() -> None:
    tested = clip("t", "tom", group="g1", sha256="file")
    others = [clip("u", "una", group="g1"), clip("v", None, sha256="file"), clip("w", "wim")]
    bad = replace(clip("x", "xi"), status=QUARANTINED, reason="damaged")
    found = divide([tested, *others, bad], splits(("t", 0, "test")), "all")
    assert [one.clip_id for one in found.free] == ["w"]
    assert found.left_out == {
        "a clip of a person who is tested": 3,
        "a clip that cannot be used": 1,
    }


def test_of_several_folds_those_that_are_trained_count() -> None:
    clips = [clip("a", "ann"), clip("b", "bob")]
    parts = [("a", 0, "test"), ("b", 0, "val"), ("b", 1, "test"), ("a", 1, "train")]
    assert divide(clips, splits(*parts), "all").free == []
    assert divide(clips, splits(*parts), [0]).free == clips[1:]
    assert divide(clips, splits(*parts), [0, 1]).free == []


def test_clips_without_a_name_and_without_a_sum_are_not_all_one_person() -> None:
    clips = [clip("a", sha256=""), clip("b", sha256="")]
    assert divide(clips, splits(("a", 0, "test")), "all").free == clips[1:]
