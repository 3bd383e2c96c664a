"""Stills without labels, for pre-training: all images of some folders and their subfolders."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.common.params import RENDERED, PretrainParams
from arpgnet.pipeline.common.wording import is_utf8
from arpgnet.pipeline.datasets.layout import visible_files
from arpgnet.pipeline.datasets.root import resolve_root
from arpgnet.pipeline.stills.stills import IMAGE_SUFFIXES, Listing, Still

_SETTING = "pretrain.stills"


def list_unlabeled(params: PretrainParams, workers: int) -> Listing:
    """List the images of every folder of `pretrain.stills`; hidden files are passed over.

    A still's name is its path below its folder. `workers` processes may render the demo's.

    Raises:
        UserError: a folder is absent, or has no image.
    """
    stills: list[Still] = []
    left_out: Counter[str] = Counter()
    for named in params.stills:
        if named == RENDERED:
            # imported when chosen: it brings the renderer
            from arpgnet.pipeline.stills import demo

            stills += demo.list_stills(params, workers).stills
            continue
        found, strange = _images(resolve_root(named, _SETTING))
        stills += found
        left_out["of a name that is not UTF-8"] += strange
    return Listing(stills, [], {reason: count for reason, count in left_out.items() if count})


def _images(root: Path) -> tuple[list[Still], int]:
    """Return the images below a folder, and how many have a name that cannot be written down."""
    paths = [p for p in sorted(visible_files(root)) if p.suffix.lower() in IMAGE_SUFFIXES]
    if not paths:
        kinds = ", ".join(sorted(IMAGE_SUFFIXES))
        raise UserError(f"{_SETTING}: no image ({kinds}) in {root} or its subfolders")
    names = [path.relative_to(root) for path in paths]
    stills = [
        Still(name.as_posix(), "", path=path)
        for name, path in zip(names, paths, strict=True)
        if is_utf8(name)
    ]
    return stills, len(paths) - len(stills)
