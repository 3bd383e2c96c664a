"""RAVDESS clips: modality 01 and 02 of one performance are the same images."""

from __future__ import annotations

import csv
import itertools
from pathlib import Path

import pytest

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.common.params import DatasetParams
from arpgnet.pipeline.datasets.fingerprint import WHOLE_S, movement, similarity, thumbnails
from arpgnet.pipeline.ingest.run import ingest
from arpgnet.pipeline.tables.manifest import MANIFEST, SPLITS, read_manifest, read_splits


@pytest.fixture
def clips(assets: Path) -> Path:
    folder = assets / "clips"
    if not (folder / "ravdess.csv").is_file():
        pytest.skip("no clips/ravdess.csv in the assets")
    return folder


def params(root: Path, manifest: Path | str, **more: object) -> DatasetParams:
    settings = {"name": "csv", "root": str(root), "manifest": str(manifest), "group_by": "clip"}
    return DatasetParams.model_validate({**settings, "exclude": ["calm", "sadness"], **more})


def performance(path: str) -> str:
    """All of a file's code but its modality."""
    return Path(path).stem[2:]


def test_one_actor_cannot_be_split_by_subject(clips, tmp_path):
    with pytest.raises(UserError, match=r"all clips belong to one subject \('actor01'\)"):
        ingest(params(clips, "ravdess.csv", group_by="subject"), folder=tmp_path)


def test_classes_of_one_clip_cannot_be_learned(clips, tmp_path):
    with pytest.raises(UserError, match=r"set dataset.exclude=\[calm, sadness\]"):
        ingest(params(clips, "ravdess.csv", exclude=[]), folder=tmp_path)


@pytest.mark.parametrize("protocol", ["holdout", "kfold"])
@pytest.mark.parametrize("seed", [0, 1])
def test_near_duplicates_never_cross(clips, tmp_path, protocol, seed):
    ingest(params(clips, "ravdess.csv", protocol=protocol, seed=seed, folds=3), folder=tmp_path)
    manifest = read_manifest(tmp_path / MANIFEST)
    assert manifest.notes["near_duplicates"] == {"clips": 14, "sets": 7}
    assert manifest.notes["excluded"] == {"calm": 1, "sadness": 1}
    path = {clip.clip_id: clip.path for clip in manifest.clips}
    sides: dict[tuple[int, str], set[str]] = {}
    for row in read_splits(tmp_path / SPLITS).to_pylist():
        key = (row["fold"], performance(path[row["clip_id"]]))
        sides.setdefault(key, set()).add(row["split"])
    assert all(len(found) == 1 for found in sides.values())
    assert set.union(*sides.values()) == {"train", "val", "test"}


def test_a_split_by_modality_is_refused(clips, tmp_path):
    with (clips / "ravdess.csv").open() as file:
        rows = list(csv.DictReader(file))
    naive = tmp_path / "naive.csv"
    lines = [
        f"{row['path']},{row['label']},{'test' if row['modality'] == '01' else 'train'}\n"
        for row in rows
    ]
    naive.write_text("path,label,split\n" + "".join(lines))
    with pytest.raises(UserError, match="are near-duplicates but are in test and") as error:
        ingest(params(clips, naive, protocol="official"), folder=tmp_path)
    first, second = str(error.value).split("'")[1:4:2]
    assert performance(first) == performance(second)


def test_performances_are_far_apart(clips):
    """The limits lie in a wide gap."""
    found = {
        path: (movement(thumbnails(path)), movement(thumbnails(path, WHOLE_S)))
        for path in sorted(clips.glob("*/*.m[kp][4v]"))
    }
    near_duplicates, others = [], []
    for a, b in itertools.combinations(found, 2):
        if a.parent == b.parent:
            same = a.parent.name == "ravdess" and performance(str(a)) == performance(str(b))
            pair = tuple(similarity(x, y) for x, y in zip(found[a], found[b], strict=True))
            (near_duplicates if same else others).append(pair)
    assert len(near_duplicates) == 7
    assert min(min(pair) for pair in near_duplicates) > 0.97
    assert not [pair for pair in others if pair[0] > 0.55 and pair[1] > 0.6]
