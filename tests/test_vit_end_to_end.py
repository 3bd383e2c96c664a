"""A vision transformer as appearance network, fine-tuned, from rendered clips to the report."""

from __future__ import annotations

import html
import json
from pathlib import Path

import numpy as np
import pytest
from ruamel.yaml import YAML

from arpgnet.pipeline.networks.packs import BUNDLED
from arpgnet.pipeline.tables.shards import ShardReader, to_numpy
from helpers import in_process, vit_packs
from helpers.rendered_csv import render_csv
from helpers.stills_project import CLASSES, add_still
from helpers.support import REPOSITORY, Workspace

STAGES = list(YAML(typ="safe").load((REPOSITORY / "dvc.yaml").read_text())["stages"])
SETTINGS = {
    "engine.workers": 1,
    "train.epochs": 2,
    "graph.grid": 14,
    "finetune.enabled": True,
    "finetune.dataset": "folder",
    "finetune.layers": "last-2",
    "finetune.views": 1,
    "finetune.epochs": 1,
    "finetune.layer_decay": 0.65,
    "finetune.drop_path": 0.1,
}


@pytest.mark.slow
def test_a_tuned_transformer_from_clips_to_the_report(tmp_path: Path, own_store: Path) -> None:
    pack = vit_packs.vit_pack(tmp_path / "mine", base=BUNDLED / "demo")
    for label in CLASSES:
        for number in range(12):
            add_still(tmp_path, label, number)
    own = {"faces.pack": str(pack), "finetune.root": str(tmp_path / "stills")}
    settings = render_csv(tmp_path / "videos") | SETTINGS | own
    workspace = Workspace(tmp_path / "project", settings)
    for name in STAGES:
        done = in_process.stage(name, workspace.root)
        assert done.returncode == 0, (name, done.stderr)
    data = {name: ShardReader(workspace.root / "data" / name) for name in ("faces", "appearance")}
    assert data["faces"].metadata["crop_px"] == 224
    assert data["appearance"].metadata["map_shape"] == [192, 14, 14]
    faces = data["faces"]
    clip = next(name for name in faces.clip_ids if faces.entry(name).ok)
    maps = to_numpy(data["appearance"].read(clip).column("map"), (192, 14, 14))
    valid = faces.read(clip).column("valid").to_numpy()
    assert np.ptp(maps[valid].astype(np.float32), axis=(2, 3)).min() > 0
    graphs = ShardReader(workspace.root / "data/graphs")
    assert len(graphs.metadata["names"]) == 196
    tuned = json.loads((workspace.root / "artifacts/backbone/backbone.json").read_text())
    assert tuned["settings"]["layer_decay"] == 0.65
    # two blocks of 192 x 192 x 12, and what is small beside them
    assert tuned["trained_weights"] == pytest.approx(2 * 12 * 192**2, rel=0.01)
    metrics = json.loads((workspace.root / "reports/metrics.json").read_text())
    assert 0 <= metrics["uar"]["mean"] <= 1
    page = html.unescape((workspace.root / "reports/index.html").read_text())
    assert page.count("data:image/jpeg") > 10
    done = in_process.arpgnet("export", "--out", "net.onnx", folder=workspace.root)
    assert done.returncode == 0, done.stderr
    video = next((tmp_path / "videos").rglob("*.mp4"))
    done = in_process.arpgnet("predict", str(video), "--out", "tables", folder=workspace.root)
    assert done.returncode == 0, done.stderr
