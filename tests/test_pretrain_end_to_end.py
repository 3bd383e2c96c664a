"""An encoder pre-trained on the user's own clips, from rendered clips to a prediction."""

from __future__ import annotations

import html
import json
import shutil
from pathlib import Path

import pyarrow.compute as pc
import pytest
from ruamel.yaml import YAML

from arpgnet.pipeline.tables.manifest import read_manifest, read_splits
from arpgnet.pipeline.tables.shards import ShardReader
from helpers import in_process
from helpers.rendered_csv import render_csv
from helpers.support import REPOSITORY, Workspace

STAGES = list(YAML(typ="safe").load((REPOSITORY / "dvc.yaml").read_text())["stages"])
SETTINGS = {
    "engine.workers": 1,
    "dataset.protocol": "holdout",
    "train.epochs": 2,
    "pretrain.enabled": True,
    "pretrain.input_px": 48,
    "pretrain.steps": 100,
    "pretrain.batch": 4,
    "pretrain.decoder_width": 16,
    "pretrain.decoder_layers": 1,
    "pretrain.lr": 0.03,
}


@pytest.mark.slow
def test_an_encoder_of_own_clips_from_clips_to_a_prediction(
    tmp_path: Path, own_store: Path
) -> None:
    settings = render_csv(tmp_path / "videos") | SETTINGS
    workspace = Workspace(tmp_path / "project", settings)
    root = workspace.root
    for name in STAGES:
        done = in_process.stage(name, root)
        assert done.returncode == 0, (name, done.stderr)
    found = json.loads((root / "artifacts/pretrained/metadata.json").read_text())
    clips = read_manifest(root / "data/manifest.parquet").clips
    splits = read_splits(root / "data/splits.parquet")
    ids = splits.filter(pc.equal(splits["split"], "test"))["clip_id"].to_pylist()
    tested = {clip.subject for clip in clips if clip.clip_id in ids}
    others = [clip for clip in clips if clip.subject not in tested]
    assert 0 < found["clips"] == len(others) < len(clips)
    assert found["losses"][-1] <= found["losses"][0]
    appearance = ShardReader(root / "data/appearance").metadata
    assert appearance["model_sha256"] == found["encoder_sha256"]
    assert appearance["map_shape"] == [192, 3, 3]
    assert ShardReader(root / "data/faces").metadata["crop_px"] == 48
    page = html.unescape((root / "reports/index.html").read_text())
    assert "Pre-training of the appearance network" in page
    card = (root / "artifacts/MODEL_CARD.md").read_text()
    assert "pre-trained without labels (clips that are not tested)" in card

    done = in_process.arpgnet("publish", "released", folder=root)
    assert done.returncode == 0, done.stderr
    released = tmp_path / "released"
    shutil.move(root / "released", released)
    video = str(next((tmp_path / "videos").rglob("*.mp4")))
    for out, model in (("here", ()), ("there", ("--model", str(released)))):
        done = in_process.arpgnet("predict", video, "--out", out, *model, folder=root)
        assert done.returncode == 0, done.stderr
    here, there = (
        {path.name: path.read_bytes() for path in (root / name).rglob("*.csv")}
        for name in ("here", "there")
    )
    assert here
    assert here == there
