"""Rendered and real faces are told apart by what training keeps of its clips, both ways."""

from pathlib import Path

import numpy as np
import pytest
import torch
from ruamel.yaml import YAML

from arpgnet.pipeline.common.params import Params
from arpgnet.pipeline.tables.manifest import read_manifest, read_splits
from arpgnet.pipeline.train.folds import Fold, read_folds
from arpgnet.pipeline.training.data import load
from arpgnet.pipeline.training.domain import MANY, Domain, view_means
from arpgnet.pipeline.training.tasks import Task, make_task
from helpers.in_process import stage

SETS = {
    "rendered": {"name": "demo", "demo": {"clips_per_class": 2}},
    # the other classes have one clip each
    "real": {"name": "ravdess", "group_by": "group", "folds": 3, "exclude": ["calm", "sadness"]},
}


def views(task: Task, clips: np.ndarray) -> torch.Tensor:
    return view_means(task.dataset.features, task.evaluation(clips).rows)


def test_other_faces_are_beyond_the_limit_and_the_same_are_not(
    assets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ARPGNET_MODELS", str(assets / "weights"))
    found: dict[str, tuple[Task, list[Fold]]] = {}
    for name, dataset in SETS.items():
        root = tmp_path / name
        root.mkdir()
        where = {"root": str(assets / "clips/ravdess")} if name == "real" else {}
        with (root / "params.yaml").open("w") as file:
            YAML().dump({"dataset": dataset | where, "faces": {"pack": "open"}}, file)
        for one in ("ingest", "decode", "align", "finetune", "landmark", "appearance", "graph"):
            done = stage(one, root)
            assert done.returncode == 0, done.stderr
        features, labels = load(read_manifest(root / "data/manifest.parquet"), root)
        folds = read_folds(read_splits(root / "data/splits.parquet"), labels, features, "all")
        found[name] = make_task(features, Params().train), folds
    for name, other in (("rendered", "real"), ("real", "rendered")):
        task, folds = found[name]
        theirs = found[other][0]
        every = views(theirs, np.arange(len(theirs.dataset.clip_ids)))
        same = []
        for fold in folds:
            domain = Domain.of(views(task, fold.train), views(task, fold.val))
            assert domain.beyond(domain.distance(every)).double().mean() > MANY
            beyond = domain.beyond(domain.distance(views(task, fold.test))).double().mean()
            assert beyond <= MANY
            same.append(float(beyond))
        assert np.mean(same) <= 0.2
