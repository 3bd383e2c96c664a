"""`finetune.dataset: folder`: the folders' names are the labels.

`[<train|val>/]<class>/[<subject>/]<image>`. A folder `test` beside `train` is left alone.
"""

from __future__ import annotations

from pathlib import Path

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.common.params import FinetuneParams
from arpgnet.pipeline.common.wording import is_utf8
from arpgnet.pipeline.datasets.layout import split_folders, visible_files
from arpgnet.pipeline.datasets.spelling import quoted, spelled_alike
from arpgnet.pipeline.stills.stills import IMAGE_SUFFIXES, Listing, Part, Still, stills_root


def list_stills(params: FinetuneParams, workers: int) -> Listing:
    """Return the images under `finetune.root`; hidden files are passed over in silence.

    Raises:
        UserError: no image lies where one is looked for, split folders stand beside others, or
            two classes or people differ only by their spelling.
    """
    return list_folder(stills_root(params))


def list_folder(root: Path) -> Listing:
    """See `list_stills`."""
    stills: list[Still] = []
    used: set[Path] = set()
    tested = strange = 0
    if not root.is_dir():
        raise UserError(f"finetune.root: {root} is a file; it must be the folder of the stills")
    for split, folder in split_folders(root, "finetune.root", "image"):
        found = [
            path for path in sorted(visible_files(folder)) if path.suffix.lower() in IMAGE_SUFFIXES
        ]
        found = [path for path in found if 2 <= len(path.relative_to(folder).parts) <= 3]
        used.update(found)
        strange += sum(not is_utf8(path.relative_to(root)) for path in found)
        found = [path for path in found if is_utf8(path.relative_to(root))]
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
            f"finetune.root: no image at <class>/<image> or <train|val>/<class>/<image> in {root}"
        )
    labels = {still.label for still in stills}
    people = {still.subject for still in stills if still.subject}
    for names in (*spelled_alike(labels), *spelled_alike(people)):
        raise UserError(
            f"finetune.root: the folders {' and '.join(map(quoted, names))} differ only by case, "
            "Unicode form or blanks: give them one name, or names that differ more"
        )
    others = sum(1 for path in visible_files(root) if path not in used)
    reasons = {
        "not an image, or not where one is looked for": others,
        "of the test part": tested,
        "of a name that is not UTF-8": strange,
    }
    return Listing(
        stills,
        sorted({still.label for still in stills}),
        {reason: count for reason, count in reasons.items() if count},
    )
