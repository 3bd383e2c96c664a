"""The page says whether the heat maps can be believed, and escapes what it names."""

from pathlib import Path
from typing import Any

import pytest

from arpgnet.pipeline.common.params import Params
from arpgnet.pipeline.report.explanations import agreement_sentence
from arpgnet.pipeline.report.page import gather, render
from helpers.report_outputs import EVIL, explanations, write_outputs


def group(**changed: Any) -> dict[str, Any]:
    whole: dict[str, Any] = explanations()["all"]
    whole["agreement"] |= changed
    return whole


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({}, "Attention and occlusion agree: rho 0.62 over 49 regions"),
        ({"rho": 0.1, "agree": False}, "do not agree: rho 0.10 over 49 regions"),
        ({"rho": 0.1, "agree": False}, "Do not read the attention map as an explanation"),
        ({"uniform_rho": 0.6, "agree": False}, "do not agree more than uniform attention"),
        ({"rho": None, "agree": False}, "cannot be compared"),
    ],
)
def test_the_sentence_follows_the_figures(changed: dict[str, Any], said: str) -> None:
    assert said in agreement_sentence(group(**changed), 0.5)


def test_few_clips_and_networks_without_attention_are_said_to_prove_nothing() -> None:
    assert "Too few" in agreement_sentence(group() | {"views": 2}, 0.5)
    assert "no attention" in agreement_sentence(group() | {"agreement": None}, 0.5)
    nothing = {"relevance_agreement": None, "relevance_gain": None}
    assert agreement_sentence(group() | nothing, 0.5).endswith("Only occlusion tells what it uses.")


def test_relevance_is_compared_with_attention() -> None:
    said = agreement_sentence(group(), 0.5)
    assert "Relevance and occlusion agree: rho 0.80, clip by clip 0.70 [0.60, 0.80]" in said
    assert said.endswith("clip by clip 0.30 [0.20, 0.40], a difference of 0.40 [0.30, 0.50].")
    unclear = {"mean": 0.1, "ci_low": -0.1, "ci_high": 0.3}
    assert "includes 0" in agreement_sentence(group() | {"relevance_gain": unclear}, 0.5)


def test_the_page_shows_maps_edges_and_time(tmp_path: Path) -> None:
    write_outputs(tmp_path)
    page = render(gather(Params(), tmp_path))
    part = page[page.index('<h2 id="attention">') : page.index('<h2 id="faces">')]
    # of all, of the pair, and of a class: the mean face, two maps, two charts of time; of all the
    # attention too, with which relevance agrees less
    assert part.count("<svg") == 3 * 5 + 1
    assert "relevance and occlusion agree (rho 0.80)" in part
    assert "occlusion effect" in part
    assert "&lt;b&gt;calm&lt;/b&gt; predicted as joy" in part
    assert "5 such predictions in all runs" in part
    assert "7 of 9 correct" in part
    assert EVIL not in part
    assert "the appearance branch, if any, still sees the whole face" in part
    assert '<td class="n">2.00</td>' in part
    assert "gives 25.0% of its attention to its own sequence" in part
