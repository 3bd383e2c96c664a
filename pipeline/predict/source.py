"""Load a trained run from a workspace, a published folder, or a Git revision."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.common.params_file import PARAMS_FILE, load_params
from arpgnet.pipeline.common.revision import NotInCache, NotInRevision, UnknownRevision, checkout
from arpgnet.pipeline.predict.model import BACKBONE, Model, assemble, load_model
from arpgnet.pipeline.publish.needs import NEEDS, pack_files, read_needs
from arpgnet.pipeline.publish.sums import README, SUMS, check_sums
from arpgnet.pipeline.publish.write import BACKBONE as PUBLISHED_BACKBONE
from arpgnet.pipeline.publish.write import PARAMS
from arpgnet.pipeline.report.location import CARD
from arpgnet.pipeline.tables.curves import RUNS
from arpgnet.pipeline.tables.manifest import MANIFEST
from arpgnet.pipeline.tables.pretraining import PRETRAINED
from arpgnet.pipeline.tables.shards import INDEX
from arpgnet.pipeline.training.checkpoints import MODEL


def open_model(source: str | None = None, run: str | None = None, root: Path = Path()) -> Model:
    """Load a trained run, by default the best one of the workspace `root`.

    Args:
        source: the folder of another workspace, one that `arpgnet publish` wrote, or a Git revision
            or DVC experiment of `root`.
        run: its name, such as `fold0-seed0`; without it the best by validation score.

    Raises:
        UserError: there is nothing of that name, no run or no face pack in it, or parts of it do
            not match.
    """
    if source is None:
        return load_model(root, run)
    folder = Path(source)
    if (folder / SUMS).is_file() or (folder / MODEL).is_file():
        return load_published(folder, run)
    if (folder / PARAMS_FILE).is_file():
        return load_model(folder, run)
    return load_revision(source, run, root)


def read_card(model: Model) -> str:
    """Return the model card, in Markdown.

    Raises:
        UserError: it is not there.
    """
    try:
        return model.card.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(
            f"{model.card} cannot be read ({error.strerror}): run `dvc repro`"
        ) from None


def load_published(folder: Path, run: str | None = None) -> Model:
    """Load the run of a folder that `arpgnet publish` wrote.

    Raises:
        UserError: a file is absent or changed, it contains another run than `run`, or the face pack
            is not installed or is another one.
    """
    check_sums(folder)
    needs = read_needs(folder)
    if run not in (None, needs.run):
        raise UserError(f"{folder} contains the run {needs.run}, not {run}: leave out --run")
    params = load_params(folder / PARAMS)
    backbone = folder / PUBLISHED_BACKBONE
    # earlier versions published it under the name of the workspace's card
    card = folder / README if (folder / README).is_file() else folder / CARD.name
    model = assemble(needs.run, folder, params, backbone, clip_s=needs.clip_s, card=card)
    now = pack_files(model.pack)
    unlike = [role for role, digest in needs.pack.items() if now.get(role) != digest]
    if unlike:
        raise UserError(
            f"{folder} was trained with another version of the face pack {model.pack.name} than "
            f"{model.pack.folder} ({', '.join(unlike)}): put the pack with the sha256 values of "
            f"{folder / NEEDS} into a folder of ARPGNET_MODELS"
        )
    return model


def load_revision(rev: str, run: str | None = None, root: Path = Path()) -> Model:
    """Load a run of an earlier state of the workspace `root` from Git and DVC's cache.

    Raises:
        UserError: there is no such revision, it has no run, or the run is not in the cache.
    """
    copy = tempfile.TemporaryDirectory()
    _fetch(rev, root, Path(copy.name))
    return replace(load_model(Path(copy.name), run), copy=copy)


def _fetch(rev: str, root: Path, into: Path) -> None:
    indices = [Path("data") / stage / INDEX for stage in ("frames", "appearance")]
    try:
        # earlier versions had no pre-training
        optional = [PRETRAINED, MANIFEST, CARD, *indices]
        checkout(rev, root, into, [PARAMS_FILE, RUNS, BACKBONE], optional)
    except UnknownRevision as error:
        raise UserError(
            f"--model {rev}: no workspace with a params.yaml, no published folder with a {SUMS}, "
            f"and no revision ({error}): see `git log --oneline`, `dvc exp list --all`"
        ) from None
    except NotInRevision as error:
        raise UserError(
            f"revision '{rev}' has no trained run ({error} is not in it): dvc.lock must be part of "
            "the commit; see `git log --oneline -- dvc.lock`"
        ) from None
    except NotInCache as error:
        raise UserError(
            f"{error} of revision '{rev}' is not in the cache: `dvc fetch --all-commits` gets it "
            f"from a remote, `git checkout {rev} && dvc repro` recomputes it"
        ) from None
