"""What to do next: commands that follow from the result, and from what limits it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from arpgnet.pipeline.common.params import Params
from arpgnet.pipeline.report.verdict import BEATS, LOSES, Verdict


@dataclass(frozen=True)
class Step:
    """What to do, and the command for it; empty: there is none."""

    text: str
    command: str = ""


def next_steps(
    found: Verdict, params: Params, ablations: Mapping[str, Any] | None, lost: int
) -> list[Step]:
    """List the steps, what stands in the way of a claim first.

    Args:
        ablations: of `ablations_view`.
        lost: clips that did not pass every stage.
    """
    return [*_limits(found, params, lost), *_uses(found, ablations)]


def _limits(found: Verdict, params: Params, lost: int) -> Iterator[Step]:
    warnings = found.warnings
    if warnings.rendered:
        yield Step(
            "Train on faces of people; this network knows rendered ones. docs/datasets.md lists "
            "the data sets, three of them free to download.",
            "arpgnet data list",
        )
    if warnings.people:
        yield _subjects(params)
    if warnings.seed:
        more = ",".join(str(params.train.seeds[0] + n) for n in range(3))
        yield Step(
            "Train with more seeds: it is unknown how much of the result is chance.",
            f"dvc exp run -S 'train.seeds=[{more}]'",
        )
    if warnings.folds:
        yield Step("Train the other folds too.", "dvc exp run -S train.folds=all")
    if warnings.classes:
        more = (
            "add a data set that shows the absent ones to dataset.test_on"
            if params.dataset.name == "cross"
            else "add clips of the absent ones, split differently (dataset.protocol: kfold tests "
            "every clip once)"
        )
        yield Step(
            f"Test every class: {more}, or leave them out (dataset.exclude). UAR is the mean over "
            "the others."
        )
    if warnings.domain:
        yield Step(
            "Train on clips like those that are tested: this result says more about how the two "
            "differ than about the network."
        )
    if lost and warnings.coverage:
        yield Step("Find out why clips were lost: the section Coverage gives a reason for each.")
    if warnings.zero or warnings.unit or warnings.protocol:
        yield Step(_evidence(found))


def _subjects(params: Params) -> Step:
    why = "Until then, the network may recognize people instead of expressions."
    if params.dataset.name == "folder":
        # folders name nobody: the command would be refused
        return Step(
            "Keep people on one side of every split: list the clips in a CSV file with the columns "
            "path, label and subject (dataset.name: csv, dataset.manifest), and set "
            f"dataset.group_by: auto. {why}"
        )
    return Step(
        "Keep people on one side of every split: name the subject of each clip (of your own clips, "
        f"the column subject), and set dataset.group_by. {why}",
        "dvc exp run -S dataset.group_by=subject",
    )


def _evidence(found: Verdict) -> str:
    warnings = found.warnings
    if warnings.protocol:
        return (
            "Do not compare with published figures: another protocol was used than the data set's "
            "own (dataset.protocol: auto)."
        )
    if warnings.zero:
        return "Test on more people: these cannot show whether the network is better than a probe."
    return "Test on more people, each with a name: this interval is likely to be too narrow."


def _uses(found: Verdict, ablations: Mapping[str, Any] | None) -> Iterator[Step]:
    if found.outcome == LOSES:
        yield Step(
            "Use the probe, or change the network: one setting at a time, compared with this run.",
            "dvc exp run -S fusion.width=32 && arpgnet compare HEAD workspace",
        )
    if ablations is None or ablations["stale"]:
        yield Step(
            "Find out which parts of the network matter: each is changed or removed in turn.",
            "arpgnet ablate",
        )
    only = ", of rendered faces only" if found.warnings.rendered else ""
    yield Step(
        f"Predict the expressions in a video{only}; the page shows them over time.",
        "arpgnet predict VIDEO --page",
    )
    if found.outcome == BEATS and not found.warnings.rendered:
        yield Step(
            "Publish the best network with its model card, if the data set's terms allow it.",
            "arpgnet publish released",
        )
    else:
        yield Step(
            "Pass the best network on with its model card, which repeats the sentence at the top.",
            "arpgnet publish released",
        )
