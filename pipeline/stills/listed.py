"""The stills in use, as ingest lists them: `data/stills.json`, one sum over all of them.

The stages that learn from stills depend on that file, so that DVC runs them again when a still is
added, removed, replaced or labeled otherwise.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from arpgnet.pipeline.common.files import write_whole
from arpgnet.pipeline.common.params import RENDERED, FinetuneParams, PretrainParams
from arpgnet.pipeline.datasets.file_cache import FileCache
from arpgnet.pipeline.stills.sets import list_stills
from arpgnet.pipeline.stills.stills import Listing, plain
from arpgnet.pipeline.stills.unlabeled import list_unlabeled
from arpgnet.pipeline.store import digest

STILLS = Path("data/stills.json")


def write_stills_list(
    params: FinetuneParams,
    workers: int,
    path: Path = STILLS,
    *,
    pretrain: PretrainParams = PretrainParams(),  # noqa: B008 - it is frozen
) -> None:
    """Write the digests that identify the sets of stills; nothing of one that is not used.

    Raises:
        UserError: the set is absent, or laid out in another way.
    """
    listed: dict[str, object] = {"enabled": params.enabled}
    if params.enabled:
        listed |= {"dataset": params.dataset, "stills": stills_digest(params, workers)}
    if pretrain.enabled and pretrain.stills:
        listed["pretrain"] = unlabeled_digest(pretrain, workers)
    write_whole(path, (json.dumps(listed, indent=2, sort_keys=True) + "\n").encode())


def is_listed(
    params: FinetuneParams,
    path: Path = STILLS,
    *,
    pretrain: PretrainParams = PretrainParams(),  # noqa: B008 - it is frozen
) -> bool:
    """Check whether the stills that are used are listed."""
    try:
        listed = json.loads(path.read_text())
    except (OSError, ValueError):
        return False
    if pretrain.enabled and pretrain.stills and "pretrain" not in listed:
        return False
    labeled = bool(listed.get("enabled")) and listed.get("dataset") == params.dataset
    return labeled or not params.enabled


def stills_digest(params: FinetuneParams, workers: int) -> str:
    """Return the digest of every still's name, label, part, person and bytes.

    A file whose length and time are as before is not read again.

    Raises:
        UserError: see `write_stills_list`.
    """
    if params.dataset == "demo":
        # imported here: it brings the renderer
        from arpgnet.pipeline.stills.demo import stills_version

        return stills_version(params)
    listing = list_stills(params, workers)
    return _digest(listing, workers)


def unlabeled_digest(params: PretrainParams, workers: int) -> str:
    """Return the same of the stills of `pretrain.stills`.

    Raises:
        UserError: see `list_unlabeled`.
    """
    folders = [named for named in params.stills if named != RENDERED]
    parts = [_digest(list_unlabeled(params.model_copy(update={"stills": folders}), 1), workers)]
    if RENDERED in params.stills:
        from arpgnet.pipeline.stills.demo import stills_version

        parts.append(stills_version(params))
    return digest(parts)


def _digest(listing: Listing, workers: int) -> str:
    with FileCache() as cache:
        files = [still.path for still in listing.stills if still.path is not None]
        sums = dict(zip(files, cache.sums(files, workers), strict=True))
    rows = [
        [
            *(still.name, still.label or plain(still.units), still.part, still.subject),
            sums[still.path] if still.path else hashlib.sha256(still.gray or b"").hexdigest(),
        ]
        for still in listing.stills
    ]
    return digest(rows, listing.classes, listing.left_out)
