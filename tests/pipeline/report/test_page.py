"""The page tells the truth about its data, escapes it, and is the same for the same data."""

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import cv2
import numpy as np
import pyarrow as pa
import pytest

from pipeline.clips import Clip, write_manifest
from pipeline.config import Params
from pipeline.errors import UserError
from pipeline.report.charts import Curve, confusion_chart, curves_chart, reliability_chart
from pipeline.report.page import gather, quarantined, render
from pipeline.report.pictures import data_uri, plain_face
from pipeline.report.subjects import subjects_view
from pipeline.shards import ShardReader, ShardWriter, fixed

CLASSES = ["<b>calm</b>", "joy"]
EVIL = "<script>alert(1)</script>"


def clip(number: int, **changes: Any) -> Clip:
    values: dict[str, Any] = dict.fromkeys(Clip.__dataclass_fields__)
    values |= {
        "clip_id": f"clip{number}", "path": f"clip{number}.mp4", "sha256": f"{number:064x}",
        "label": CLASSES[number % 2], "label_index": number % 2, "subject": f"s{number // 2}",
        "corpus": "csv", "pictures": False, "faces": "detect", "status": "ok",
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


FACTS: dict[str, dict[str, Any]] = {
    "frames": {},
    "faces": {"crop_px": 112, "pack": "demo", "licence": "MIT"},
    "landmarks": {},
    "appearance": {},
    "graphs": {"edges": [[0, 1], [1, 0]], "edge_types": ["symmetric", "symmetric"]},
}
SCORE = {"mean": 0.5, "std": 0.1, "ci_low": 0.4, "ci_high": 0.6}
SCORES = dict.fromkeys(("uar", "war", "macro_f1", "coverage"), SCORE)


BINS = [
    {"from": 0.4, "to": 0.6, "predictions": 3, "confidence": 0.5, "right": 1.0, "ci_low": 1.0,
     "ci_high": 1.0},
    {"from": 0.8, "to": 1.0, "predictions": 1, "confidence": 0.9, "right": 0.0},
]  # fmt: skip
MISTAKE = {
    "clip_id": "clip1", "frame_index": None, "label": CLASSES[1], "named": CLASSES[0],
    "probability": 0.875, "probability_of_label": 0.125, "networks": 2, "wrong": 1,
}  # fmt: skip


def details(gain: float) -> dict[str, Any]:
    model = {
        "scores": SCORES,
        "seeds": [0, 1],
        "confusion": [[2, 1, 0], [0, 2, 1]],
        "per_class": {name: {"recall": 0.5, "support": 3.0} for name in CLASSES},
    }
    return {
        "models": {"arpgnet": model, "majority": model},
        "gain_over_baselines": {"majority": {"uar": {**SCORE, "mean": gain}}},
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
        "mistakes": [MISTAKE, {**MISTAKE, "clip_id": "clip3"}],
    }  # fmt: skip


def write_outs(root: Path, gain: float = 0.2) -> None:
    clips = [clip(n) for n in range(4)]
    clips[3] = clip(3, status="quarantined", reason=EVIL)
    notes = {
        "listed": 4, "left_out": {EVIL: 3}, "protocol": {"protocol": "kfold"},
        "excluded": {"fear": 2}, "quarantined": {EVIL: 1},
        "twins": {"clips": 2, "sets": 1}, "unused_files": {"count": 0, "first": []}, "remarks": [],
    }  # fmt: skip
    write_manifest(
        clips, root / "data/manifest.parquet", classes=CLASSES, dataset="csv", notes=notes
    )
    for name, table in frame_rows().items():
        schema = pa.schema([pa.field("clip_id", pa.string()), *table.schema])
        with ShardWriter(root / "data" / name, schema, FACTS[name]) as writer:
            for one in clips:
                if one.status != "ok" or (name == "graphs" and one.clip_id == "clip2"):
                    writer.add_quarantined(one.clip_id, "0" * 64, one.reason or "no face found")
                    continue
                ids = pa.array([one.clip_id] * table.num_rows)
                writer.add(one.clip_id, "0" * 64, [table.add_column(0, "clip_id", ids)])
    reports = root / "reports"
    (reports / "plots").mkdir(parents=True)
    lean = {"ece": {"mean": 0.12, "std": 0.01}, "overconfidence": {"mean": -0.03}}
    metrics = {**SCORES, "clips": 4, "fold_mean": SCORES, **lean}
    (reports / "metrics.json").write_text(json.dumps(metrics))
    (reports / "evaluation.json").write_text(json.dumps(details(gain)))
    (reports / "plots/curves.csv").write_text(
        "run,epoch,train_loss,val_loss,val_uar\nfold0-seed0,0,2.0,2.1,0.2\nfold0-seed0,1,1.0,1.5,0.6\n"
    )


def test_data_is_escaped_and_the_same_data_gives_the_same_page(tmp_path: Path) -> None:
    write_outs(tmp_path)
    page = render(gather(Params(), tmp_path))
    assert EVIL not in page
    assert "&lt;script&gt;" in page
    assert "<b>calm" not in page
    assert render(gather(Params(), tmp_path)) == page


def test_says_what_was_lost_where_and_why(tmp_path: Path) -> None:
    write_outs(tmp_path)
    results = gather(Params(), tmp_path)
    lost = list(quarantined(results.manifest.clips, results.shards))
    assert lost == [
        {"clip": "clip2", "stage": "graph", "reason": "no face found"},
        {"clip": "clip3", "stage": "ingest", "reason": EVIL},
    ]
    page = render(results)
    assert "2 of 4 clips came through every stage" in page
    assert "2 clips of class fear were left out on purpose" in page
    assert "2 clips show the same pictures as another, in 1 sets" in page
    assert "Rendered faces" not in page


@pytest.mark.parametrize(("gain", "said"), [(0.5, "it beats"), (-0.5, "it does not beat")])
def test_verdict_follows_the_gain(tmp_path: Path, gain: float, said: str) -> None:
    write_outs(tmp_path, gain)
    assert said in render(gather(Params(), tmp_path))


def test_says_how_runs_differ_and_how_far_probabilities_are_off(tmp_path: Path) -> None:
    write_outs(tmp_path)
    page = render(gather(Params(), tmp_path))
    assert "the worst run&#39;s UAR is 0.250, the best one&#39;s 0.750" in page
    assert "Expected calibration error 0.120 ±0.010 (15 bins)" in page
    assert "right more often than it is sure, by 0.030" in page


def test_each_subject_stands_with_their_scores(tmp_path: Path) -> None:
    write_outs(tmp_path)
    page = render(gather(Params(), tmp_path))
    assert '<td class="n">0.250</td><td class="n">0.500</td>' in page
    assert "no prediction" in page
    assert "1 (4 frames)" in page
    assert "3 test clips name nobody" in page


def test_many_subjects_are_a_sentence_and_none_are_said_to_be_unknown() -> None:
    many = [
        {"subject": f"s{n}", "clips": 5, "predictions": 5, "uar": n / 100, "war": 0.5}
        for n in range(101)
    ]
    quartiles = {"uar": [0.0, 0.25, 0.5, 0.75, 1.0], "war": [0.5] * 5}
    view = subjects_view({"rows": many, "unnamed": 0, "quartiles": quartiles})
    assert view["rows"] == []
    assert "UAR from 0.000 to 1.000, median 0.500" in view["spread"]
    assert "10 from 0.3 to 0.4" in view["spread"]
    assert "11 from 0.9 to 1.0" in view["spread"]
    nobody = {"rows": [], "unnamed": 4, "quartiles": {"uar": [], "war": []}}
    assert "does not say who" in subjects_view(nobody)["note"]


def test_mistakes_are_shown_with_their_faces(tmp_path: Path) -> None:
    write_outs(tmp_path)
    page = render(gather(Params(), tmp_path))
    # the other mistake's clip has no face to show
    assert page.count('<figure class="mistake">') == 1
    assert "labelled <b>joy</b> (probability 0.12), named <b>&lt;b&gt;calm&lt;/b&gt;</b>" in page
    assert "1 of 2 networks wrong" in page


def test_of_labelled_frames_the_face_nearest_to_the_mistake_is_shown(tmp_path: Path) -> None:
    schema = pa.schema(
        [
            ("clip_id", pa.string()), ("frame_index", pa.int32()), ("valid", pa.bool_()),
            ("crop", pa.binary()),
        ]
    )  # fmt: skip
    grey = [bytes([value]) * (8 * 8 * 3) for value in (0, 80, 160, 240)]
    rows = {
        "clip_id": ["a"] * 4, "frame_index": [0, 10, 20, 30], "valid": [True, True, False, True],
        "crop": grey,
    }  # fmt: skip
    with ShardWriter(tmp_path / "faces", schema, {"crop_px": 8}) as writer:
        writer.add("a", "0" * 64, [pa.table(rows, schema)])
    faces = ShardReader(tmp_path / "faces")
    shown = {
        frame: np.frombuffer(grey[row], np.uint8).reshape(8, 8, 3)
        for frame, row in ((3, 0), (19, 1), (21, 3), (99, 3))
    }
    for frame, picture in shown.items():
        assert plain_face("a", faces, frame) == data_uri(picture)
    # without a frame the one in the middle of those with a face
    assert plain_face("a", faces) == data_uri(np.full((8, 8, 3), 80, np.uint8))


@pytest.mark.parametrize("digest", ["mine", "another"])
def test_ablations_are_shown_as_the_pages_own_only_if_they_are(tmp_path: Path, digest: str) -> None:
    write_outs(tmp_path)
    assert "Not run yet: <code>arpgnet ablate" in render(gather(Params(), tmp_path))
    one = {
        "name": "x", "group": "g", "what": EVIL, "removes": EVIL, "status": "ok",
        "scores": {"uar": SCORE}, "difference": {"uar": {**SCORE, "p": 0.01}},
    }  # fmt: skip
    failed = {"name": "y", "what": "w", "status": "failed", "reason": EVIL}
    base = {
        "predictions_sha256": digest, "confidence": 0.95, "bootstrap": 100, "scores": SCORES,
        "interval_unit": "subject", "intervals_over": 3,
    }  # fmt: skip
    (tmp_path / "comparisons").mkdir()
    file = tmp_path / "comparisons/ablation.json"
    file.write_text(json.dumps({"base": base, "rows": [one, failed]}))
    page = render(gather(Params(), tmp_path))
    assert EVIL not in page
    assert page.count("&lt;script&gt;") > 3
    assert ("Of another run" in page) == (digest == "another")
    assert "Not measured" in page


def test_missing_outs_are_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="dvc repro"):
        gather(Params(), tmp_path)


def test_charts_are_well_formed_and_repeat() -> None:
    counts = np.array([[3, 1], [0, 4]])
    curves = {"a": Curve([0, 1], [2.0, 1.0], [2.1, 1.2], [0.1, 0.6])}
    for draw in (
        lambda: confusion_chart(counts, ["a<", "b"]),
        lambda: curves_chart(curves),
        lambda: reliability_chart(BINS),
        lambda: reliability_chart([]),
    ):
        text = draw()
        assert ElementTree.fromstring(text).tag.endswith("svg")
        assert draw() == text
