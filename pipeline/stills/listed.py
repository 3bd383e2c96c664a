"""The stills in use, as ingest lists them: `data/stills.json`, one sum over all of them.

The finetune stage depends on that file, so that DVC runs it again when a still is added, removed,
replaced or labeled otherwise.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from arpgnet.pipeline.common.files import write_whole
from arpgnet.pipeline.common.params import FinetuneParams
from arpgnet.pipeline.datasets.file_cache import FileCache
from arpgnet.pipeline.stills.sets import list_stills
from arpgnet.pipeline.store import digest

STILLS = Path("data/stills.json")


def write_stills_list(params: FinetuneParams, workers: int, path: Path = STILLS) -> None:
    """Write the digest that identifies a set of stills; nothing of a set that is not used.

    Raises:
        UserError: the set is absent, or laid out in another way.
    """
    listed: dict[str, object] = {"enabled": params.enabled}
    if params.enabled:
        listed |= {"dataset": params.dataset, "stills": stills_digest(params, workers)}
    write_whole(path, (json.dumps(listed, indent=2, sort_keys=True) + "\n").encode())


def is_listed(params: FinetuneParams, path: Path = STILLS) -> bool:
    """Check whether stills of the data set are listed."""
    try:
        listed = json.loads(path.read_text())
    except (OSError, ValueError):
        return False
    return bool(listed.get("enabled")) and listed.get("dataset") == params.dataset


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
    with FileCache() as cache:
        files = [still.path for still in listing.stills if still.path is not None]
        sums = dict(zip(files, cache.sums(files, workers), strict=True))
    rows = [
        [
            *(still.name, still.label, still.part, still.subject),
            sums[still.path] if still.path else hashlib.sha256(still.gray or b"").hexdigest(),
        ]
        for still in listing.stills
    ]
    return digest(rows, listing.classes, listing.left_out)
