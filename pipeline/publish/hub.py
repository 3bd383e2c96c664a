"""The published card as model hubs read it: a header in YAML, and how to use the folder.

Hugging Face and ModelScope take licenses, tags and figures from the header
(huggingface.co/docs/hub/model-cards). It names no language: the networks see faces, not words.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ruamel.yaml import YAML

from arpgnet.pipeline.common.params import RENDERED, Params
from arpgnet.pipeline.common.wording import plural
from arpgnet.pipeline.publish.scores import Reported, own_run, reported
from arpgnet.pipeline.report.location import OWN, OWN_TITLE
from arpgnet.pipeline.report.score_names import SCORE_NAMES
from arpgnet.pipeline.tables.predictions import EXPRESSION, NETWORK

# what the hub calls it, whatever is predicted of a video
PIPELINE = "video-classification"
# terms as adapters and face packs state them -> the hub's identifier
LICENSES = {
    "MIT": "mit",
    "MIT (terms lie in the archive)": "mit",
    "Apache-2.0": "apache-2.0",
    "CC BY-NC-SA 4.0": "cc-by-nc-sa-4.0",
    "Open Database License 1.0 (contents: Database Contents License)": "odbl",
}
PERMISSIVE = ("apache-2.0", "mit")  # of several the first: it asks for more
# the row of the card's provenance, which is of the run and not of today
CODE = re.compile(r"^\| code \| version (\S+?), commit \w+ of (\d{4}-\d\d-\d\d)", re.MULTILINE)

# any folder's name will do; a constant one gives equal bytes wherever the folder is written
SNIPPET = """import arpgnet

model = arpgnet.load("released")  # this folder, wherever it lies
table = model.predict("talk.mp4")  # a pandas.DataFrame, one row per face and frame
print(table[["time_s", "face_id", {columns}]])
"""


def release(card: str, sha256: str) -> dict[str, str]:
    """Return the `version` and `date` of a network: of the code that trained it, and its weights.

    Without Git, there is no date, and no version of the code.
    """
    found = CODE.search(card)
    weights = sha256[:8]
    return {"version": f"{found[1]}+{weights}", "date": found[2]} if found else {"version": weights}


def header(
    params: Params,
    name: str,
    info: Mapping[str, Any],
    sets: Iterable[Mapping[str, Any]],
    pack_license: str,
    details: Mapping[str, Any],
    released: Mapping[str, str],
) -> str:
    """Write the YAML between its two lines of dashes.

    Args:
        name, info: of the run, as `load_run` gives it.
        sets: of the manifest's notes.
        details: `reports/evaluation.json`.
        released: from `release`.
    """
    sets = list(sets)
    task = reported(info)
    tags = ["arpgnet", task.tag, "graph-attention", "onnx"]
    if info.get("origin", {}).get("faces") == "rendered":
        tags.append("rendered-faces-only")
    own = any(one["adapter"] in OWN for one in sets)
    terms = [one["license"] for one in sets] + [pack_license]
    if params.finetune.enabled and params.finetune.dataset != "demo":
        terms.append(f"of the stills: {params.finetune.dataset}")
    if params.pretrain.enabled and set(params.pretrain.stills) - {RENDERED}:
        terms.append("of the images of pretrain.stills")
    content: dict[str, Any] = {
        **({"license": "unknown"} if own else license_of(terms)),
        "library_name": "arpgnet",
        "pipeline_tag": PIPELINE,
        "tags": tags,
        "datasets": sorted({one["adapter"] for one in sets if one["adapter"] not in OWN}),
        "metrics": list(task.metrics.values()),
        **released,
        "model-index": [
            {"name": f"ARPGNet {name}", "results": list(_results(info, sets, details))}
        ],
    }
    text = io.StringIO()
    yaml = YAML()
    yaml.width = 10_000  # a folded line is hard to read, and to compare
    yaml.dump({key: value for key, value in content.items() if value != []}, text)
    return f"---\n{text.getvalue()}---\n"


def license_of(terms: Iterable[str]) -> dict[str, str]:
    """Return the hub's fields: the strictest of the terms, or `other` where none includes all."""
    known = {LICENSES.get(term) for term in terms}
    strict = known - {*PERMISSIVE}
    if not strict:
        return {"license": next(one for one in PERMISSIVE if one in known)}
    first = strict.pop()
    if first is None or strict:
        return {"license": "other", "license_name": "see-the-section-licenses"}
    return {"license": first}


def _results(
    info: Mapping[str, Any], sets: Iterable[Mapping[str, Any]], details: Mapping[str, Any]
) -> Iterator[dict[str, Any]]:
    """Yield the figures of this network on its own test part, and of all networks together."""
    titles = (OWN_TITLE if one["adapter"] in OWN else one["title"] for one in sets)
    names = list(dict.fromkeys(" ".join(title.split()) for title in titles))
    kinds = list(dict.fromkeys(one["adapter"] for one in sets))
    about = {"name": " and ".join(names) or "unknown", "type": "-".join(kinds) or "unknown"}
    task = reported(info)
    unit = "clip" if info["task"] == "clip" else "labeled frame"
    own = own_run(info, details)
    if own:
        part = f"test part of fold {own['fold']}: {plural(own['tested'], unit)}, not in training"
        yield _result(task, {**about, "split": part}, own)
    scores = details["models"][NETWORK]["scores"]
    part = f"test parts of {plural(len(details['runs']), 'network')} like this one, mean over seeds"
    means = {key: scores[key]["mean"] for key in task.metrics}
    yield _result(task, {**about, "split": part}, means)


def _result(
    task: Reported, dataset: Mapping[str, str], scores: Mapping[str, Any]
) -> dict[str, Any]:
    metrics = [
        {"type": hub, "value": round(scores[key], 4), "name": SCORE_NAMES[key]}
        for key, hub in task.metrics.items()
        if scores.get(key) is not None
    ]
    about = {"type": PIPELINE, "name": task.task}
    return {"task": about, "dataset": dict(dataset), "metrics": metrics}


def how_to_use(
    pack: str, bundled: bool, released: Mapping[str, str], info: Mapping[str, Any]
) -> str:
    """Write the section with the snippet."""
    of_classes = info.get("kind", EXPRESSION) == EXPRESSION
    snippet = SNIPPET.format(columns='"label"' if of_classes else "*model.classes")
    day = f" of {released['date']}" if "date" in released else ""
    face_pack = (
        f"the face pack {pack}, which comes with it"
        if bundled
        else f"the face pack {pack} (`arpgnet models list` says how to get it)"
    )
    return (
        f"## How to use\n\nVersion {released['version']}{day}: of the code, and the first digits "
        "of the sha256 of the weights.\n\n"
        f"```python\n{snippet}```\n\n"
        "In a terminal: `arpgnet predict talk.mp4 --model released`. Both need the package "
        f"`arpgnet` and {face_pack}. Every other file is checked against `SHA256SUMS`: get "
        "the folder from a hub as files (`hf download NAME --local-dir released`), not as links "
        "into a cache.\n\n"
    )
