"""`params/<name>.yaml`: what a data set's protocol needs, put into params.yaml."""

from __future__ import annotations

import difflib
import io
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import YAMLError

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.common.files import write_whole
from arpgnet.pipeline.common.params import Params
from arpgnet.pipeline.common.params_file import PARAMS_FILE, parse_params
from arpgnet.pipeline.common.user import expanded
from arpgnet.pipeline.datasets.root import resolve_root

FOLDER = Path("params")
# no file: all defaults
DEMO = "demo"

Key = tuple[str, ...]


def preset_names() -> list[str]:
    """The presets beside params.yaml."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def read_preset(name: str) -> dict[Key, Any]:
    """A preset's settings by key.

    Args:
        name: of a file in params/, or the path of a YAML file, or `demo`: nothing.

    Raises:
        UserError: there is no such file, it is not YAML, or it names no data set.
    """
    if name == DEMO:
        return {}
    path = _path(name)
    raw = _mapping(YAML(typ="safe"), path)
    settings = dict(_leaves(raw, Params))
    if ("dataset", "name") not in settings:
        raise UserError(f"{path}: dataset.name is missing: a preset must name its data set")
    return settings


def use(
    name: str,
    root: str | None = None,
    *,
    manifest: str | None = None,
    variant: str | None = None,
) -> list[str]:
    """Write a preset into params.yaml, whose comments and other settings stay.

    All of `dataset` but the demo's own settings, and every key that any preset sets, goes back
    to its default first. A root and a manifest that are not stated stay where the data set stays.

    Returns:
        each changed key in the form `dataset.name: demo -> rml`.

    Raises:
        UserError: no such preset, or the result would not be valid; nothing is written then.
    """
    preset = read_preset(name)
    yaml = _round_trip()
    document = _mapping(yaml, PARAMS_FILE)
    defaults = dict(_leaves(Params().model_dump(mode="json"), Params))
    present = {**defaults, **dict(_leaves(document, Params))}
    wanted = {key: defaults[key] for key in _resettable(defaults)} | preset
    if wanted["dataset", "name"] == present["dataset", "name"]:
        stays: list[Key] = [("dataset", "root"), ("dataset", "manifest")]
        wanted |= {key: preset.get(key, present[key]) for key in stays}
    stated = {"root": root, "manifest": manifest, "variant": variant}
    wanted |= {
        ("dataset", setting): value for setting, value in stated.items() if value is not None
    }
    _check_root(wanted, root)
    changed = [key for key, value in wanted.items() if present.get(key) != value]
    for key in changed:
        _set(document, key, wanted[key])
    text = io.StringIO()
    yaml.dump(document, text)
    parse_params(YAML(typ="safe").load(text.getvalue()), f"{PARAMS_FILE} with the preset {name}")
    if changed:
        write_whole(PARAMS_FILE, text.getvalue().encode())
    return [
        f"{'.'.join(key)}: {_shown(present.get(key))} -> {_shown(wanted[key])}" for key in changed
    ]


def _path(name: str) -> Path:
    path = expanded(name)
    if path.suffix in (".yaml", ".yml"):
        return path
    names = preset_names()
    if name in names:
        return FOLDER / f"{name}.yaml"
    if not names:
        raise UserError(f"no folder {FOLDER}/ with presets here: run from the repository root")
    near = difflib.get_close_matches(name.lower(), [*names, DEMO], n=1)
    hint = f"did you mean '{near[0]}'?" if near else f"available: {', '.join([*names, DEMO])}"
    raise UserError(f"no preset '{name}' in {FOLDER}/: {hint}")


def _mapping(yaml: YAML, path: Path) -> Any:
    try:
        raw = yaml.load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror})") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 (byte {error.start})") from None
    except YAMLError as error:
        raise UserError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(raw, dict):
        raise UserError(f"{path} must contain a mapping of sections, e.g. 'dataset:'")
    return raw


def _round_trip() -> YAML:
    """Comments, order and form are kept; no line is broken, and nothing is written as null."""
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 4096
    yaml.representer.add_representer(
        type(None), lambda writer, _: writer.represent_scalar("tag:yaml.org,2002:null", "null")
    )
    return yaml


def _leaves(raw: Mapping[str, Any], model: Any, above: Key = ()) -> Iterator[tuple[Key, Any]]:
    """Settings by key; a value that is itself a mapping (`dataset.map`) is one."""
    fields = model.model_fields
    for name, value in raw.items():
        inner = fields[name].annotation if name in fields else None
        if isinstance(value, Mapping) and hasattr(inner, "model_fields"):
            yield from _leaves(value, inner, (*above, name))
        else:
            yield (*above, name), value


def _resettable(defaults: Mapping[Key, Any]) -> list[Key]:
    own = {key for key in defaults if key[0] == "dataset" and key[1] != DEMO}
    for name in preset_names():
        own |= read_preset(name).keys()
    return [key for key in defaults if key in own]


def _check_root(wanted: Mapping[Key, Any], root: str | None) -> None:
    """A root that is stated exists, and is of use."""
    if root is None:
        return
    name = wanted["dataset", "name"]
    if name == "cross":
        raise UserError(
            "ROOT: each of the data sets has its own root; edit them in dataset.train_on and "
            "dataset.test_on"
        )
    if name == DEMO:
        raise UserError("ROOT: the demo has none because it is rendered")
    resolve_root(root, "ROOT")


def _set(document: CommentedMap, key: Key, value: Any) -> None:
    section = document
    for name in key[:-1]:
        if not isinstance(section.get(name), dict):
            section[name] = CommentedMap()
        section = section[name]
    section[key[-1]] = _in_a_line(value)
    _align(section, key[-1])


def _align(section: CommentedMap, key: str) -> None:
    """Put a key's comment where most of its section stand: a long value had moved it away."""
    comments = {name: tokens[2] for name, tokens in section.ca.items.items() if tokens[2]}
    if key in comments:
        columns = Counter(token.start_mark.column for token in comments.values())
        comments[key].start_mark.column = columns.most_common(1)[0][0]


def _in_a_line(value: Any) -> Any:
    """Lists and mappings in the form [a, b]."""
    if isinstance(value, Mapping):
        table = CommentedMap({key: _in_a_line(item) for key, item in value.items()})
        table.fa.set_flow_style()
        return table
    if isinstance(value, list):
        items = CommentedSeq([_in_a_line(item) for item in value])
        items.fa.set_flow_style()
        return items
    return value


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
