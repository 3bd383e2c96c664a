"""The verdict: what is claimed, what limits it, and what it advises."""

from pathlib import Path
from typing import Any

import pytest

from arpgnet.pipeline.common.params import Params
from arpgnet.pipeline.common.params_file import parse_params
from arpgnet.pipeline.report.next_steps import next_steps
from arpgnet.pipeline.report.verdict import BEATS, LOSES, UNCLEAR, Verdict, verdict
from arpgnet.pipeline.tables.manifest import Manifest
from helpers.report_outputs import CLASSES, SCORES, details

PEOPLE = {"rows": [{"subject": f"s{n}"} for n in range(12)], "unnamed": 0}
OWN = [{"adapter": "csv"}]


def judge(
    low: float = 0.1,
    high: float = 0.3,
    *,
    changes: dict[str, Any] | None = None,
    metrics: dict[str, Any] | None = None,
    notes: dict[str, Any] | None = None,
    params: Params | None = None,
) -> Verdict:
    found = details((low + high) / 2, []) | {"intervals_over": 12, "subjects": PEOPLE}
    gain = {"mean": (low + high) / 2, "ci_low": low, "ci_high": high}
    found["gain_over_baselines"] = {
        "logreg_map": {"uar": gain},
        "majority": {"uar": {"mean": 0.9, "ci_low": 0.8, "ci_high": 1.0}},
    }
    protocol = {"protocol": "kfold", "group_by": "subject", "folds": 4}
    manifest = Manifest([], CLASSES, "csv", {"protocol": protocol, "sets": OWN} | (notes or {}))
    scored = {**SCORES, "clips": 40, "folds": 4, "seeds": 2, "coverage": {"mean": 1.0}}
    return verdict(params or Params(), manifest, scored | (metrics or {}), found | (changes or {}))


def test_the_best_probe_is_beaten_not_clearly_or_not_at_all() -> None:
    found = judge()
    assert found.outcome == BEATS
    assert str(found) == (
        "ARPGNet beats the best probe, logistic regression on the mean feature map, by 0.200 UAR "
        "[0.100, 0.300], tested on 12 people who were not in training."
    )
    unclear = judge(-0.1, 0.2)
    assert unclear.outcome == UNCLEAR
    assert "does not clearly beat" in str(unclear)
    assert "+0.050 UAR [-0.100, 0.200] (the interval includes zero)" in str(unclear)
    worse = judge(-0.2, -0.1)
    assert worse.outcome == LOSES
    assert (
        "does not beat the best probe, logistic regression on the mean feature map: -0.150"
        in str(worse)
    )
    assert "not compared with any baseline" in str(judge(changes={"gain_over_baselines": {}}))


BY_CLIP = {"protocol": "kfold", "group_by": "clip", "folds": 4}
UNKNOWN = {"rows": [], "unnamed": 40}
NO_JOY = {CLASSES[0]: {"recall": 0.5, "support": 3.0}, CLASSES[1]: {"support": 0.0}}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"notes": {"sets": [{"adapter": "demo"}]}}, "rendered faces only"),
        ({"notes": {"sets": [{"adapter": "demo"}, *OWN]}}, "some faces are rendered"),
        ({"notes": {"protocol": BY_CLIP}}, "not subject-disjoint"),
        ({"changes": {"subjects": UNKNOWN}}, "not known to be subject-disjoint"),
        ({"changes": {"interval_unit": "clip"}}, "interval over clips, not people"),
        ({"changes": {"intervals_over": 3}}, "interval over only 3 subjects"),
        (
            {"changes": {"intervals_over": 3, "interval_unit": "clip"}},
            "interval over only 3 clips, not people",
        ),
        ({"metrics": {"seeds": 1}}, "one seed"),
        ({"metrics": {"coverage": {"mean": 0.81}}}, "only 81% of the clips have a prediction"),
        (
            {"metrics": {"folds": 1}, "params": parse_params({"train": {"folds": [0]}})},
            "only 1 of 4 folds",
        ),
        (
            {"changes": {"models": {"arpgnet": {"per_class": NO_JOY, "scores": SCORES}}}},
            "no test clip of joy",
        ),
        ({"changes": {"official": {"words": ""}}}, "not the official protocol"),
    ],
)
def test_what_limits_the_number_stands_beside_it(given: dict[str, Any], said: str) -> None:
    found = judge(**given)
    assert list(found.warnings) == [said]
    assert f"UAR [0.100, 0.300] ({said}), tested on" in str(found)
    # and something can be done about it
    before, after = (next_steps(one, Params(), None, 4) for one in (judge(), found))
    assert after != before
    assert said == "some faces are rendered" or len(after) > len(before)


def test_who_was_tested_is_said_as_far_as_it_is_known() -> None:
    assert str(judge(changes={"subjects": UNKNOWN})).endswith("on 40 clips of unknown people.")
    some = {**PEOPLE, "unnamed": 5}
    assert str(judge(changes={"subjects": some})).endswith(
        "on 12 people and 5 clips of unknown people."
    )


def commands(found: Verdict, ablations: dict[str, Any] | None = None) -> list[str]:
    return [step.command for step in next_steps(found, Params(), ablations, 0) if step.command]


def test_who_has_folders_is_not_sent_to_a_setting_that_is_refused() -> None:
    found = judge(changes={"subjects": UNKNOWN})
    folder = parse_params({"dataset": {"name": "folder", "root": "/videos"}})
    for params, said in ((folder, "CSV file"), (Params(), "group_by=subject")):
        first = next_steps(found, params, None, 0)[0]
        assert said in first.text + first.command
    assert "group_by=subject" not in str(next_steps(found, folder, None, 0))


def test_what_to_do_next_follows_from_the_result() -> None:
    usual = ["arpgnet ablate", "arpgnet predict VIDEO --page", "arpgnet publish released"]
    assert commands(judge()) == usual
    assert commands(judge(), {"stale": False}) == usual[1:]
    assert any("compare HEAD workspace" in one for one in commands(judge(-0.2, -0.1)))
    assert "dvc exp run -S 'train.seeds=[0,1,2]'" in commands(judge(metrics={"seeds": 1}))


def test_advice_of_settings_can_be_followed(tmp_path: Path) -> None:
    """Every setting that a step names exists."""
    given = {"seeds": 1, "folds": 1, "coverage": {"mean": 0.5}}
    found = judge(
        -0.2,
        -0.1,
        metrics=given,
        notes={"protocol": BY_CLIP},
        params=parse_params({"train": {"folds": [0]}}),
    )
    settings = [word for one in commands(found) for word in one.split() if "=" in word]
    assert len(settings) == 4
    for word in settings:
        key, _, value = word.strip("'").partition("=")
        section, name = key.split(".")
        numbers = [int(n) for n in value.strip("[]").split(",")] if "[" in value else value
        parse_params({section: {name: int(value) if value.isdigit() else numbers}})


def test_test_clips_of_another_domain_limit_the_result() -> None:
    domain = {"beyond": {"mean": 0.97}, "percentile": {"mean": 1.0}}
    runs = {f"fold{n}-seed0": {"domain": {"differs": n > 0}} for n in range(3)}
    found = judge(changes={"training": runs}, metrics={"domain": domain})
    assert "97% of the test clips are unlike those trained on" in str(found)
    runs["fold1-seed0"]["domain"]["differs"] = False
    assert "unlike" not in str(judge(changes={"training": runs}, metrics={"domain": domain}))


def test_where_no_split_is_drawn_no_other_split_is_advised() -> None:
    corpus = [{"name": "rml", "root": "a"}], [{"name": "ravdess", "root": "b"}]
    dataset = {"name": "cross", "train_on": corpus[0], "test_on": corpus[1]}
    absent = details(0.2, [])
    absent["models"]["arpgnet"]["per_class"] = NO_JOY
    params = parse_params({"dataset": dataset})
    found = judge(changes={"models": absent["models"]}, params=params)
    text = " ".join(step.text for step in next_steps(found, params, None, 0))
    assert "dataset.test_on" in text
    assert "kfold" not in text
