"""`reports/index.html`: one self-contained page that shows what was run, and the results."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup
from ruamel.yaml import YAML

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.common.params import Params
from arpgnet.pipeline.common.wording import plural, unit_note
from arpgnet.pipeline.report.ablations import ablations_view, read_ablations
from arpgnet.pipeline.report.charts import Curve, curves_charts, reliability_chart, views_charts
from arpgnet.pipeline.report.explanations import explanations_view
from arpgnet.pipeline.report.further import further_views
from arpgnet.pipeline.report.images import BLUE, ORANGE, clip_sheet, face_tiles
from arpgnet.pipeline.report.next_steps import next_steps
from arpgnet.pipeline.report.pretraining import pretraining_view
from arpgnet.pipeline.report.provenance import provenance
from arpgnet.pipeline.report.sentences import (
    LONG_NAMES,
    METRICS,
    MODEL_NAMES,
    TILES,
    calibration,
    domain,
    ensemble,
    interval,
    number,
    official,
    plus_minus,
    run_range,
    single_runs,
    training,
)
from arpgnet.pipeline.report.settings import shareable
from arpgnet.pipeline.report.templates import render_page
from arpgnet.pipeline.report.verdict import Verdict, rendered, verdict
from arpgnet.pipeline.report.views import (
    FIRST,
    confusion_view,
    mistakes_view,
    pose_view,
    subjects_view,
    traits_view,
)
from arpgnet.pipeline.tables.manifest import MANIFEST, Clip, Manifest, read_manifest
from arpgnet.pipeline.tables.predictions import NETWORK
from arpgnet.pipeline.tables.shards import ShardReader

# a stage's folder under data/ -> the stage, in their order
STAGES = {
    "frames": "decode",
    "faces": "align",
    "landmarks": "landmark",
    "appearance": "appearance",
    "graphs": "graph",
}
# what a report of classes takes and earlier versions did not write
LATEST_METRICS = ("ece_uncalibrated",)
LATEST_DETAILS = ("ensemble", "training", "traits", "views")
LATEST_EXPLANATIONS = ("agree_from", "pairs")


@dataclass(frozen=True)
class Results:
    """Everything the page is made from."""

    params: Params
    manifest: Manifest
    metrics: Mapping[str, Any]
    details: Mapping[str, Any]
    curves: Mapping[str, Curve]
    shards: Mapping[str, ShardReader]
    explanations: Mapping[str, Any]
    provenance: Sequence[Mapping[str, str]]
    ablations: Mapping[str, Any] | None = None
    pretraining: Mapping[str, Any] | None = None

    @property
    def verdict(self) -> Verdict:
        """The result in one sentence; the page, the card and the terminal say the same."""
        return verdict(self.params, self.manifest, self.metrics, self.details)


def gather(params: Params, root: Path = Path()) -> Results:
    """Read the stages' outputs under `root`.

    Raises:
        UserError: a stage's output is absent, or an earlier version wrote it.
    """
    try:
        manifest = read_manifest(root / MANIFEST)
        metrics = _json(root / "reports/metrics.json")
        details = _json(root / "reports/evaluation.json")
        explanations = _json(root / "reports/explanations.json")
        if "kind" in details:
            score = details["scores"][0]
        else:
            score = "uar"
            _require(metrics, LATEST_METRICS, root / "reports/metrics.json")
            _require(details, LATEST_DETAILS, root / "reports/evaluation.json")
            _require(explanations, LATEST_EXPLANATIONS, root / "reports/explanations.json")
        return Results(
            params=params,
            manifest=manifest,
            metrics=metrics,
            details=details,
            curves=read_curves(root / "reports/plots/curves.csv", f"val_{score}"),
            shards={name: ShardReader(root / "data" / name) for name in STAGES},
            explanations=explanations,
            provenance=provenance(manifest, root),
            ablations=read_ablations(root),
            pretraining=pretraining_view(params, root),
        )
    except FileNotFoundError as error:
        raise UserError(f"{error.filename} not found: run `dvc repro` first") from None


def read_curves(path: Path, score: str = "val_uar") -> dict[str, Curve]:
    """Read `run,epoch,train_loss,val_loss` and a score into a `Curve` per run."""
    runs: dict[str, list[dict[str, str]]] = {}
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            runs.setdefault(row["run"], []).append(row)
    return {
        run: Curve(
            [int(row["epoch"]) for row in rows],
            *([float(row[name]) for row in rows] for name in ("train_loss", "val_loss", score)),
        )
        for run, rows in runs.items()
    }


def render(results: Results) -> str:
    """Render the page's HTML; every text from data is escaped."""
    shards = results.shards
    ablations = ablations_view(results.ablations, results.details["predictions_sha256"])
    coverage = coverage_view(results)
    found = results.verdict
    return render_page(
        "page.html.j2",
        run=_run_view(results),
        verdict=found,
        warnings=list(found.warnings),
        steps=next_steps(found, results.params, ablations, len(coverage["quarantined"])),
        metrics=METRICS,
        tiles=list(_tiles(results)),
        rivals=list(_rivals(results)),
        official=official(results.details),
        runs=_runs(results),
        ensemble=ensemble(results.details),
        training=training(results.details),
        domain=domain(results.metrics),
        calibration=calibration(results.metrics, results.details),
        reliability=Markup(reliability_chart(results.details["reliability"])),
        subjects=subjects_view(results.details["subjects"]),
        traits=traits_view(results.details["traits"]),
        pose=pose_view(results.details["views"]),
        pose_charts=[Markup(svg) for svg in _pose_charts(results.details["views"])],
        mistakes=mistakes_view(results.details["mistakes"], shards["faces"]),
        explanations=explanations_view(results.explanations, shards["faces"]),
        ablations=ablations,
        classes=results.manifest.classes,
        confusion=_confusion(results),
        curves=[Markup(svg) for svg in curves_charts(results.curves)],
        coverage=coverage,
        sheet=clip_sheet(results.manifest.clips, results.manifest.classes, shards["frames"]),
        **faces_view(results),
        provenance=results.provenance,
        also=further_views(results.details, results.metrics),
    )


def faces_view(results: Results) -> dict[str, Any]:
    """Return what the pages show of the network's input: faces with landmarks and graph, and how
    its appearance network was pre-trained."""
    shards = results.shards
    return {
        "faces": face_tiles(
            results.manifest.clips,
            results.manifest.classes,
            results.params.report.faces,
            faces=shards["faces"],
            landmarks=shards["landmarks"],
            graphs=shards["graphs"],
        ),
        "first": FIRST,
        "pretraining": results.pretraining,
        "colors": {
            "adjacent": "rgb({}, {}, {})".format(*BLUE),
            "symmetric": "rgb({}, {}, {})".format(*ORANGE),
        },
    }


def _pose_charts(views: Mapping[str, Any] | None) -> list[str]:
    return [] if views is None else views_charts(views["counts"])


def _json(path: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return loaded


def _require(found: Mapping[str, Any], keys: Sequence[str], path: Path) -> None:
    missing = [key for key in keys if key not in found]
    if missing:
        raise UserError(
            f"{path} has no {', '.join(missing)}: an earlier version wrote it: run `dvc repro`"
        )


def _run_view(results: Results) -> dict[str, Any]:
    details, manifest, params = results.details, results.manifest, results.params
    level = f"{details['confidence']:.0%}"
    seeds = len(details["models"][NETWORK]["seeds"])
    folds = len({run["fold"] for run in details["runs"]})
    return {
        "dataset": dataset_name(results),
        "rendered": rendered(manifest),
        "clips": plural(len(manifest.clips), "clip"),
        "classes": plural(len(manifest.classes), "class", "classes"),
        "subjects": _subject_count({clip.subject for clip in manifest.clips if clip.subject}),
        "protocol": f"{_protocol_name(manifest)}, {plural(folds, 'fold')}, {plural(seeds, 'seed')}",
        "level": level,
        "unit": details["interval_unit"],
        "frames": "frames" in results.metrics,
        "scored": "frames" if "frames" in results.metrics else "clips",
        "interval_note": f"Brackets: {level} interval from {details['bootstrap']} bootstrap "
        f"resamples of {plural(details['intervals_over'], details['interval_unit'])}"
        f"{unit_note(details['interval_unit'])}. "
        f"±: standard deviation over seeds. The predictions of all folds are pooled per seed.",
        "missing_wrong": details["missing"] == "wrong",
        "pack": results.shards["faces"].metadata["pack"],
        "license": results.shards["faces"].metadata["license"],
        "params": settings_text(params),
    }


def dataset_name(results: Results) -> str:
    """Return what the pages call the data set."""
    if results.manifest.dataset == "demo":
        return "the rendered demo"
    if results.manifest.dataset != "cross":
        return results.manifest.dataset
    train, test = (
        " and ".join(corpus.name for corpus in corpora)
        for corpora in (results.params.dataset.train_on, results.params.dataset.test_on)
    )
    return f"{test}, trained on {train}"


def _protocol_name(manifest: Manifest) -> str:
    # nobody's official parts
    cross = manifest.dataset == "cross"
    return "cross-corpus" if cross else str(manifest.notes["protocol"]["protocol"])


def _subject_count(values: set[str]) -> str:
    return plural(len(values), "subject") if values else "subjects unknown"


def settings_text(params: Params) -> str:
    settings = shareable(params)
    settings["dataset"].pop("root")
    for corpus in settings["dataset"]["train_on"] + settings["dataset"]["test_on"]:
        corpus.pop("root")
    settings["finetune"].pop("root")
    buffer = io.StringIO()
    YAML().dump(settings, buffer)
    return buffer.getvalue()


def _tiles(results: Results) -> Iterator[dict[str, Any]]:
    chance = 1 / len(results.manifest.classes)
    for key, name in TILES:
        score = results.metrics[key]
        detail = f"{interval(score)}{plus_minus(score)}"
        if key == "uar":
            detail += f"; chance {chance:.3f}"
        yield {
            "name": f"{name}, {LONG_NAMES[key]}",
            "value": number(score["mean"]),
            "detail": detail,
            "first": key == "uar",
        }
    coverage = results.metrics["coverage"]
    yield {
        "name": "coverage",
        "value": f"{coverage['mean']:.1%}",
        "detail": f"of {tested(results.metrics)} have a prediction",
        "first": False,
    }


def tested(metrics: Mapping[str, Any]) -> str:
    """Return what is scored, counted: `288 test clips`."""
    if "frames" in metrics:
        frames = plural(metrics["frames"], "labeled frame")
        return f"{frames} of {plural(metrics['clips'], 'test video')}"
    return plural(metrics["clips"], "test clip")


def _rivals(results: Results) -> Iterator[dict[str, Any]]:
    models = results.details["models"]
    order = sorted(models, key=lambda name: models[name]["scores"]["uar"]["mean"], reverse=True)
    for name in order:
        score = models[name]["scores"]
        yield {
            "name": MODEL_NAMES.get(name, name),
            "ours": name == NETWORK,
            "uar": number(score["uar"]["mean"]),
            "interval": interval(score["uar"]),
            "war": number(score["war"]["mean"]),
            "macro_f1": number(score["macro_f1"]["mean"]),
        }


def _runs(results: Results) -> dict[str, str]:
    """Describe single runs: a `summary`, the whole `text`, and how long they were trained."""
    number = plural(len(results.details["runs"]), "run")
    lowest, highest = run_range(results.details)
    lengths = [len(curve.epoch) for curve in results.curves.values()]
    trained = plural(max(lengths, default=0), "epoch")
    if lengths and min(lengths) < max(lengths):
        trained = f"{min(lengths)} to {trained}"
    return {
        "summary": f"{number}, UAR from {lowest} to {highest}",
        "text": single_runs(results.metrics, results.details),
        "epochs": f"{plural(len(lengths), 'run')} of {trained}",
    }


def _confusion(results: Results) -> list[dict[str, Any]]:
    network, classes = results.details["models"][NETWORK], results.manifest.classes
    table = network["per_class"]
    recalls = {name: table[name]["recall"] for name in classes if "recall" in table[name]}
    counts = np.asarray(network["confusion"])[:, : len(classes)]
    return confusion_view(counts, classes, recalls)


def coverage_view(results: Results) -> dict[str, Any]:
    """Return `sentence`: how many clips passed; `quarantined`: the others; `notes` of ingest."""
    lost = list(quarantined(results.manifest.clips, results.shards))
    total = len(results.manifest.clips)
    reasons = Counter(row["reason"] for row in lost)
    sentence = f"{total - len(lost)} of {plural(total, 'clip')} passed every stage."
    if lost:
        policy = "counted as wrong" if results.details["missing"] == "wrong" else "left out"
        common = "; ".join(f"{reason}: {count}" for reason, count in reasons.most_common())
        verb = "is" if len(lost) == 1 else "are"
        sentence += f" The other {len(lost)} {verb} {policy} ({common})."
    return {"sentence": sentence, "quarantined": lost, "notes": _notes(results.manifest)}


def quarantined(
    clips: Sequence[Clip], shards: Mapping[str, ShardReader]
) -> Iterator[dict[str, str]]:
    """Yield every clip that did not pass, the first stage that quarantined it, and why."""
    for clip in clips:
        if clip.status != "ok":
            yield {"clip": clip.clip_id, "stage": "ingest", "reason": clip.reason or ""}
            continue
        for folder, stage in STAGES.items():
            entry = shards[folder].entry(clip.clip_id)
            if entry.status != "ok":
                yield {"clip": clip.clip_id, "stage": stage, "reason": entry.reason or ""}
                break


def _notes(manifest: Manifest) -> list[str]:
    """Say what ingest left out or grouped; what did not happen is not worth a line."""
    notes = manifest.notes
    lines = [f"{plural(count, 'clip')} of class {name} left out on purpose (dataset.exclude)"
             for name, count in sorted(notes["excluded"].items())]  # fmt: skip
    lines += [f"{count} left out: {why}" for why, count in notes["left_out"].items()]
    if notes["near_duplicates"]["clips"]:
        alike = notes["near_duplicates"]
        lines.append(
            f"{plural(alike['clips'], 'near-duplicate clip')} in {plural(alike['sets'], 'group')}; "
            "a group stays on one side of every split"
        )
    if notes["unused_files"]["count"]:
        lines.append(f"{plural(notes['unused_files']['count'], 'unused file')} in the folder")
    return lines + list(notes["remarks"])
