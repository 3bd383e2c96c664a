"""A workspace with a run whose network has learned nothing: the least that predict needs."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from ruamel.yaml import YAML

from arpgnet.pipeline.common.params import Params
from arpgnet.pipeline.common.params_file import load_params, parse_params
from arpgnet.pipeline.export.write import Exported
from arpgnet.pipeline.networks.packs import load_pack
from arpgnet.pipeline.predict.model import features_metadata
from arpgnet.pipeline.publish import write
from arpgnet.pipeline.publish.scores import REPORTED
from arpgnet.pipeline.publish.write import publish
from arpgnet.pipeline.report.location import CARD
from arpgnet.pipeline.report.settings import settings_digest
from arpgnet.pipeline.store import file_sha256
from arpgnet.pipeline.tables.manifest import MANIFEST, write_manifest
from arpgnet.pipeline.tables.predictions import NETWORK, PREDICTIONS
from arpgnet.pipeline.training.checkpoints import save_run
from arpgnet.pipeline.training.network import build_network, network_config

CLASSES = ["anger", "happiness", "neutral"]
SELECT = {"expression": "uar", "action_units": "f1", "intensity": "icc", "valence_arousal": "ccc"}


def write_run(
    root: Path,
    settings: dict[str, Any] | None = None,
    task: str = "clip",
    seed: int = 0,
    *,
    kind: str = "expression",
    outputs: Sequence[str] = CLASSES,
    faces: str = "people",
    smooth: int = 1,
    also: Mapping[str, Sequence[str]] | None = None,
    apart: Sequence[str] = (),
    thresholds: Mapping[str, Sequence[float]] | None = None,
) -> Path:
    """Writes params.yaml and artifacts/ under `root`; settings are sections of params.yaml, `faces`
    is whose it was trained on: people or rendered; `smooth` the frames it smooths over; `also` the
    outputs of further tasks; those in `apart` are of frames where the main one is of clips, or the
    other way round; `thresholds` what a task's units have, by its kind."""
    root.mkdir(parents=True, exist_ok=True)
    with (root / "params.yaml").open("w") as file:
        YAML().dump(settings or {"engine": {"name": "local"}}, file)
    params = parse_params(settings or {})
    (root / "artifacts/backbone").mkdir(parents=True)
    (root / "artifacts/backbone/backbone.json").write_text(json.dumps({"enabled": False}))
    metadata = features_metadata(params, load_pack(params.faces.pack).models["embedding"])

    def chosen(task: str) -> dict[str, Any]:
        return {"thresholds": list(thresholds[task])} if task in (thresholds or {}) else {}

    longest = {"clip": params.decode.frames, "frame": params.train.window}
    frames = max(longest.values()) if apart else longest[task]
    further = [{"kind": name, "outputs": list(names)} for name, names in (also or {}).items()]
    for one in further:
        one |= chosen(one["kind"])
        if one["kind"] in apart:
            one["task"] = "clip" if task == "frame" else "frame"
    count = sum(len(one["outputs"]) for one in further)
    config = network_config(params, metadata, len(outputs), frames, count)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        weights = build_network(config, metadata).state_dict()

    info = {
        "classes": list(outputs),
        "kind": kind,
        **chosen(kind),
        **({"also": further} if further else {}),
        **({"views": longest} if apart else {}),
        "params": {"train": params.train.model_dump()},
        "features": metadata,
        "task": task,
        "fold": 0,
        "seed": 0,
        "origin": {"faces": faces, "sets": []},
        "best_epoch": 0,
        "select": SELECT[kind],
        "validation": {"val_uar": 0.5, "val_macro_f1": 0.5, f"val_{SELECT[kind]}": 0.5},
        **({"smoothing": {"length": smooth}} if smooth > 1 else {}),
    }
    save_run(root / "artifacts/runs/fold0-seed0", config, weights, info)
    return root


def publish_untrained(root: Path, target: Path, kind: str = "expression") -> Path:
    """What `publish` writes of such a run; without the ONNX file, which needs the stages' outs."""
    if not (root / MANIFEST).is_file():
        write_manifest([], root / MANIFEST, classes=CLASSES, dataset="demo", notes={})
    (root / PREDICTIONS).write_bytes(b"predictions")
    digest, params = file_sha256(root / PREDICTIONS), load_params(root / "params.yaml")
    (root / CARD).write_text(f"# Card\n\n{digest} {settings_digest(params)}\n")
    (root / "reports").mkdir(exist_ok=True)
    scores = {name: {"mean": 0.5} for name in REPORTED[kind].metrics}
    models = {NETWORK: {"scores": scores}}
    details = {"predictions_sha256": digest, "runs": [], "models": models}
    (root / "reports/evaluation.json").write_text(json.dumps(details))

    def no_export(params: Params, out: Path, **_: Any) -> Exported:
        out.write_bytes(b"onnx")
        return Exported("", 0.0)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(write, "export", no_export)
        publish(params, target, root=root)
    return target
