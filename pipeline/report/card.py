"""`artifacts/MODEL_CARD.md`: what a user of the networks must know, generated from the run.

The headings follow Mitchell et al., "Model Cards for Model Reporting", FAT* 2019
(doi 10.1145/3287560.3287596).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from arpgnet.pipeline.common.params import RENDERED, Params
from arpgnet.pipeline.common.wording import plural, unit_note
from arpgnet.pipeline.report.further import further_views
from arpgnet.pipeline.report.location import OWN, OWN_TITLE
from arpgnet.pipeline.report.page import Results, coverage_view, tested
from arpgnet.pipeline.report.sentences import (
    METRICS,
    MODEL_NAMES,
    TILES,
    calibration,
    ensemble,
    number,
    official,
    plus_minus,
    single_runs,
    training,
)
from arpgnet.pipeline.report.settings import LEFT_OUT, settings_digest, shareable
from arpgnet.pipeline.report.templates import render_card
from arpgnet.pipeline.report.verdict import rendered
from arpgnet.pipeline.report.views import spread, traits_view
from arpgnet.pipeline.tables.manifest import Manifest
from arpgnet.pipeline.tables.predictions import NETWORK

OWN_LICENSE = "unknown to the pipeline; whoever publishes this model must state it here"
# sections of params.yaml that are shown in full, and single settings of others; of every other
# section the settings that are not at their default
SECTIONS = ("relation", "fusion", "train")
SETTINGS = (
    *("decode.sampling", "decode.frames", "decode.fps", "faces.source", "finetune.enabled"),
    *("appearance.vector", "graph.regions", "graph.grid", "graph.neighborhood"),
)
# changes no result, and depends on the machine
NO_RESULT = "engine"
NESTED = ("demo",)  # a section inside a section


def model_card(results: Results) -> str:
    """Render the card; every text from data is escaped, and equal results give equal bytes."""
    details, metrics, manifest = results.details, results.metrics, results.manifest
    sets = data_sets(manifest)
    metadata = results.shards["faces"].metadata
    protocol = manifest.notes["protocol"]
    subjects = {clip.subject for clip in manifest.clips if clip.subject}
    return render_card(
        "card.md.j2",
        plural=plural,
        title=" and ".join(dict.fromkeys(one["title"] for one in sets)) or manifest.dataset,
        rendered=rendered(manifest),
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
        verdict=results.verdict,
        ensemble=ensemble(details),
        training=training(details),
        single=single_runs(metrics, details),
        per_class=list(_per_class(results)),
        spread=spread(details["subjects"]),
        traits=traits_view(details["traits"]),
        calibration=calibration(metrics, details),
        coverage=coverage_view(results),
        pack=metadata["pack"],
        pack_license=metadata["license"],
        pretrained=pretrained_on(results.params),
        finetuned=results.params.finetune.dataset if results.params.finetune.enabled else "",
        settings=list(settings_rows(results)),
        provenance=results.provenance,
        metrics=METRICS,
        settings_digest=settings_digest(results.params),
        predictions=details["predictions_sha256"],
        also=further_views(details, metrics),
    )


def pretrained_on(params: Params) -> str:
    """Return what the appearance network was pre-trained on; empty where it was not."""
    settings = params.pretrain
    if not settings.enabled:
        return ""
    own = ["clips that are not tested"] if settings.clips else []
    rendered_stills = ["rendered stills"] if RENDERED in settings.stills else []
    others = ["other images"] if set(settings.stills) - {RENDERED} else []
    return ", ".join(own + rendered_stills + others)


def data_sets(manifest: Manifest) -> list[dict[str, str]]:
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


def settings_rows(results: Results) -> Iterator[dict[str, str]]:
    """Yield the settings of training, those that matter most, and all that are not the default."""
    settings, usual = _flat(shareable(results.params)), _flat(shareable(Params()))
    shown = set(SETTINGS)
    for section in ("pretrain", "finetune"):
        if settings[f"{section}.enabled"]:
            shown |= {key for key in settings if key.startswith(f"{section}.")}
    if results.params.appearance.dual:
        shown.add("views.fusion")
    for key in sorted(key for key, value in settings.items() if value != LEFT_OUT):
        section = key.partition(".")[0]
        value, default = _as_yaml(settings[key]), _as_yaml(usual[key])
        changed = value != default and section != NO_RESULT
        if changed or section in SECTIONS or key in shown:
            yield {"key": key, "value": value, "default": default if changed else ""}


def _flat(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings by dotted key, of the section of the demo too."""
    flat: dict[str, Any] = {}
    for section, values in settings.items():
        for name, value in values.items():
            inner = value if name in NESTED else {"": value}
            flat |= {f"{section}.{name}.{key}".rstrip("."): one for key, one in inner.items()}
    return flat


def _as_yaml(value: object) -> str:
    """Format as in `params.yaml`, lists without their brackets."""
    if isinstance(value, dict):
        return " ".join(f"{key}: {_as_yaml(one)}" for key, one in value.items()) or "none"
    if isinstance(value, list):
        return ", ".join(map(_as_yaml, value)) or "none"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return f"{value:g}" if isinstance(value, float) else str(value)
