"""`finetune.dataset: folder`: the folders' names are the labels.

`[<train|val>/]<class>/[<subject>/]<picture>`. A folder `test` beside `train` is left alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pipeline.config import FinetuneParams
from pipeline.datasets.base import SPLIT_NAMES
from pipeline.errors import UserError
from pipeline.finetune.stills import IMAGE_SUFFIXES, Listing, Part, Still, stills_root


def list_stills(params: FinetuneParams, workers: int) -> Listing:
    """The pictures under `finetune.root`; hidden files are passed over in silence.

    Raises:
        UserError: no picture lies where one is looked for, or split folders stand beside others.
    """
    return list_folder(stills_root(params))


def list_folder(root: Path) -> Listing:
    """See `list_stills`."""
    stills: list[Still] = []
    used: set[Path] = set()
    tested = 0
    for split, folder in _split_folders(root):
        found = [path for path in _files(folder) if path.suffix.lower() in IMAGE_SUFFIXES]
        found = [path for path in found if 2 <= len(path.relative_to(folder).parts) <= 3]
        used.update(found)
        if split == "test":
            tested += len(found)
            continue
        part: Part | None = None if split is None else "val" if split == "val" else "train"
        for path in found:
            label, *subject = path.relative_to(folder).parts[:-1]
            stills.append(
                Still(
                    path.relative_to(root).as_posix(),
                    label,
                    part,
                    subject[0] if subject else None,
                    path,
                )
            )
    if not stills:
        raise UserError(
            f"finetune.root: no picture at <class>/<picture> or <train|val>/<class>/<picture> "
            f"in {root}"
        )
    others = sum(1 for path in _files(root) if path not in used)
    reasons = {"not a picture, or not where one is looked for": others, "of the test part": tested}
    return Listing(
        stills,
        sorted({still.label for still in stills}),
        {reason: count for reason, count in reasons.items() if count},
    )


def _split_folders(root: Path) -> list[tuple[str | None, Path]]:
    """The folders train, val, test of the root; the root itself when it holds the classes."""
    if not root.is_dir():
        raise UserError(f"finetune.root: {root} is a file; it must be the folder of the stills")
    folders = sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))
    splits = [path for path in folders if path.name.lower() in SPLIT_NAMES]
    if splits and len(splits) < len(folders):
        other = next(path for path in folders if path not in splits)
        raise UserError(
            f"finetune.root: '{splits[0].name}' looks like a split and '{other.name}' like a "
            "class; use <class>/<picture> or <split>/<class>/<picture> throughout"
        )
    return [(SPLIT_NAMES[path.name.lower()], path) for path in splits] or [(None, root)]


def _files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if path.is_file() and not hidden:
            yield path
