"""Which of the user's clips may be learned from: none that shows a person of a test part.

One encoder serves every fold and seed, so whoever is tested in any trained fold is left out. With
cross-validation that is everybody: then stills of other people are needed, or a fixed test part
(`dataset.protocol: holdout`, a data set's official split, or one fold in `train.folds`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import pyarrow as pa

from arpgnet.pipeline.tables.manifest import OK, Clip

TESTED = "a clip of a person who is tested"
UNREADABLE = "a clip that cannot be used"


@dataclass(frozen=True)
class Division:
    """The clips that are tested in a trained fold, and those that may be learned from."""

    tested: list[Clip]
    free: list[Clip]
    left_out: dict[str, int]

    @property
    def tested_people(self) -> set[str]:
        return {clip.subject for clip in self.tested if clip.subject is not None}


def divide(
    clips: Sequence[Clip], splits: pa.Table, folds: Literal["all"] | Sequence[int]
) -> Division:
    """Divide the clips of the manifest.

    A clip is left out too where its subject, its group (of near-duplicates and the like) or its
    file is that of a tested one. Where nobody is named, that is all that is known.

    Args:
        splits: as `read_splits` gives them.
        folds: that are trained: `train.folds`.
    """
    ids = {
        row["clip_id"]
        for row in splits.to_pylist()
        if row["split"] == "test" and (folds == "all" or row["fold"] in folds)
    }
    tested = [clip for clip in clips if clip.clip_id in ids]
    people, groups, files = (
        {getattr(clip, name) for clip in tested} - {None, ""}
        for name in ("subject", "group", "sha256")
    )
    free: list[Clip] = []
    left_out: Counter[str] = Counter()
    for clip in clips:
        shown = clip.subject in people or clip.group in groups or clip.sha256 in files
        if clip.clip_id in ids or shown:
            left_out[TESTED] += 1
        elif clip.status != OK:
            left_out[UNREADABLE] += 1
        else:
            free.append(clip)
    return Division(tested, free, dict(left_out))
