"""params.yaml is validated strictly, and every mistake gets one line with its remedy."""

from datetime import date
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from arpgnet.models.arpgnet import AppearanceVector, NodePosition, Readout, RelationConv
from arpgnet.models.attention import ConvName
from arpgnet.models.fusion import FusionMode, TimePosition
from arpgnet.models.views import ViewFusion
from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.common.params import DatasetName, Params
from arpgnet.pipeline.common.params_file import FORBIDDEN_KEYS, RENAMED, load_params, parse_params
from arpgnet.pipeline.datasets.base import ADAPTERS

REPOSITORY = Path(__file__).parents[3]


def _settings(node: dict[str, Any], trail: str = "") -> dict[str, Any]:
    """Dotted key -> value; an empty mapping (`dataset.map`) is a value."""
    found: dict[str, Any] = {}
    for key, value in node.items():
        inner = isinstance(value, dict) and value
        found |= _settings(value, f"{trail}{key}.") if inner else {f"{trail}{key}": value}
    return found


DEFAULTS = _settings(Params().model_dump())
IN_FILE = _settings(YAML(typ="safe").load((REPOSITORY / "params.yaml").read_text()))


def test_file_holds_every_setting_and_no_other() -> None:
    assert list(IN_FILE) == list(DEFAULTS)


@pytest.mark.parametrize("key", DEFAULTS)
def test_default_of_the_model_is_the_value_in_the_file(key: str) -> None:
    assert DEFAULTS[key] == IN_FILE[key]
    assert type(DEFAULTS[key]) is type(IN_FILE[key])


def test_settings_made_without_a_file_equal_those_of_the_file() -> None:
    assert Params() == load_params(REPOSITORY / "params.yaml")


def test_no_key_that_dvc_ignores() -> None:
    names = {key.split(".")[-1] for key in DEFAULTS}
    assert not names & FORBIDDEN_KEYS


@pytest.mark.parametrize(
    ("key", "choices"),
    [
        ("appearance.vector", AppearanceVector),
        ("views.fusion", ViewFusion),
        ("relation.conv", RelationConv),
        ("relation.position", NodePosition),
        ("relation.readout", Readout),
        ("fusion.mode", FusionMode),
        ("fusion.position", TimePosition),
        ("fusion.conv", ConvName),
    ],
)
def test_choices_of_a_network_are_those_of_its_setting(key: str, choices: Any) -> None:
    section, name = key.split(".")
    setting = Params.model_fields[section].annotation.model_fields[name]  # type: ignore[union-attr]
    assert set(get_args(setting.annotation)) == set(get_args(choices))


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        ({"fusion": {"headz": 8}}, "fusion.headz: unknown key; did you mean 'fusion.heads'?"),
        ({"fusionn": {}}, "fusionn: unknown key; did you mean 'fusion'?"),
        ({"dataset": {"demo": {"subject": 3}}}, "did you mean 'dataset.demo.subjects'?"),
        ({"train": {"xyzzy": 1}}, "train.xyzzy: unknown key; valid here: folds, seeds"),
        ({"fusion": {"heads": 0}}, "fusion.heads: 0 is not valid: input should be greater"),
        ({"fusion": {"mode": "paralel"}}, "'parallel', 'concat'"),
        ({"fusion": {"heads": 3}}, "fusion.heads: 3 does not divide fusion.width: 64"),
        ({"relation": {"heads": 5}}, "relation.heads: 5 does not divide fusion.width: 64"),
        ({"relation": {"conv": "gatv3"}}, "torch_geometric.nn: did you mean 'gatv2'?"),
        ({"relation": {"conv": "GCNConv", "conv_args": {"haeds": 2}}}, "conv_args.haeds: GCNConv"),
        ({"relation": {"conv_args": {"heads": 2}}}, "of relation.conv: gat, set relation.heads"),
        ({"relation": {"conv": 3}}, "relation.conv: 3 is a number to YAML"),
        ({"train": {"lr": "abc"}}, "train.lr: 'abc' is not valid"),
        ({"dataset": {"name": "csv", "manifest": "a.csv"}}, "dataset.root must be set"),
        ({"dataset": {"name": "csv", "root": "x"}}, "dataset.manifest must name the csv"),
        ({"dataset": {"classes": ["a", "a"]}}, "dataset.classes names a class twice"),
        ({"align": {"size": 3}}, "align.size: no key may be called 'size'"),
        ({"fusion": None}, "fusion: None is not valid"),
        ({"dataset": {"name": "rmll"}}, "'cross'; did you mean 'rml'?"),
        ({"dataset": {"folds": "auot"}}, "input should be 'auto'; did you mean 'auto'?"),
        ({"dataset": {"map": {0: "a"}}}, "dataset.map: 0 is a number to YAML: put it, and every"),
        ({"dataset": {"map": {"a": True}}}, "dataset.map: true is a truth value to YAML: put it"),
        ({"dataset": {"exclude": ["a", None]}}, "dataset.exclude[1]: null is nothing to YAML: pu"),
        ({"dataset": {"classes": [0, 1]}}, "params.yaml: dataset.classes: 0 is a number to YAML"),
        ({"dataset": {"classes": [True, False]}}, "like it, in quotes ('true')"),
        ({"dataset": {"root": date(2026, 1, 2)}}, "dataset.root: 2026-01-02 is a date to YAML"),
        ({"relation": {"edges": ["adjacnt"]}}, "relation.edges[0]: 'adjacnt' is not valid"),
        (
            {"dataset": {"name": "cross", "train_on": [{"nam": "rml", "root": "x"}]}},
            "dataset.train_on[0].nam: unknown key; did you mean 'dataset.train_on[0].name'?",
        ),
        (
            {"dataset": {"name": "cross", "train_on": [{"name": "rml"}]}},
            "dataset.train_on[0].root is missing",
        ),
    ],
)
def test_mistakes_get_one_clear_line(raw: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError) as caught:
        parse_params(raw)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_wrong_name_is_said_once() -> None:
    for raw in (
        {"dataset": {"name": "rmll"}},
        {"dataset": {"folds": "auot"}},
        {"dataset": {"name": "cross", "train_on": [{"nam": "rml"}]}},
    ):
        with pytest.raises(UserError) as caught:
            parse_params(raw)
        assert str(caught.value).count("dataset.") <= 2
        assert ";" not in str(caught.value).replace("; did you mean", "")


@pytest.mark.parametrize("old", RENAMED)
def test_renamed_settings_are_refused_with_the_new_name(old: str) -> None:
    place, _, value = old.partition(": ")
    section, key = place.split(".")
    with pytest.raises(UserError) as caught:
        parse_params({section: {key: value or 0.1}}, "mine.yaml")
    assert str(caught.value) == f"mine.yaml: '{old}' was renamed: write '{RENAMED[old]}'"


@pytest.mark.parametrize("new", RENAMED.values())
def test_new_names_are_settings(new: str) -> None:
    place, _, value = new.partition(": ")
    section, key = place.split(".")
    default = Params().model_dump()[section][key]
    parse_params({section: {key: value or default}})


def test_every_data_set_name_has_an_adapter_and_every_adapter_a_name() -> None:
    modules = {path.stem for path in (REPOSITORY / "pipeline/datasets/adapters").glob("[!_]*.py")}
    assert modules == set(ADAPTERS.values())
    assert get_args(DatasetName) == tuple(ADAPTERS)


@given(st.text(alphabet="abcdefghijklmnop_", min_size=1, max_size=12))
def test_unknown_keys_never_pass(name: str) -> None:
    if name in Params.model_fields:
        return
    with pytest.raises(UserError, match=r"unknown key|no key may be called"):
        parse_params({name: 1})


def test_missing_and_broken_files(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not found: run from the folder"):
        load_params(tmp_path / "params.yaml")
    broken = tmp_path / "broken.yaml"
    broken.write_text("a: [1\n")
    with pytest.raises(UserError, match="not valid YAML"):
        load_params(broken)
    broken.write_text("- 1\n")
    with pytest.raises(UserError, match="must hold a mapping"):
        load_params(broken)
