"""A comparison as a table for the terminal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.table import Table
from rich.text import Text

from arpgnet.pipeline.common.wording import SCORE_NAMES, first_score, plural, unit_note

# Cohen 1988, chapter 5
SIZES = ((0.05, "negligible"), (0.15, "small"), (0.25, "medium"), (0.5, "large"))


def table(result: dict[str, Any]) -> Table:
    """Show both sides' scores, and their difference with interval and p-value."""
    level = f"{result['confidence']:.0%} interval"
    drawn = Table("", "A", "B", "B - A", level, "p", title=_title(result))
    for name, scores in result["scores"].items():
        gap = scores["difference"]
        drawn.add_row(
            SCORE_NAMES[name],
            score(scores["a"]),
            score(scores["b"]),
            f"{gap['mean']:+.3f}",
            f"{gap['ci_low']:+.3f} to {gap['ci_high']:+.3f}",
            p_value(gap["p"]),
        )
    return drawn


def sentences(result: dict[str, Any]) -> Iterator[str]:
    """Say what the numbers mean and how they were computed."""
    scored = result["scored"]
    first = first_score(result["scores"])
    gap = result["scores"][first]["difference"]
    certain = gap["ci_low"] > 0 or gap["ci_high"] < 0
    units = plural(result["intervals_over"], result["interval_unit"])
    yield (
        f"B is {'better' if gap['mean'] > 0 else 'worse'} than A in {SCORE_NAMES[first]}."
        if certain
        else f"No difference in {SCORE_NAMES[first]} that {units} can show."
    )
    if "mcnemar" in result:
        yield _mcnemar(result)
    yield (
        f"Paired bootstrap: {result['bootstrap']} resamples of {units}"
        f"{unit_note(result['interval_unit'])}, the same for both; ± is "
        f"the standard deviation over seeds."
    )
    if result["left_out"]:
        yield f"Left out, because only one side has tested them: {result['left_out']} {scored}."


def _mcnemar(result: dict[str, Any]) -> str:
    test, scored = result["mcnemar"], result["scored"]
    return (
        f"McNemar's exact test on the mean probability over seeds; {scored} correct in A only: "
        f"{test['only_a']}, in B only: {test['only_b']}, in both: {test['both']}, in neither: "
        f"{test['neither']}; p {p_value(test['p'])}{effect(test['cohens_g'])}. It assumes "
        f"independent {scored}{_not_so(result)}."
    )


def _not_so(result: dict[str, Any]) -> str:
    """Say that McNemar's assumption does not hold where the bootstrap has larger units."""
    unit = result["interval_unit"]
    if unit == "clip":
        return ""
    return f"; those of one {unit} are not, so rely on the bootstrap over {unit}s"


def effect(cohens_g: float | None) -> str:
    """Format Cohen's g with his word for its size; empty if no clip distinguishes the two."""
    if cohens_g is None:
        return ""
    word = next(word for limit, word in SIZES if abs(cohens_g) < limit or limit == SIZES[-1][0])
    return f", Cohen's g {cohens_g:+.2f} ({word})"


def score(values: dict[str, float]) -> str:
    spread = f" ±{values['std']:.3f}" if "std" in values else ""
    return f"{values['mean']:.3f}{spread}"


def p_value(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def _title(result: dict[str, Any]) -> Text:
    a, b = result["a"]["name"], result["b"]["name"]
    return Text(f"A {a}, B {b}: {result['units']} {result['scored']} tested")
