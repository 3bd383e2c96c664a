"""What the stages before `report` leave behind, by hand and full of text that must be escaped."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa

from arpgnet.pipeline.tables.manifest import Clip, write_manifest
from arpgnet.pipeline.tables.shards import fixed
from helpers.outputs import OutputWriter

CLASSES = ["<b>calm</b>", "joy"]
EVIL = "<script>alert(1)</script>"


def clip(number: int, **changes: Any) -> Clip:
    values: dict[str, Any] = dict.fromkeys(Clip.__dataclass_fields__)
    values |= {
        "clip_id": f"clip{number}", "path": f"clip{number}.mp4", "sha256": f"{number:064x}",
        "label": CLASSES[number % 2], "label_index": number % 2, "subject": f"s{number // 2}",
        "corpus": "csv", "image_sequence": False, "faces": "detect", "status": "ok",
    }  # fmt: skip
    return Clip(**(values | changes))


def frame_rows(count: int = 3) -> dict[str, pa.Table]:
    """One clip's rows of every stage that the page draws from."""
    noise = np.random.default_rng(0).integers(0, 256, (112, 112, 3), np.uint8)
    jpeg = cv2.imencode(".jpg", noise)[1].tobytes()
    points = np.tile(np.linspace(20, 90, 10, dtype=np.float32), (count, 1))
    nodes = np.tile(np.array([0.3, 0.5, 0.7, 0.5], np.float32), (count, 1))
    return {
        "frames": pa.table({"jpeg": [jpeg] * count}),
        "faces": pa.table(
            {
                "frame_index": pa.array(range(count), pa.int32()),
                "valid": [True] * count,
                "crop": [noise.tobytes()] * count,
            }
        ),
        "landmarks": pa.table({"points_crop": fixed(points)}),
        "appearance": pa.table({"valid": [True] * count}),
        "graphs": pa.table(
            {"node_xy": fixed(nodes), "visible": fixed(np.ones((count, 2), np.float32))}
        ),
    }


METADATA: dict[str, dict[str, Any]] = {
    "frames": {},
    "faces": {"crop_px": 112, "pack": "demo", "license": "MIT"},
    "landmarks": {},
    "appearance": {},
    "graphs": {"edges": [[0, 1], [1, 0]], "edge_types": ["symmetric", "symmetric"]},
}
SCORE = {"mean": 0.5, "std": 0.1, "ci_low": 0.4, "ci_high": 0.6}
SCORES = dict.fromkeys(("uar", "war", "macro_f1", "coverage"), SCORE)


PLAIN = {"variant": "v", "role": "test"}
BINS = [
    {"from": 0.4, "to": 0.6, "predictions": 3, "confidence": 0.5, "correct": 1.0, "ci_low": 1.0,
     "ci_high": 1.0},
    {"from": 0.8, "to": 1.0, "predictions": 1, "confidence": 0.9, "correct": 0.0},
]  # fmt: skip
MISTAKE = {
    "clip_id": "clip1", "frame_index": None, "label": CLASSES[1], "predicted": CLASSES[0],
    "probability": 0.875, "probability_of_label": 0.125, "networks": 2, "wrong": 1,
}  # fmt: skip


TRAITS = [
    {
        "trait": EVIL,
        "unnamed": 3,
        "rows": [
            {"value": "<i>old</i>", "clips": 12, "subjects": 3, "unit": "subject", "uar": SCORE,
             "war": SCORE},
            {"value": "young", "clips": 4, "subjects": 1},
        ],
    }
]  # fmt: skip


def details(gain: float, traits: Sequence[dict[str, Any]]) -> dict[str, Any]:
    model = {
        "scores": SCORES,
        "seeds": [0, 1],
        "confusion": [[2, 1, 0], [0, 2, 1]],
        "per_class": {name: {"recall": 0.5, "support": 3.0} for name in CLASSES},
    }
    return {
        "models": {"arpgnet": model, "majority": model},
        "gain_over_baselines": {
            "majority": {"uar": {"mean": gain, "ci_low": gain - 0.1, "ci_high": gain + 0.1}}
        },
        "runs": [{"fold": 0, "uar": 0.25}, {"fold": 1, "uar": 0.75}],
        "confidence": 0.95, "bootstrap": 100, "interval_unit": "subject", "intervals_over": 3,
        "missing": "wrong", "ece_bins": 15, "predictions_sha256": "mine", "reliability": BINS,
        "subjects": {
            "rows": [
                {"subject": EVIL, "clips": 2, "predictions": 2, "uar": 0.25, "war": 0.5},
                {"subject": "bo", "clips": 1, "predictions": 4, "uar": None, "war": None},
            ],
            "unnamed": 3,
            "quartiles": {"uar": [0.25] * 5, "war": [0.5] * 5},
        },
        "views": {
            "frames": 12, "small": 3, "turned": 0, "fewest_clips": 10,
            "counts": {
                "yaw": {"limits": [-20.0, 0.0, 20.0], "frames": [5, 6]},
                "size": {"limits": [32.0, 64.0, 128.0], "frames": [0, 12]},
            },
            "tables": [
                {"by": "yaw", "unknown": 1, "rows": [
                    {"from": 0.0, "to": 10.0, "clips": 12, "subjects": 3, "unit": "subject",
                     "uar": SCORE, "war": SCORE},
                    {"from": 45.0, "to": None, "clips": 2, "subjects": 1},
                ]},
                {"by": "size", "unknown": 0, "rows": []},
            ],
        },
        "traits": {"fewest_clips": 10, "fewest_subjects": 2, "tables": list(traits)},
        "ensemble": {
            "gain_over_networks": {"mean": 0.01, "ci_low": -0.01, "ci_high": 0.03},
            "gain_over_baselines": {"majority": {"uar": {**SCORE, "mean": gain}}},
        },
        "training": {
            f"fold{fold}-seed0": {
                "epochs": 9, "best_epoch": 3 + fold, "epoch_steps": 6, "refitted": 80 + fold,
                "temperature": 0.5 + 0.25 * fold, "improving": fold == 1,
                "domain": {"beyond": 0.04, "differs": False, "percentile": 0.5},
            }
            for fold in (0, 1)
        },
        "mistakes": [MISTAKE, {**MISTAKE, "clip_id": "clip3"}],
    }  # fmt: skip


def explanations() -> dict[str, Any]:
    """Of two regions, with one confused pair."""
    source = {
        "share": 0.25,
        "uniform": 0.5,
        "offsets": [0.0, 0.25, 0.0],
        "uniform_offsets": [0.0, 0.5, 0.0],
    }
    group = {
        "views": 9, "clips": ["clip0", "clip1", "clip3"], "probability": 0.75,
        "attention": [0.75, 0.25], "uniform": [0.5, 0.5], "drop": [0.2, None],
        "agreement": {
            "rho": 0.62, "uniform_rho": 0.3, "halves_rho": 0.9, "regions": 49, "agree": True,
            "each": {"mean": 0.3, "ci_low": 0.2, "ci_high": 0.4},
        },
        "relevance": [0.3, None], "shown": "relevance",
        "relevance_agreement": {
            "rho": 0.8, "uniform_rho": None, "halves_rho": 0.9, "regions": 49, "agree": True,
            "each": {"mean": 0.7, "ci_low": 0.6, "ci_high": 0.8},
        },
        "relevance_gain": {"mean": 0.4, "ci_low": 0.3, "ci_high": 0.5},
        "edges": [{"kind": "self", "attention": 0.5, "uniform": 0.25}],
        "time": {"relation": {"sources": {"own": source, "other": source}, "from": -1,
                              "parts": [0.5, None, 1.5]},
                 "appearance": {"sources": {"own": source}, "from": -1, "parts": [1.0] * 3}},
    }  # fmt: skip
    return {
        "unit": "clips", "most_per_class": 16, "networks": ["fold0-seed0"], "classes": CLASSES,
        "regions": {
            "kind": "landmark", "names": [EVIL, "chin"], "xy": [[0.3, 0.5], [0.7, 0.5]],
            "seen": [1.0, 0.4], "compared_from": 0.5,
        },
        "hidden_from": ["relation"], "agree_from": 0.5, "all": group,
        "by_class": [{**group, "label": CLASSES[0], "correct": 7}],
        "pairs": [
            {**group, "label": CLASSES[0], "predicted": CLASSES[1], "predictions": 5, "views": 2}
        ],
    }  # fmt: skip


def write_outputs(root: Path, gain: float = 0.2, traits: Sequence[dict[str, Any]] = ()) -> None:
    clips = [clip(n) for n in range(4)]
    clips[3] = clip(3, status="quarantined", reason=EVIL)
    notes = {
        "listed": 4, "left_out": {EVIL: 3},
        "protocol": {"protocol": "kfold", "group_by": "subject", "words": EVIL,
                     "published": True},
        "sets": [
            {"name": "csv", "adapter": "csv", "title": "own", "license": "yours"} | PLAIN,
            {"name": "rml", "adapter": "rml", "title": EVIL, "license": "research | x"} | PLAIN,
        ],
        "excluded": {"fear": 2}, "quarantined": {EVIL: 1},
        "near_duplicates": {"clips": 2, "sets": 1},
        "unused_files": {"count": 0, "first": []}, "remarks": [],
    }  # fmt: skip
    write_manifest(
        clips, root / "data/manifest.parquet", classes=CLASSES, dataset="csv", notes=notes
    )
    for name, table in frame_rows().items():
        schema = pa.schema([pa.field("clip_id", pa.string()), *table.schema])
        with OutputWriter(root / "data" / name, schema, METADATA[name]) as writer:
            for one in clips:
                if one.status != "ok" or (name == "graphs" and one.clip_id == "clip2"):
                    writer.add_quarantined(one.clip_id, "0" * 64, one.reason or "no face found")
                    continue
                ids = pa.array([one.clip_id] * table.num_rows)
                writer.add(one.clip_id, "0" * 64, [table.add_column(0, "clip_id", ids)])
    reports = root / "reports"
    (reports / "plots").mkdir(parents=True)
    lean = {
        "domain": {"beyond": {"mean": 0.04}, "percentile": {"mean": 0.5}},
        "ece": {"mean": 0.12, "std": 0.01},
        "ece_uncalibrated": {"mean": 0.21},
        "overconfidence": {"mean": -0.03},
    }
    metrics = {
        **SCORES,
        "clips": 4,
        "folds": 2,
        "seeds": 2,
        "val_uar": {"mean": 0.7},
        "fold_mean": SCORES,
        **lean,
    }
    (reports / "metrics.json").write_text(json.dumps(metrics))
    (reports / "evaluation.json").write_text(json.dumps(details(gain, traits)))
    (reports / "explanations.json").write_text(json.dumps(explanations()))
    (reports / "plots/curves.csv").write_text(
        "run,epoch,train_loss,val_loss,val_uar\nfold0-seed0,0,2.0,2.1,0.2\nfold0-seed0,1,1.0,1.5,0.6\n"
    )
