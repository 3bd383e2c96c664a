"""The table of ablations fits the settings, and its rows are what they say."""

import re
from typing import Any

import pytest
from ruamel.yaml import YAML

from arpgnet.pipeline.ablate.experiments import deciding, override, reason
from arpgnet.pipeline.ablate.rows import ROWS, Row, changed, choose, rows_of
from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.common.params import Params
from arpgnet.pipeline.common.params_file import load_params, parse_params
from arpgnet.pipeline.training.network import network_config

METADATA = {"embedding_dim": 8, "map_shape": [4, 7, 7]}


def test_names_are_unique_and_can_name_an_experiment() -> None:
    assert len({row.name for row in ROWS}) == len(ROWS)
    assert all(re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", row.name) for row in ROWS)
    assert len({str(sorted(row.settings.items())) for row in ROWS}) == len(ROWS)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_each_row_changes_the_committed_settings_into_a_network(row: Row) -> None:
    params = load_params()
    # the committed network has one view of a face: to take the second one away it must be there
    if row.name == "views-face":
        params = changed(params, choose(["views-mean"], params)[0])
    other = changed(params, row)
    assert other != params
    assert network_config(other, METADATA, 8, frames=16)


def test_rows_touch_nothing_before_the_graph() -> None:
    # so that a row never runs a face network again; those of a second view run it on that one
    rows = [row for row in ROWS if not row.name.startswith("views-")]
    sections = {key.split(".")[0] for row in rows for key in row.settings}
    assert sections <= {"graph", "relation", "fusion", "appearance"}
    assert {key for row in rows for key in row.settings if key.startswith("appearance")} == {
        "appearance.vector"
    }
    dual = {key for row in ROWS if row not in rows for key in row.settings}
    assert dual == {"appearance.views", "views.fusion"}


def test_a_row_is_finished_whatever_it_made_of_the_stages_in_between() -> None:
    def lock(views: list[str], fusion: str, made: str, faces: str = "f") -> dict[str, Any]:
        deps = {"appearance": {"data/faces": faces}, "graph": {"data/appearance": made}}
        deps["train"] = {"data/appearance": made, "data/graphs": made}
        params = {"appearance": {"appearance.views": views}, "graph": {"graph": {"grid": 7}}}
        params["train"] = {"appearance.views": views, "views": {"fusion": fusion}}
        return {
            "stages": {
                name: {
                    "params": {"params.yaml": params[name]},
                    "deps": [{"path": path, "md5": md5} for path, md5 in deps[name].items()],
                }
                for name in deps
            }
        }

    ours = lock(["face"], "attention", "one view")
    settings = choose(["views-mean"], load_params())[0].settings
    theirs = lock(["face", "parts"], "mean", "two views")
    assert deciding(theirs) == deciding(ours, settings)
    assert deciding(lock(["face", "parts"], "concat", "two views")) != deciding(ours, settings)
    other = lock(["face", "parts"], "mean", "two views", faces="others")
    assert deciding(other) != deciding(ours, settings)


def test_overrides_read_back_as_what_they_were() -> None:
    for row in ROWS:
        for dotted, value in row.settings.items():
            key, text = override(dotted, value).split("=", 1)
            assert key == dotted
            assert YAML(typ="safe").load(text) == value
    assert override("a.b", True) == "a.b=true"


def test_chooses_in_the_tables_order() -> None:
    params = load_params()
    found = choose(["window-0", "edges-none"], params)
    assert [row.name for row in found] == ["edges-none", "window-0"]
    assert choose(None, params) == list(ROWS)
    with pytest.raises(UserError, match=r"unknown ablation nope: see `arpgnet ablate --list`"):
        choose(["nope", "edges-none"], params)


def units(head: str, **task: object) -> Params:
    return parse_params({"task": {"kind": "action_units"} | task, "relation": {"head": head}})


def test_a_network_made_here_has_rows_without_its_training() -> None:
    params = parse_params({"pretrain": {"enabled": True}, "finetune": {"enabled": True}})
    rows = [row for row in rows_of(params) if row not in ROWS]
    assert [row.name for row in rows] == ["pretrain-none", "pretrain-steps-100", "finetune-none"]
    for row in rows:
        assert changed(params, row) != params
    assert not changed(params, rows[0]).pretrain.enabled
    assert [row for row in rows_of(parse_params({})) if row not in ROWS] == []


def test_action_units_have_the_rows_of_their_head() -> None:
    own = {row.name for row in rows_of(units("none"))} - {row.name for row in ROWS}
    assert own == {"abrnet", "relation-loss-1", "relation-loss-10"}
    params = units("abrnet", relation_loss=1.0)
    rows = [row for row in rows_of(params) if row not in ROWS]
    removed = {row.removes for row in rows if row.removes}
    assert {"ABRNet", "relation layers", "self-attention fusion", "AU relation loss"} < removed
    for row in rows:
        other = changed(params, row)
        assert other != params
        assert network_config(other, METADATA, 3, frames=16)
    with pytest.raises(UserError, match="unknown ablation abrnet-layers-0"):
        choose(["abrnet-layers-0"], load_params())
    intensity = units("abrnet", kind="intensity")
    assert not any(row.name.startswith("relation-loss") for row in rows_of(intensity))


def test_a_row_that_does_not_fit_says_why() -> None:
    params = Params.model_validate({"fusion": {"width": 12}})
    with pytest.raises(UserError, match=r"relation-heads-8: relation.heads: 8 does not divide"):
        changed(params, choose(["relation-heads-8"], params)[0])


def test_reason_is_the_stages_own_line() -> None:
    output = "Running\nerror: params.yaml: bad\nERROR: failed to reproduce 'train'\n\nlast"
    assert reason(output) == "params.yaml: bad"
    assert reason("x\nERROR: no\nlast") == "no"
    assert reason("x\nlast\n") == "last"
    assert reason("") == "no output"
