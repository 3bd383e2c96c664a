"""Protocols: what is divided, what is never divided, and what is refused."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.common.params import DatasetParams
from arpgnet.pipeline.datasets.groups import components, units
from arpgnet.pipeline.ingest.checks import check_classes, check_leaks, drop_leaks
from arpgnet.pipeline.ingest.splits import assign_splits
from arpgnet.pipeline.tables.manifest import Clip

# what `auto` stands for with clips of one's own
OWN = {"protocol": "kfold", "group_by": "subject", "folds": 4}


def settled(**params) -> DatasetParams:
    return DatasetParams(**{**OWN, **params})


def clip(number: int, label: str = "a", **more) -> Clip:
    return Clip(f"c{number:03d}", f"c{number}.mp4", sha256=f"{number:064x}", label=label, **more)


def study(subjects: int = 6, labels: str = "ab", each: int = 2, **more) -> list[Clip]:
    rows = [(s, label) for s in range(subjects) for label in labels for _ in range(each)]
    return [clip(n, label, subject=f"s{s}", **more) for n, (s, label) in enumerate(rows)]


def divided(clips, near_duplicates=None, **params):
    params = settled(**params)
    near_duplicates = near_duplicates or [None] * len(clips)
    splits = assign_splits(clips, params, near_duplicates)
    check_leaks(clips, splits.folds, params, near_duplicates)
    return splits


def sides_of(clips, sides, key) -> dict:
    found = defaultdict(set)
    for item, side in zip(clips, sides, strict=True):
        found[key(item)].add(side)
    return found


tables = st.lists(
    st.tuples(st.sampled_from("abc"), st.integers(0, 7), st.one_of(st.none(), st.integers(0, 9))),
    min_size=12,
    max_size=60,
)


@settings(max_examples=60, deadline=None)
@given(
    tables,
    st.sampled_from(["holdout", "kfold", "loso"]),
    st.sampled_from(["subject", "group", "clip"]),
    st.integers(0, 3),
)
def test_units_never_cross_and_every_clip_has_a_side(table, protocol, group_by, seed):
    clips = [
        clip(
            number,
            label,
            subject=f"s{subject}",
            group=f"g{subject if group is None and group_by == 'group' else group}"
            if group is not None or group_by == "group"
            else None,
        )
        for number, (label, subject, group) in enumerate(table)
    ]
    near_duplicates = [0 if number in (0, 5) else None for number in range(len(clips))]
    settings = {"protocol": protocol, "group_by": group_by, "seed": seed, "folds": 3}
    params = settled(**settings)
    try:
        splits = assign_splits(clips, params, near_duplicates)
    except UserError:
        return  # too few units: the message is tested below
    check_leaks(clips, splits.folds, params, near_duplicates)
    unit = units(clips, params, near_duplicates)
    tested = []
    for sides in splits.folds:
        assert len(sides) == len(clips)
        assert {"train", "val", "test"} == set(sides)
        joined = defaultdict(set)
        for row, side in enumerate(sides):
            joined[unit[row]].add(side)
        assert all(len(found) == 1 for found in joined.values())
        assert sides[0] == sides[5]
        tested += [row for row, side in enumerate(sides) if side == "test"]
    if protocol != "holdout":
        assert sorted(tested) == list(range(len(clips)))
    assert splits == assign_splits(clips, params, near_duplicates)


@given(st.lists(st.tuples(st.one_of(st.none(), st.integers(0, 5)), st.integers(0, 20))))
def test_components_are_the_transitive_closure(rows):
    columns = [[a for a, _ in rows], [b for _, b in rows]]
    found = components(len(rows), columns)
    linked = [{row} for row in range(len(rows))]
    for _ in rows:
        linked = [
            {
                other
                for member in group
                for other in range(len(rows))
                for column in columns
                if other == member
                or (column[other] is not None and column[other] == column[member])
            }
            for group in linked
        ]
    assert found == [min(group) for group in linked]


def test_kfold_is_stratified_by_subject():
    clips = study(subjects=8)
    splits = divided(clips, protocol="kfold", folds=4)
    assert len(splits.folds) == 4
    for sides in splits.folds:
        by_subject = sides_of(clips, sides, lambda item: item.subject)
        assert sum(found == {"test"} for found in by_subject.values()) == 2
        assert sum(found == {"val"} for found in by_subject.values()) >= 1


def test_loso_has_a_fold_a_subject():
    splits = divided(study(subjects=5), protocol="loso")
    assert len(splits.folds) == 5
    assert splits.remarks == []


def test_loso_joins_subjects_that_share_a_group():
    clips = study(subjects=3)
    clips = [*clips, clip(90, subject="s3", group="g"), clip(91, subject="s4", group="g")]
    splits = divided(clips, protocol="loso")
    assert len(splits.folds) == 4
    remark = "5 subjects, but only 4 folds: some subjects share a group or near-duplicates"
    assert splits.remarks == [remark]


def test_holdout_takes_about_the_fraction():
    sides = divided(study(subjects=10), protocol="holdout", test_fraction=0.2).folds[0]
    assert sides.count("test") == 8


def test_seed_matters():
    clips = study(subjects=12)
    folds = {tuple(divided(clips, protocol="holdout", seed=seed).folds[0]) for seed in range(5)}
    assert len(folds) > 1


def test_given_folds_are_used_as_they_are():
    clips = [clip(n, "ab"[n % 2], subject=f"s{n // 2}", fold=5 + n // 4) for n in range(12)]
    splits = divided(clips, protocol="kfold", folds=9)
    assert len(splits.folds) == 3
    for number, sides in enumerate(splits.folds):
        tested = [item.fold for item, side in zip(clips, sides, strict=True) if side == "test"]
        assert tested == [5 + number] * 4


def test_given_splits_without_subjects_are_remarked():
    clips = [clip(n, split=split) for n, split in enumerate(["train", "val", "test"])]
    assert "one person may be on two sides" in divided(clips, protocol="official").remarks[0]
    assert divided(clips, protocol="official", group_by="clip").remarks == []


@pytest.mark.parametrize("protocol", ["official", "holdout"])
def test_given_splits_are_used_as_they_are(protocol):
    clips = [
        clip(n, "ab"[n % 2], subject=side, split=side)
        for n, side in enumerate(["train", "train", "val", "val", "test", "test"])
    ]
    splits = divided(clips, protocol=protocol)
    assert splits.folds == [["train", "train", "val", "val", "test", "test"]]


def test_val_is_carved_from_train_by_subject():
    clips = [
        clip(n, "ab"[n % 2], subject=f"s{n // 2}", split="train" if n < 20 else "test")
        for n in range(24)
    ]
    sides = divided(clips, protocol="official").folds[0]
    assert sides[20:] == ["test"] * 4
    assert sides[:20].count("val") == 4
    assert all(sides[n] == sides[n + 1] for n in range(0, 24, 2))


def test_val_becomes_test_where_test_is_withheld():
    clips = [
        clip(n, "ab"[n % 2], subject=f"s{n // 2}", split="train" if n < 20 else "val")
        for n in range(24)
    ]
    splits = divided(clips, protocol="official")
    assert splits.folds[0][20:] == ["test"] * 4
    assert "val" in splits.folds[0][:20]
    remark = "no test split is provided: the provided val is used as the test split"
    assert splits.remarks[0] == remark


def test_carving_keeps_every_class_in_train_where_it_can():
    # class b has two subjects: one of them may go to val, never both
    clips = [clip(n, "b" if n in (0, 7) else "a", subject=f"s{n}") for n in range(12)]
    clips += [clip(n, "ab"[n % 2], subject="t") for n in (20, 21)]
    for seed in range(10):
        sides = divided(clips, protocol="loso", seed=seed).folds
        for fold in sides:
            train = {c.label for c, side in zip(clips, fold, strict=True) if side == "train"}
            assert train == {"a", "b"}


def test_carving_counts_on_readable_clips_only():
    # of the two subjects with class b, one cannot be read: the other must train
    clips = [clip(n, "a", subject=f"s{n}") for n in range(4)]
    clips += [
        clip(10, "b", subject="s0"),
        clip(11, "b", subject="s1", status="quarantined", reason="the file is empty"),
    ]
    clips = [replace(item, split="train") for item in clips]
    clips += [clip(20 + n, "ab"[n], subject="t", split="test") for n in range(2)]
    for seed in range(10):
        sides = divided(clips, protocol="official", seed=seed).folds[0]
        assert sides[4] == "train"


MISTAKES = [
    (
        [clip(0), clip(1)],
        {},
        "the clips have no subject: add a column 'subject', or set dataset.group_by=group or "
        "dataset.group_by=clip (the result is then not subject-independent",
    ),
    ([clip(0, subject="s"), clip(1)], {}, "1 clip has no subject"),
    ([clip(0), clip(1)], {"group_by": "group"}, "no group: add a column 'group', or set dataset."),
    (
        [clip(0, subject="s"), clip(1, subject="s")],
        {},
        "all clips belong to one subject ('s'), which cannot be split: add clips of other "
        "subjects, or set dataset.group_by=group or",
    ),
    (study(3), {"folds": 4}, "dataset.folds: 4 needs at least 4 subjects, but there are only 3"),
    (
        study(3),
        {"protocol": "holdout", "test_fraction": 0.2},
        "dataset.test_fraction: 0.2 needs at least 5 subjects",
    ),
    (study(2), {"protocol": "loso"}, "the training part of fold 0 has only 1 subject, which"),
    (study(3), {"protocol": "loso", "group_by": "clip"}, "loso needs dataset.group_by: subject or"),
    (study(3), {"protocol": "official"}, "official needs a column 'split'"),
    (
        [clip(0, split="train"), clip(1)],
        {"protocol": "official"},
        "1 clip without a split, first: 'c001'",
    ),
    ([clip(0, split="test")], {"protocol": "official"}, "the column 'split' has no train"),
    ([clip(0, split="train")], {"protocol": "official"}, "neither test nor val"),
    ([clip(0, fold=1), clip(1)], {}, "1 clip without a fold, first: 'c001'"),
    ([clip(0, fold=1), clip(1, fold=1)], {}, "the column 'fold' has one value (1)"),
    (
        [clip(n, "abcdefgh"[n % 8], subject=f"s{n}") for n in range(16)],
        {"folds": 4},
        "no class has more than 2 clips",
    ),
]


@pytest.mark.parametrize(("clips", "params", "message"), MISTAKES)
def test_mistakes(clips, params, message):
    with pytest.raises(UserError) as error:
        divided(clips, **params)
    assert message in str(error.value)


def test_subjects_that_share_images_count_as_one_and_the_line_says_so():
    clips = [clip(n, subject=f"s{n % 3}") for n in range(6)]
    with pytest.raises(UserError) as error:
        divided(clips, near_duplicates=[7, 7, 8, 8, None, None], folds=2)
    assert (
        "dataset.folds: 2 needs at least 2 subjects, but there are only 1, because some of the 3 "
        "subjects share groups, files or images and stay together (`arpgnet data check` lists "
        "near-duplicates)"
    ) in str(error.value)


def test_shared_subject_is_refused():
    clips = [
        clip(n, subject=subject, split=split)
        for n, (subject, split) in enumerate(
            [("s1", "train"), ("s2", "val"), ("s3", "test"), ("s1", "test")]
        )
    ]
    with pytest.raises(
        UserError, match="'c000' and 'c003' show the same subject but are in train and test"
    ):
        divided(clips, protocol="official")
    # what is asked for by group_by, and no more, is promised
    assert divided(clips, protocol="official", group_by="clip")


def test_shared_group_is_refused_always():
    clips = [
        clip(n, group=group, split=split)
        for n, (group, split) in enumerate([("g", "train"), (None, "val"), ("g", "test")])
    ]
    with pytest.raises(UserError, match="'c000' and 'c002' belong to the same group but"):
        divided(clips, protocol="official", group_by="clip")


def test_shared_file_is_refused():
    clips = [
        Clip(f"c{n}", f"{n}.mp4", sha256=sha, label="a", fold=n // 2)
        for n, sha in enumerate("abac")
    ]
    with pytest.raises(
        UserError, match=r"'c0' and 'c2' are the same file but are in t.* of fold 0"
    ):
        divided(clips, protocol="kfold", group_by="clip")


def test_shared_images_are_refused():
    clips = [clip(n, split=split) for n, split in enumerate(["train", "val", "test", "test"])]
    with pytest.raises(
        UserError,
        match="'c000' and 'c003' are near-duplicates but are in train and test: put them",
    ):
        divided(clips, near_duplicates=[0, None, None, 0], protocol="official", group_by="clip")


def test_unreadable_files_have_nothing_in_common():
    clips = [
        Clip(f"c{n}", f"{n}.mp4", sha256="", label="a", split=split)
        for n, split in enumerate(["train", "val", "test"])
    ]
    assert divided(clips, protocol="official", group_by="clip")


def test_leaks_that_are_dropped():
    """The tested copy stays; what shows the same is not trained on in that fold, only there."""
    clips = [
        Clip(f"c{n}", f"{n}.mp4", sha256=f"{n % 5}" * 64, label="a", fold=n % 3, group=None)
        for n in range(9)
    ]
    params = settled(group_by="clip", leaks="drop")
    folds = [["test" if clip.fold == f else "train" for clip in clips] for f in range(3)]
    folds[0][1] = "val"
    with pytest.raises(UserError, match=r"dataset\.leaks=drop"):
        check_leaks(clips, folds, params, [None] * 9)
    parted, (remark,) = drop_leaks(clips, folds, params, [None] * 9)
    check_leaks(clips, parted, params, [None] * 9)
    for before, after in zip(folds, parted, strict=True):
        tested = {row for row, side in enumerate(after) if side == "test"}
        assert tested == {row for row, side in enumerate(before) if side == "test"}
    # c6 validates beside its copy c1; c0, c3, c6 are tested in fold 0, and so c5, c8 are out there
    assert [row for row, side in enumerate(parted[0]) if side == "out"] == [1, 5, 8]
    assert remark.startswith("8 clips removed from training because a test or validation")


def test_class_that_a_fold_cannot_learn():
    clips = study(4, "ab")
    clips = [item for item in clips if item.label == "a" or item.subject == "s0"]
    params = settled(protocol="loso")
    near_duplicates: list[int | None] = [None] * len(clips)
    folds = assign_splits(clips, params, near_duplicates).folds
    with pytest.raises(
        UserError,
        match=r"fold 0 has no training clip of class 'b' \(it has 2 readable clips in 1 group .*"
        r"dataset.exclude=\[b\], choose fewer folds",
    ):
        check_classes(clips, folds, ["a", "b"], params, near_duplicates)


def test_quarantined_clips_teach_nothing():
    clips = [
        clip(0, "a"),
        clip(1, "b", status="quarantined", reason="zero bytes"),
        clip(2, "a"),
        clip(3, "b"),
    ]
    folds = [["train", "train", "test", "test"]]
    with pytest.raises(UserError, match="fold 0 has no training clip of class 'b'"):
        check_classes(clips, folds, ["a", "b"], settled(group_by="clip"), [None] * 4)


def test_all_small_classes_are_named_at_once():
    clips = [clip(n, "abcd"[min(n, 3)]) for n in range(8)]
    folds = [["test"] * 3 + ["train", "val", *["test"] * 3], ["train"] * 8]
    with pytest.raises(UserError) as raised:
        check_classes(clips, folds, ["a", "b", "c", "d"], settled(group_by="clip"), [None] * 8)
    line = str(raised.value)
    for name in "abc":
        assert f"fold 0 has no training clip of class '{name}' (it has 1 readable clip" in line
    assert "set dataset.exclude=[a, b, c], choose fewer folds" in line
    # what is too small for both is one error, too
    with pytest.raises(
        UserError, match=r"class 'a' .*exclude=\[a\], choose.*class 'b'.*=\[b\], an"
    ):
        check_classes(clips[:2], [["test", "train"]], ["a", "b"], settled(), [None] * 2)


def test_class_that_is_never_tested():
    clips = [clip(0, "a"), clip(1, "b"), clip(2, "a")]
    with pytest.raises(UserError, match="no clip of class 'b' is in any test part"):
        check_classes(clips, [["train", "train", "test"]], ["a", "b"], settled(), [None] * 3)
