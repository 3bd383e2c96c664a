"""How `params.yaml` is read, and what a wrong key or value is told.

`load_params` refuses unknown keys with the nearest valid name and wrong values with
the valid range, all before any work is done. No key may be called `size` or
`nfiles`: DVC drops those from its run-cache key (treeverse/dvc#10296), so a change
of one would silently give stale outputs.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any, get_args

from pydantic import ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.common.params import Params

PARAMS_FILE = Path("params.yaml")
FORBIDDEN_KEYS = frozenset({"size", "nfiles"})
# a key, or `key: value`, of an earlier version -> what it is called now; the old one is refused
RENAMED = {
    "align.leap_s": "align.max_interpolation_s",
    "align.main_face: centre": "align.main_face: center",
    "faces.landmarks: supplied": "faces.landmarks: provided",
    "finetune.colour": "finetune.color",
    "graph.neighbourhood": "graph.neighborhood",
    "train.ema": "train.average: 0.13",
}

_TO_YAML = "to YAML"


def load_params(path: Path = PARAMS_FILE) -> Params:
    """Read and validate the settings.

    Raises:
        UserError: the file is absent, is not YAML, or holds a wrong key or value; the
            line names the key, what was found, and the nearest name or the valid range.
    """
    try:
        raw = YAML(typ="safe").load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(
            f"{path} not found: run from the folder that holds it (the repository root)"
        ) from None
    except YAMLError as error:
        raise UserError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(raw, dict):
        raise UserError(f"{path} must hold a mapping of sections, e.g. 'dataset:'")
    return parse_params(raw, source=str(path))


def parse_params(raw: dict[str, Any], source: str = "params.yaml") -> Params:
    """Validate a nested mapping of settings; see `load_params`."""
    _refuse_names(raw, source)
    try:
        return Params.model_validate(raw)
    except ValidationError as error:
        raise UserError(f"{source}: {'; '.join(_explain_all(error.errors()))}") from None


def _refuse_names(node: Any, source: str, trail: str = "") -> None:
    """Refuse keys that DVC ignores, and keys and values under their names of an earlier version."""
    if not isinstance(node, dict):
        return
    for key, value in node.items():
        place = f"{trail}{key}"
        if key in FORBIDDEN_KEYS:
            raise UserError(
                f"{source}: {place}: no key may be called '{key}', "
                "because DVC would not notice a change of it; choose another name"
            )
        for old in (place, f"{place}: {value}"):
            if old in RENAMED:
                raise UserError(f"{source}: '{old}' was renamed: write '{RENAMED[old]}'")
        _refuse_names(value, source, f"{place}.")


def _explain_all(items: Sequence[Any]) -> list[str]:
    """Explain each wrong key in a phrase, or one per member of a union that refuses it."""
    phrases: dict[str, list[str]] = {}
    unknown = any(item["type"] == "extra_forbidden" for item in items)
    for item in items:
        # a name that is misspelled is missing as well: the misspelling says it all
        if not (unknown and item["type"] == "missing"):
            phrases.setdefault(_place(item["loc"])[0], []).append(_explain(item))
    found: list[str] = []
    for lines in phrases.values():
        near = [line for line in lines if "did you mean" in line or _TO_YAML in line]
        found += dict.fromkeys(near[:1] or lines)
    return found


def _explain(item: Any) -> str:
    """Return one pydantic error as a short phrase with the dotted key in front."""
    key, model = _place(item["loc"])
    found = item.get("input")
    if item["type"] == "extra_forbidden":
        return _unknown_key(key, str(item["loc"][-1]), model)
    if item["type"] == "value_error":
        return str(item["ctx"]["error"])
    if item["type"] == "missing":
        return f"{key} is missing"
    if item["type"] == "string_type" and (kind := _other_than_text(found)):
        return (
            f"{key}: {_in_yaml(found)} is {kind} {_TO_YAML}: put it, and every name like it, in "
            f"quotes ('{_in_yaml(found)}')"
        )
    phrase = f"{key or 'params'}: {found!r} is not valid: {item['msg'][0].lower()}{item['msg'][1:]}"
    if item["type"] == "literal_error":
        valid = item["ctx"]["expected"].replace(" or ", ", ").split(", ")
        near = difflib.get_close_matches(str(found), [name.strip("'") for name in valid], n=1)
        return f"{phrase}; did you mean '{near[0]}'?" if near else phrase
    return phrase


def _other_than_text(value: Any) -> str | None:
    """Say what YAML takes a plain word for, if not for text."""
    kinds: dict[type, str] = {bool: "a truth value", int: "a number", float: "a number"}
    if isinstance(value, date):
        return "a date"
    return "nothing" if value is None else kinds.get(type(value))


def _in_yaml(value: Any) -> str:
    """Return a word that YAML reads as the value."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value)


def _place(location: Sequence[str | int]) -> tuple[str, Any]:
    """Return an error's dotted key, without union members, and the section it ends in."""
    if location[-1:] == ("[key]",):
        # a key of a mapping, which may be a number
        location = location[:-2]
    key = ""
    model: Any = Params
    annotation: Any = Params
    for part in location:
        if isinstance(part, int) and key:
            key += f"[{part}]"
        elif isinstance(part, str) and model and part in model.model_fields:
            key += f".{part}" if key else part
            annotation = model.model_fields[part].annotation
        else:
            break
        model = _section(annotation)
    return key, model


def _section(annotation: Any) -> Any:
    """Return the section of a key, by itself or as a list's entries; None: a plain value."""
    if hasattr(annotation, "model_fields"):
        return annotation
    return next((found for part in get_args(annotation) if (found := _section(part))), None)


def _unknown_key(parent: str, wrong: str, model: Any) -> str:
    valid = list(model.model_fields)
    near = difflib.get_close_matches(wrong, valid, n=1, cutoff=0.5)
    before = f"{parent}." if parent else ""
    if near:
        return f"{before}{wrong}: unknown key; did you mean '{before}{near[0]}'?"
    return f"{before}{wrong}: unknown key; valid here: {', '.join(valid)}"
