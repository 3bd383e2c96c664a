"""The evaluate stage: predictions to `reports/metrics.json`, its details and plots."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from arpgnet.pipeline.common.params import EvaluateParams
from arpgnet.pipeline.evaluate.further import FurtherScores, further_scores
from arpgnet.pipeline.evaluate.plots import (
    write_confusion,
    write_curves,
    write_mean_curves,
    write_outputs,
    write_reliability,
    write_subjects,
)
from arpgnet.pipeline.evaluate.summary import mean_std, rounded, summarize
from arpgnet.pipeline.evaluate.targets import summarize_targets
from arpgnet.pipeline.evaluate.traits import trait_scores
from arpgnet.pipeline.evaluate.units import origins
from arpgnet.pipeline.evaluate.views import read_views, view_scores
from arpgnet.pipeline.store import file_sha256
from arpgnet.pipeline.tables.curves import CURVES, LOSSES, RUNS, read_curves, read_run_metadata
from arpgnet.pipeline.tables.manifest import Manifest, read_manifest
from arpgnet.pipeline.tables.predictions import (
    EXPRESSION,
    NETWORK,
    PREDICTIONS,
    kind_of_predictions,
    read_predictions,
    read_target_predictions,
)
from arpgnet.pipeline.tables.text_files import write_json

METRICS = Path("reports/metrics.json")
DETAILS = Path("reports/evaluation.json")
PLOTS = Path("reports/plots")


def evaluate(params: EvaluateParams, *, root: Path = Path()) -> None:
    """Score the predictions under `root` and write `reports/`.

    Raises:
        UserError: a stage's output is absent, or there is no test clip to score.
    """
    if kind_of_predictions(root / PREDICTIONS) != EXPRESSION:
        _evaluate_targets(params, root)
        return
    manifest = read_manifest(root / "data/manifest.parquet")
    predictions = read_predictions(root / PREDICTIONS)
    clips = list(origins(manifest).values())
    metadata = _metadata(manifest, root)
    network = predictions.select(predictions.model == NETWORK)
    runs = network.runs
    names = [f"fold{fold}-seed{seed}" for fold, seed in runs]
    training = {name: read_run_metadata(root / RUNS / name) for name in names}
    temperatures = {
        run: training[name]["temperature"] for run, name in zip(runs, names, strict=True)
    }
    metrics, details = summarize(predictions, clips, params, metadata, temperatures)
    details["training"] = training
    metrics |= smoothing_metrics(training.values())
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
    views = read_views(root)
    details["views"] = view_scores(tested, views, clips, params) if views else None
    also = further_scores(clips, params, metadata, root)
    _write_scores(metrics, details, also, root)
    write_confusion(tested, root / PLOTS / "confusion.csv")
    write_reliability(details["reliability"], root / PLOTS / "reliability.csv")
    write_subjects(details["subjects"]["rows"], root / PLOTS / "subjects.csv")
    _write_histories(names, root, CURVES)


def _evaluate_targets(params: EvaluateParams, root: Path) -> None:
    """Score the predictions of a task with target values."""
    manifest = read_manifest(root / "data/manifest.parquet")
    predictions = read_target_predictions(root / PREDICTIONS)
    clips = list(origins(manifest).values())
    metadata = _metadata(manifest, root)
    metrics, details = summarize_targets(predictions, clips, params, metadata)
    names = [f"fold{run['fold']}-seed{run['seed']}" for run in details["runs"]]
    details["training"] = {name: read_run_metadata(root / RUNS / name) for name in names}
    metrics |= smoothing_metrics(details["training"].values())
    also = further_scores(clips, params, metadata, root)
    _write_scores(metrics, details, also, root)
    write_outputs(details["models"][NETWORK]["per_output"], root / PLOTS / "outputs.csv")
    _write_histories(names, root, (*LOSSES, f"val_{details['scores'][0]}"))


def smoothing_metrics(training: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Say over how many frames the runs' predictions are smoothed, and what validation gains by
    it; nothing where there is no smoothing."""
    chosen = [run["smoothing"] for run in training if "smoothing" in run]
    if not chosen:
        return {}
    found = {
        "frames": mean_std([one["length"] for one in chosen]),
        f"val_{chosen[0]['select']}_gain": mean_std(
            [one["score"] - one["before"] for one in chosen]
        ),
    }
    return {"smoothing": rounded(found)}


def _write_scores(
    metrics: dict[str, Any], details: dict[str, Any], also: FurtherScores, root: Path
) -> None:
    """Write the scores of the main task, with those of further ones under `also`."""
    write_json(metrics | also.metrics, root / METRICS)
    write_json(details | also.details, root / DETAILS)


def _metadata(manifest: Manifest, root: Path) -> dict[str, Any]:
    """Say what was run; the digest tells what was measured against these predictions."""
    return {
        "dataset": manifest.dataset,
        "protocol": manifest.notes.get("protocol"),
        "predictions_sha256": file_sha256(root / PREDICTIONS),
    }


def _write_histories(names: Sequence[str], root: Path, needed: Sequence[str]) -> None:
    histories = {name: read_curves(root / RUNS / name / "curves", needed) for name in names}
    write_curves(histories, root / PLOTS / "curves.csv")
    write_mean_curves(histories, root / PLOTS / "mean_curves.csv")
