"""`artifacts/MODEL_CARD.md`: what a user of the networks must know, generated from the run.

The headings follow Mitchell et al., "Model Cards for Model Reporting", FAT* 2019
(doi 10.1145/3287560.3287596).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jinja2

from arpgnet.pipeline.common.wording import plural, unit_note
from arpgnet.pipeline.report.page import Results, coverage_view, tested
from arpgnet.pipeline.report.sentences import (
    MODEL_NAMES,
    TILES,
    calibration,
    number,
    official,
    plain,
    plus_minus,
    single_runs,
    verdict,
)
from arpgnet.pipeline.report.settings import settings_digest, shareable
from arpgnet.pipeline.report.views import spread, traits_view
from arpgnet.pipeline.tables.manifest import Manifest
from arpgnet.pipeline.tables.predictions import NETWORK

CARD = Path("artifacts/MODEL_CARD.md")
# adapters of the user's own clips: the pipeline knows neither what they are nor whose
OWN = ("csv", "folder")
OWN_TITLE = "the publisher's own data set"
OWN_LICENSE = "unknown to the pipeline; whoever publishes this model must state it here"
# sections of params.yaml that are shown in full, and single settings of others
SECTIONS = ("relation", "fusion")
SETTINGS = (
    *("decode.sampling", "decode.frames", "decode.fps", "faces.source", "finetune.enabled"),
    *("appearance.vector", "graph.regions", "graph.grid", "graph.neighborhood"),
    *("train.seeds", "train.select", "train.epochs", "train.batch", "train.lr"),
    *("train.weight_decay", "train.label_smoothing", "train.class_weights", "train.ema"),
)


def model_card(results: Results) -> str:
    """Render the card; every text from data is escaped, and equal results give equal bytes."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("arpgnet.pipeline.report", "."),
        # applied to every value in the template, not to its own text
        finalize=plain,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
    )
    environment.globals["plural"] = plural
    details, metrics, manifest = results.details, results.metrics, results.manifest
    sets = _sets(manifest)
    metadata = results.shards["faces"].metadata
    protocol = manifest.notes["protocol"]
    subjects = {clip.subject for clip in manifest.clips if clip.subject}
    return environment.get_template("card.md.j2").render(
        title=" and ".join(dict.fromkeys(one["title"] for one in sets)) or manifest.dataset,
        rendered=any(one["adapter"] == "demo" for one in sets),
        sets=sets,
        classes=manifest.classes,
        clips=len(manifest.clips),
        subjects=len(subjects),
        unnamed=sum(not clip.subject for clip in manifest.clips),
        runs=len(details["runs"]),
        folds=metrics["folds"],
        seeds=metrics["seeds"],
        protocol=protocol,
        unit=details["interval_unit"],
        unit_note=unit_note(details["interval_unit"]),
        units=details["intervals_over"],
        level=f"{details['confidence']:.0%}",
        resamples=details["bootstrap"],
        missing=details["missing"],
        tested=tested(metrics),
        scores=list(_scores(results)),
        official=official(details),
        validation=_validation(metrics),
        rivals=list(_rivals(details)),
        verdict=verdict(details),
        single=single_runs(metrics, details),
        per_class=list(_per_class(results)),
        spread=spread(details["subjects"]),
        traits=traits_view(details["traits"]),
        calibration=calibration(metrics, details),
        coverage=coverage_view(results),
        pack=metadata["pack"],
        pack_license=metadata["license"],
        finetuned=results.params.finetune.dataset if results.params.finetune.enabled else "",
        settings=list(_settings(results)),
        settings_digest=settings_digest(results.params),
        predictions=details["predictions_sha256"],
    )


def _sets(manifest: Manifest) -> list[dict[str, str]]:
    """Return what ingest knows of each data set; the user must describe their own ones."""
    return [
        {**one, "title": OWN_TITLE, "license": OWN_LICENSE} if one["adapter"] in OWN else one
        for one in manifest.notes.get("sets", [])
    ]


def _scores(results: Results) -> Iterator[dict[str, str]]:
    for key, name in TILES:
        yield {"name": name, **_spread(results.metrics[key])}


def _validation(metrics: Mapping[str, Any]) -> str:
    score = metrics.get("val_uar")
    return f"{number(score['mean'])}{plus_minus(score)}" if score else ""


def _rivals(details: Mapping[str, Any]) -> Iterator[dict[str, str]]:
    models = details["models"]
    for name in sorted(models, key=lambda one: models[one]["scores"]["uar"]["mean"], reverse=True):
        score = models[name]["scores"]
        yield {
            "name": MODEL_NAMES.get(name, name),
            "war": number(score["war"]["mean"]),
            **_spread(score["uar"]),
        }


def _spread(score: Mapping[str, float]) -> dict[str, str]:
    known = "ci_low" in score
    return {
        "value": number(score["mean"]),
        "interval": f"{score['ci_low']:.3f} to {score['ci_high']:.3f}" if known else "",
        "std": number(score["std"]) if "std" in score else "",
    }


def _per_class(results: Results) -> Iterator[dict[str, str]]:
    table = results.details["models"][NETWORK]["per_class"]
    for name in results.manifest.classes:
        row = table[name]
        values = {key: number(row[key]) if key in row else "" for key in ("precision", "f1")}
        recall = number(row["recall"]) if "recall" in row else "no test clip"
        yield {"name": name, "support": f"{row.get('support', 0):g}", "recall": recall, **values}


def _settings(results: Results) -> Iterator[dict[str, str]]:
    settings = shareable(results.params)
    keys = [*SETTINGS, *(f"{part}.{key}" for part in SECTIONS for key in settings[part])]
    for key in sorted(keys):
        section, name = key.split(".")
        yield {"key": key, "value": _as_yaml(settings[section][name])}


def _as_yaml(value: object) -> str:
    """Format as in `params.yaml`, lists without their brackets."""
    if isinstance(value, list):
        return ", ".join(map(_as_yaml, value)) or "none"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return f"{value:g}" if isinstance(value, float) else str(value)
