"""`arpgnet publish`: everything needed to use a trained network, in one folder with checksums."""

from __future__ import annotations

import io
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.common.files import partial, writing_to
from arpgnet.pipeline.common.params import Params
from arpgnet.pipeline.common.wording import plural
from arpgnet.pipeline.export.write import export
from arpgnet.pipeline.networks.packs import BUNDLED, load_pack
from arpgnet.pipeline.networks.tuned import METADATA, WEIGHTS, read_metadata
from arpgnet.pipeline.publish.hub import header, how_to_use, release
from arpgnet.pipeline.publish.needs import NEEDS, write_needs
from arpgnet.pipeline.publish.scores import own_run, reported
from arpgnet.pipeline.publish.sums import README, SUMS, check_sums, write_sums
from arpgnet.pipeline.report.location import CARD
from arpgnet.pipeline.report.score_names import SCORE_NAMES
from arpgnet.pipeline.report.sentences import plain
from arpgnet.pipeline.report.settings import settings_digest, shareable
from arpgnet.pipeline.store import file_sha256
from arpgnet.pipeline.tables.curves import RUNS
from arpgnet.pipeline.tables.manifest import MANIFEST, read_manifest
from arpgnet.pipeline.tables.predictions import PREDICTIONS
from arpgnet.pipeline.tables.pretraining import ENCODER, PRETRAINED
from arpgnet.pipeline.tables.pretraining import METADATA as PRETRAINING
from arpgnet.pipeline.training.checkpoints import MODEL, find_run, load_run

CLASSES = "classes.json"
PARAMS = "params.yaml"
ONNX = "model.onnx"
BACKBONE = "backbone"
CONTENTS = {
    MODEL: "the network's weights; the metadata describes its architecture and training",
    ONNX: "the same network as ONNX; the metadata describes its inputs",
    CLASSES: "the names of the classes or targets, in the order of the outputs",
    PARAMS: "every setting, without the paths of the data",
    BACKBONE: "whether fine-tuning changed the face pack's appearance network; if so, its weights",
    README: "this card",
    NEEDS: "the run's name, sha256 of the face pack's files, duration of a training clip; for "
    "`arpgnet predict --model`",
    SUMS: "sha256 of all other files but this card; verify with `arpgnet publish --check` or "
    "`sha256sum --check`",
}
OWN_ENCODER = "the encoder that was pre-trained in the place of the pack's appearance network"
# resolved to what the machine had, so they may differ from params.yaml
RESOLVED = {"device", "precision", "processes"}


@dataclass(frozen=True)
class Published:
    """The run's name, the files, how many of them have a checksum, and the bytes of all."""

    run: str
    files: list[str]
    listed: int
    bytes: int


def publish(
    params: Params, target: Path, *, run: str | None = None, root: Path = Path()
) -> Published:
    """Write a run's network and all that belongs to it into the new folder `target`.

    The folder is written under a temporary name, verified, and then renamed: it is complete or
    absent.

    Args:
        params: of the run.
        run: such as `fold0-seed0`; default: the one with the best validation score.

    Raises:
        UserError: `target` exists and is not empty; there is no such run; or run, settings, card
            and data do not match.
    """
    # `.` has no name of its own
    place = Path(os.path.abspath(target))  # noqa: PTH100 - resolve would follow a link
    _refuse_full(place, target)
    name = find_run(run, root)
    _, info = load_run(root / RUNS / name)
    _same_settings(params, info, name)
    card = _card(params, info, name, root)
    fresh = partial(place)
    try:
        with writing_to(target, "choose another folder"):
            _make(fresh, target)
            _fill(fresh, params, name, info, card, root)
            write_sums(fresh)
            listed = check_sums(fresh)
            paths = sorted(path for path in fresh.rglob("*") if path.is_file())
            files = [path.relative_to(fresh).as_posix() for path in paths]
            length = sum(path.stat().st_size for path in paths)
            _refuse_full(place, target)
            fresh.rename(place)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return Published(name, files, listed, length)


def _make(fresh: Path, target: Path) -> None:
    shutil.rmtree(fresh, ignore_errors=True)
    try:
        fresh.mkdir(parents=True)
    except OSError as error:
        raise UserError(f"{target} cannot be used ({error.strerror}): choose another") from None


def _refuse_full(place: Path, target: Path) -> None:
    try:
        other = place.is_symlink() or (place.exists() and not place.is_dir())
        full = place.is_dir() and any(place.iterdir())
    except OSError as error:
        raise UserError(f"{target} cannot be used ({error.strerror}): choose another") from None
    if other:
        raise UserError(f"{target} is not a folder: choose a new one")
    if full:
        raise UserError(f"{target} is not empty: choose a new folder, or delete this one")


def _fill(
    folder: Path, params: Params, name: str, info: Mapping[str, Any], card: str, root: Path
) -> None:
    shutil.copyfile(root / RUNS / name / MODEL, folder / MODEL)
    export(params, folder / ONNX, run=name, root=root)
    classes = json.dumps(info["classes"], indent=2, ensure_ascii=False)
    (folder / CLASSES).write_text(f"{classes}\n", encoding="utf-8")
    settings = io.StringIO()
    YAML().dump(shareable(params), settings)
    (folder / PARAMS).write_text(settings.getvalue(), encoding="utf-8")
    tuned = root / "artifacts" / BACKBONE
    (folder / BACKBONE).mkdir()
    for file in (METADATA, WEIGHTS) if read_metadata(tuned)["enabled"] else (METADATA,):
        shutil.copyfile(tuned / file, folder / BACKBONE / file)
    if params.pretrain.enabled:
        (folder / PRETRAINED.name).mkdir()
        for file in (PRETRAINING, ENCODER):  # not the examples, which show faces
            shutil.copyfile(root / PRETRAINED / file, folder / PRETRAINED.name / file)
    write_needs(folder, name, load_pack(params.faces.pack), root)
    (folder / README).write_text(card, encoding="utf-8")


def _same_settings(params: Params, info: Mapping[str, Any], name: str) -> None:
    """Check that the current settings are those that the run was trained with.

    Raises:
        UserError: some differ.
    """
    now = params.model_dump(mode="json")
    changed = [
        f"{section}.{key}"
        for section, settings in info["params"].items()
        for key, value in settings.items()
        if key not in RESOLVED and now[section].get(key) != value
    ]
    if changed:
        raise UserError(
            f"params.yaml has changed since {name} was trained ({', '.join(changed)}): run "
            "`dvc repro`, or restore the settings"
        )


def _card(params: Params, info: Mapping[str, Any], name: str, root: Path) -> str:
    """Return the run's card for a hub, with sections about this network and the files.

    Raises:
        UserError: the card or the metrics are absent, or belong to other predictions or settings.
    """
    digest = file_sha256(root / PREDICTIONS)
    try:
        card = (root / CARD).read_text(encoding="utf-8")
        details = json.loads((root / "reports/evaluation.json").read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"{error.filename} not found: run `dvc repro` first") from None
    if digest not in card or details["predictions_sha256"] != digest:
        raise UserError(f"{root / CARD} describes another run than {root / RUNS}: run `dvc repro`")
    if settings_digest(params) not in card:
        raise UserError(
            f"params.yaml has changed since {root / CARD} was written: run `dvc repro`, or restore "
            "the settings"
        )
    pack = load_pack(params.faces.pack, ())
    sets = read_manifest(root / MANIFEST).notes.get("sets", [])
    released = release(card, file_sha256(root / RUNS / name / MODEL))
    about = header(params, name, info, sets, pack.license, details, released)
    use = how_to_use(pack.name, pack.folder.is_relative_to(BUNDLED), released, info)
    # before the first section: whoever gets the folder looks for it at the top
    top, mark, sections = card.partition("\n## ")
    contents = _contents(name, info, details, pretrained=params.pretrain.enabled)
    return f"{about}{top}\n{use}{mark.lstrip()}{sections}{contents}"


def _contents(
    name: str, info: Mapping[str, Any], details: Mapping[str, Any], *, pretrained: bool
) -> str:
    fold, seed = info["fold"], info["seed"]
    unit = "clip" if info["task"] == "clip" else "labeled frame"
    task, own = reported(info), own_run(info, details)
    measured = (
        f" On its own test part of {plural(own['tested'], unit)}, not used in training: "
        f"{task.sentence(own)}."
        if own
        else ""
    )
    listed = CONTENTS | ({PRETRAINED.name: OWN_ENCODER} if pretrained else {})
    contents = "\n".join(f"| {plain(file)} | {what} |" for file, what in listed.items())
    return (
        f"\n## Contents of this folder\n\n"
        f"One of these networks: {plain(name)}, from epoch {info['best_epoch']} (fold {fold}, seed "
        f"{seed}); validation {SCORE_NAMES[task.first]} "
        f"{info['validation'][f'val_{task.first}']:.3f}.{measured}\n\n"
        f"| file | content |\n| --- | --- |\n{contents}\n"
    )
