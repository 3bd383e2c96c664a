"""The adapter `ravdess` on 18 files of one actor, 7 performances of which are there twice."""

from __future__ import annotations

import csv
from collections import defaultdict
from pathlib import Path

import pytest

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.common.params import DatasetParams
from arpgnet.pipeline.ingest.run import ingest
from arpgnet.pipeline.tables.manifest import (
    MANIFEST,
    OK,
    SPLITS,
    Manifest,
    read_manifest,
    read_splits,
)

# of one clip each: they cannot be learned from
SINGLE = ["calm", "sadness"]


@pytest.fixture
def clips(assets: Path) -> Path:
    folder = assets / "clips" / "ravdess"
    if not folder.is_dir():
        pytest.skip("no clips/ravdess in the assets")
    return folder


def ingested(root: Path, out: Path, **more: object) -> Manifest:
    settings = {"name": "ravdess", "root": str(root), "group_by": "group", "exclude": SINGLE}
    ingest(DatasetParams.model_validate({**settings, "folds": 3, **more}), folder=out)
    return read_manifest(out / MANIFEST)


def test_names_say_what_the_table_beside_says(clips: Path, tmp_path: Path) -> None:
    manifest = ingested(clips, tmp_path)
    with (clips.parent / "ravdess.csv").open() as file:
        rows = {Path(row["path"]).name: row["label"] for row in csv.DictReader(file)}
    kept = {name: label for name, label in rows.items() if label not in SINGLE}
    assert {clip.path: clip.label for clip in manifest.clips} == kept
    assert manifest.classes == ["neutral", "surprise"]
    assert {clip.subject for clip in manifest.clips} == {"actor_01"}
    assert {clip.status for clip in manifest.clips} == {OK}
    assert manifest.notes["excluded"] == {"calm": 1, "sadness": 1}
    assert manifest.notes["unused_files"]["count"] == 0


def test_groups_are_the_pairs_that_show_the_same_images(clips: Path, tmp_path: Path) -> None:
    manifest = ingested(clips, tmp_path)
    groups = defaultdict(list)
    for clip in manifest.clips:
        groups[clip.group].append(clip)
    pairs = [group for group in groups.values() if len(group) == 2]
    assert len(groups) == 9
    assert manifest.notes["near_duplicates"] == {"clips": 2 * len(pairs), "sets": len(pairs)}
    assert all({a.path[:2], b.path[:2]} == {"01", "02"} for a, b in pairs)


@pytest.mark.parametrize("group_by", ["group", "clip"])
@pytest.mark.parametrize("protocol", ["kfold", "holdout"])
def test_a_performance_is_on_one_side(
    clips: Path, tmp_path: Path, protocol: str, group_by: str
) -> None:
    manifest = ingested(clips, tmp_path, protocol=protocol, group_by=group_by)
    group = {clip.clip_id: clip.group for clip in manifest.clips}
    sides: dict[tuple[int, str | None], set[str]] = defaultdict(set)
    for row in read_splits(tmp_path / SPLITS).to_pylist():
        sides[row["fold"], group[row["clip_id"]]].add(row["split"])
    assert all(len(found) == 1 for found in sides.values())


def test_each_performance_once(clips: Path, tmp_path: Path) -> None:
    manifest = ingested(clips, tmp_path, variant="speech_once")
    assert len(manifest.clips) == 9
    assert all(clip.path.startswith("02-") for clip in manifest.clips)
    assert manifest.notes["left_out"] == {"with sound (01), beside the same without (02)": 7}
    assert manifest.notes["near_duplicates"] == {"clips": 0, "sets": 0}


def test_one_actor_cannot_be_divided_by_subject(clips: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"all clips belong to one subject \('actor_01'\)"):
        ingested(clips, tmp_path, group_by="auto")
