"""The result in one sentence, with everything that limits it beside the number."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from arpgnet.pipeline.common.params import Params
from arpgnet.pipeline.common.wording import plural
from arpgnet.pipeline.report.sentences import MODEL_NAMES, interval, number
from arpgnet.pipeline.tables.manifest import Manifest
from arpgnet.pipeline.tables.predictions import NETWORK

BEATS, UNCLEAR, LOSES, ALONE = "beats", "unclear", "loses", "alone"
VERBS = {BEATS: "beats", UNCLEAR: "does not clearly beat", LOSES: "does not beat"}
FEWEST_UNITS = 10  # below that, bootstrap intervals over whole subjects are known to be too narrow
MOST_NAMED = 3  # classes in a warning
LOW_COVERAGE = 0.95


@dataclass(frozen=True)
class Warnings:
    """What limits a result; each field is empty or a phrase that fits behind a number."""

    zero: str = ""
    rendered: str = ""
    people: str = ""
    unit: str = ""
    seed: str = ""
    folds: str = ""
    classes: str = ""
    coverage: str = ""
    protocol: str = ""
    domain: str = ""

    def __iter__(self) -> Iterator[str]:
        return iter([phrase for phrase in vars(self).values() if phrase])


@dataclass(frozen=True)
class Verdict:
    """`claim number (warnings), tested on whom.`"""

    outcome: str
    claim: str
    number: str
    warnings: Warnings
    whom: str

    def __str__(self) -> str:
        limits = "; ".join(self.warnings)
        beside = f" ({limits})" if limits else ""
        return f"{self.claim} {self.number}{beside}, tested on {self.whom}."


def verdict(
    params: Params, manifest: Manifest, metrics: Mapping[str, Any], details: Mapping[str, Any]
) -> Verdict:
    """Judge the network by the best of its baselines."""
    outcome, claim, score, zero = _compared(details)
    disjoint = manifest.notes["protocol"]["group_by"] == "subject"
    unnamed = details["subjects"]["unnamed"]
    warnings = Warnings(
        zero=zero,
        rendered=rendered(manifest),
        people=_people(disjoint, known=not unnamed and bool(details["subjects"]["rows"])),
        unit=unit_warning(details),
        seed="one seed" if metrics["seeds"] == 1 else "",
        folds=_folds(params, manifest, metrics),
        classes=_absent(manifest, metrics, details),
        coverage=_coverage(metrics),
        protocol=_protocol(details),
        domain=_domain(metrics, details),
    )
    unseen = " who were not in training" if disjoint and not unnamed else ""
    return Verdict(outcome, claim, score, warnings, _whom(metrics, details) + unseen)


def rendered(manifest: Manifest) -> str:
    """Warn of computer-generated faces; empty: there are none."""
    if manifest.adapters == {"demo"}:
        return "rendered faces only"
    return "some faces are rendered" if "demo" in manifest.adapters else ""


def _compared(details: Mapping[str, Any]) -> tuple[str, str, str, str]:
    """Return the outcome, the claim, the number it is about, and whether zero is possible."""
    gains = details["gain_over_baselines"]
    if not gains:
        score = details["models"][NETWORK]["scores"]["uar"]
        said = f"{number(score['mean'])} UAR {interval(score)}".strip()
        return ALONE, "ARPGNet was not compared with any baseline; it has", said, ""
    nearest = min(gains, key=lambda name: gains[name]["uar"]["mean"])
    gain = gains[nearest]["uar"]
    kind = "baseline" if nearest == "majority" else "probe"
    rival = f"the best {kind}, {MODEL_NAMES.get(nearest, nearest)}"
    signed = f"{gain['mean']:+.3f} UAR {interval(gain)}"
    outcome = outcome_of(gain)
    claim = f"ARPGNet {VERBS[outcome]} {rival}"
    if outcome == BEATS:
        return outcome, f"{claim}, by", signed.removeprefix("+"), ""
    zero = "the interval includes zero" if outcome == UNCLEAR else ""
    return outcome, f"{claim}:", signed, zero


def outcome_of(gain: Mapping[str, float]) -> str:
    """Judge a difference by its interval: `BEATS`, `LOSES`, or `UNCLEAR` where it includes zero."""
    if gain["ci_low"] > 0:
        return BEATS
    return LOSES if gain["ci_high"] < 0 else UNCLEAR


def _people(disjoint: bool, known: bool) -> str:
    if disjoint and known:
        return ""
    return "not subject-disjoint" if known else "not known to be subject-disjoint"


def unit_warning(details: Mapping[str, Any]) -> str:
    """Warn of an interval over few units, or over other units than people."""
    count, unit = details["intervals_over"], details["interval_unit"]
    few = f"interval over only {plural(count, unit)}" if count < FEWEST_UNITS else ""
    if unit == "subject":
        return few
    return f"{few or f'interval over {unit}s'}, not people"


def _folds(params: Params, manifest: Manifest, metrics: Mapping[str, Any]) -> str:
    total = manifest.notes["protocol"].get("folds") or 0
    if params.train.folds == "all" or metrics["folds"] >= total:
        return ""
    return f"only {metrics['folds']} of {total} folds"


def _absent(manifest: Manifest, metrics: Mapping[str, Any], details: Mapping[str, Any]) -> str:
    table = details["models"][NETWORK]["per_class"]
    absent = [name for name in manifest.classes if not table[name].get("support")]
    if not absent:
        return ""
    unit = "frame" if "frames" in metrics else "clip"
    more = len(absent) - MOST_NAMED
    named = ", ".join(absent[:MOST_NAMED]) + (f" and {more} more classes" if more > 0 else "")
    return f"no test {unit} of {named}"


def _coverage(metrics: Mapping[str, Any]) -> str:
    share = metrics["coverage"]["mean"]
    unit = "frames" if "frames" in metrics else "clips"
    return f"only {share:.0%} of the {unit} have a prediction" if share < LOW_COVERAGE else ""


def _protocol(details: Mapping[str, Any]) -> str:
    own = details.get("official")
    return "not the official protocol" if own and not own["words"] else ""


def _domain(metrics: Mapping[str, Any], details: Mapping[str, Any]) -> str:
    runs = details["training"].values()
    if 2 * sum(run["domain"]["differs"] for run in runs) <= len(runs):
        return ""
    unit = "frames" if "frames" in metrics else "clips"
    return (
        f"{metrics['domain']['beyond']['mean']:.0%} of the test {unit} are unlike those trained on"
    )


def _whom(metrics: Mapping[str, Any], details: Mapping[str, Any]) -> str:
    named, unnamed = len(details["subjects"]["rows"]), details["subjects"]["unnamed"]
    people = plural(named, "person", "people")
    if not named:
        return f"{plural(metrics['clips'], 'clip')} of unknown people"
    return f"{people} and {plural(unnamed, 'clip')} of unknown people" if unnamed else people
