"""What is learned from: aligned faces of the user's own clips, and of unlabeled stills.

N crops; S is `pretrain.input_px`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.common.params import PretrainParams
from arpgnet.pipeline.common.wording import plural
from arpgnet.pipeline.pretrain.people import Division
from arpgnet.pipeline.runner.workers import Limits
from arpgnet.pipeline.stills.crops import CropJob, make_crops, mapped_file, pixels
from arpgnet.pipeline.stills.refused import refusals
from arpgnet.pipeline.stills.stills import Listing, Still
from arpgnet.pipeline.stills.target import Target, square
from arpgnet.pipeline.store import folder_of
from arpgnet.pipeline.tables.manifest import Clip
from arpgnet.pipeline.tables.shards import ShardReader

NO_FACE = "a clip without a face"
TESTED_STILL = "a still of a person who is tested"


@dataclass(frozen=True)
class Crops:
    """The data of a pre-training run.

    Attributes:
        pixels: uint8 [N, S, S, 3], RGB, in a file without a name.
        identity: what decides them, for a key.
        clips, stills: how many of each they show.
        left_out: reason -> count.
    """

    pixels: np.ndarray
    identity: list[Any]
    clips: int
    stills: int
    left_out: dict[str, int]


def load_crops(
    params: PretrainParams,
    division: Division,
    data: Path,
    job: CropJob,
    listing: Listing,
    workers: int,
    limits: Limits,
) -> Crops:
    """Gather the crops; no one shows a person who is tested, as far as that can be known.

    Args:
        data: the folder of the clips' frames and faces.
        job: cuts the faces out of the stills of `listing`.

    Raises:
        UserError: fewer crops are left than a batch has.
    """
    faces = _open_faces(data / "faces", params)
    clips, left_out = _usable_clips(params, division, faces)
    people = division.tested_people
    stills = [still for still in listing.stills if not _names_one_of(people, still)]
    left_out += Counter({**listing.left_out, TESTED_STILL: len(listing.stills) - len(stills)})
    most = sum(faces.entry(clip.clip_id).rows for clip in clips) + len(stills)
    gathered = _Gathered(mapped_file(most, params.input_px, folder_of(job.store)))
    for clip in clips:
        _add_clip(gathered, faces, clip)
    identity: list[Any] = [[faces.entry(clip.clip_id).key for clip in clips]]
    sums: list[str] = []
    if stills:
        target = Target(division.tested, data / "frames", data / "faces")
        found = _add_stills(gathered, job, stills, target, workers, limits)
        sums = [sha256 for sha256, reason in found if reason is None]
        left_out += Counter(reason for _, reason in found if reason is not None)
        identity += [sums, job.identity()]
    lost = dict(sorted(left_out.items()))
    _check(gathered.count, params, lost)
    return Crops(gathered.pixels[: gathered.count], identity, len(clips), len(sums), lost)


def _open_faces(folder: Path, params: PretrainParams) -> ShardReader:
    faces = ShardReader(folder)
    side = faces.metadata["crop_px"]
    if side != params.input_px:
        raise UserError(
            f"{folder} has crops of {side} pixels, pretrain.input_px is {params.input_px}: run "
            "`dvc repro align`"
        )
    return faces


def _usable_clips(
    params: PretrainParams, division: Division, faces: ShardReader
) -> tuple[list[Clip], Counter[str]]:
    """Return the clips that are learned from, and how many others there are, by reason."""
    if not params.clips:
        return [], Counter()
    used = [clip for clip in division.free if faces.entry(clip.clip_id).ok]
    return used, Counter({**division.left_out, NO_FACE: len(division.free) - len(used)})


@dataclass
class _Gathered:
    """Crops so far; the file has places for all that may come."""

    pixels: np.ndarray
    count: int = 0

    def add(self, crop: np.ndarray) -> None:
        self.pixels[self.count] = crop
        self.count += 1


def _names_one_of(people: set[str], still: Still) -> bool:
    """Check whether the still lies in a folder with the name of one of the people."""
    return not people.isdisjoint(PurePosixPath(still.name).parent.parts)


def _add_clip(gathered: _Gathered, faces: ShardReader, clip: Clip) -> None:
    for piece in faces.pieces(clip.clip_id, ["valid", "crop"]):
        valid, crops = piece.column("valid").to_pylist(), piece.column("crop").to_pylist()
        for data, seen in zip(crops, valid, strict=True):
            if seen:
                gathered.add(square(data))


def _add_stills(
    gathered: _Gathered,
    job: CropJob,
    stills: Sequence[Still],
    target: Target,
    workers: int,
    limits: Limits,
) -> list[tuple[str, str | None]]:
    """Add the crops of stills in their order; return each one's sha256, and why it is left out."""
    found: list[tuple[str, str | None]] = [("", None)] * len(stills)
    kept: dict[int, np.ndarray] = {}
    following = 0
    for start, chunk in make_crops(job, stills, workers, limits):
        part = stills[start : start + len(chunk)]
        for row, (crop, reason) in enumerate(
            zip(chunk, refusals(part, chunk, target), strict=True), start
        ):
            found[row] = (crop.sha256, reason)
            # chunks come as they are finished
            kept[row] = pixels(crop) if reason is None else np.empty(0, np.uint8)
        while following in kept:
            crop_pixels = kept.pop(following)
            if crop_pixels.size:
                gathered.add(crop_pixels)
            following += 1
    return found


def _check(count: int, params: PretrainParams, left_out: dict[str, int]) -> None:
    said = "; ".join(f"{number} {reason}" for reason, number in left_out.items())
    lost = f" (left out: {said})" if said else ""
    advice = (
        "name folders of other people's images in pretrain.stills, or test a fixed part "
        "(dataset.protocol: holdout, or one fold in train.folds)"
    )
    if not count:
        raise UserError(f"pretrain: no crop is left to learn from{lost}: {advice}")
    if count < params.batch:
        raise UserError(
            f"pretrain: {plural(count, 'crop')} left to learn from{lost}, fewer than "
            f"pretrain.batch: {params.batch}: lower it, or {advice}"
        )
