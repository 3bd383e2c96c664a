"""The evaluate stage: predictions to `reports/metrics.json`, its details and plots."""

from __future__ import annotations

from pathlib import Path

from arpgnet.pipeline.common.params import EvaluateParams
from arpgnet.pipeline.evaluate.plots import (
    write_confusion,
    write_curves,
    write_mean_curves,
    write_reliability,
    write_subjects,
)
from arpgnet.pipeline.evaluate.summary import mean_std, rounded, summarize
from arpgnet.pipeline.evaluate.traits import trait_scores
from arpgnet.pipeline.evaluate.units import origins
from arpgnet.pipeline.store import file_sha256
from arpgnet.pipeline.tables.curves import RUNS, read_curves, read_facts
from arpgnet.pipeline.tables.manifest import read_manifest
from arpgnet.pipeline.tables.predictions import NETWORK, PREDICTIONS, read_predictions
from arpgnet.pipeline.tables.text_files import write_json

METRICS = Path("reports/metrics.json")
DETAILS = Path("reports/evaluation.json")
PLOTS = Path("reports/plots")


def evaluate(params: EvaluateParams, *, root: Path = Path()) -> None:
    """Score the predictions under `root` and write `reports/`.

    Raises:
        UserError: a stage's output is absent, or there is no test clip to score.
    """
    manifest = read_manifest(root / "data/manifest.parquet")
    predictions = read_predictions(root / PREDICTIONS)
    clips = list(origins(manifest).values())
    # the digest tells what was measured against these predictions from what was not
    metadata = {
        "dataset": manifest.dataset,
        "protocol": manifest.notes.get("protocol"),
        "predictions_sha256": file_sha256(root / PREDICTIONS),
    }
    network = predictions.select(predictions.model == NETWORK)
    runs = sorted(set(zip(network.fold.tolist(), network.seed.tolist(), strict=True)))
    names = [f"fold{fold}-seed{seed}" for fold, seed in runs]
    training = {name: read_facts(root / RUNS / name) for name in names}
    temperatures = {
        run: training[name]["temperature"] for run, name in zip(runs, names, strict=True)
    }
    metrics, details = summarize(predictions, clips, params, metadata, temperatures)
    details["training"] = training
    metrics["domain"] = {
        name: rounded(mean_std([run["domain"][name] for run in training.values()]))
        for name in ("beyond", "percentile")
    }
    tested = predictions.select((predictions.split == "test") & (predictions.model == NETWORK))
    details["traits"] = trait_scores(
        tested,
        [
            {**known, "traits": clip.trait_values}
            for known, clip in zip(clips, manifest.clips, strict=True)
        ],
        params,
    )
    write_json(metrics, root / METRICS)
    write_json(details, root / DETAILS)
    write_confusion(tested, root / PLOTS / "confusion.csv")
    write_reliability(details["reliability"], root / PLOTS / "reliability.csv")
    write_subjects(details["subjects"]["rows"], root / PLOTS / "subjects.csv")
    histories = {name: read_curves(root / RUNS / name / "curves") for name in names}
    write_curves(histories, root / PLOTS / "curves.csv")
    write_mean_curves(histories, root / PLOTS / "mean_curves.csv")
