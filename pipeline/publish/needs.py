"""`predict.json`: what predict needs of a published run in addition to its weights."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.networks.packs import Pack
from arpgnet.pipeline.tables.manifest import MANIFEST, OK, Clip, read_manifest

NEEDS = "predict.json"


class Needs(BaseModel):
    """The run's name, the median duration of its training clips in seconds (None: unknown), and
    the sha256 of the face pack's files by role."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    run: str
    clip_s: float | None
    pack: dict[str, str]


def write_needs(folder: Path, run: str, pack: Pack, root: Path) -> None:
    """Write the file for a run of the workspace `root`."""
    needs = Needs(run=run, clip_s=median_s(sound_clips(root)), pack=pack_files(pack))
    text = json.dumps(needs.model_dump(), indent=2, ensure_ascii=False)
    (folder / NEEDS).write_text(f"{text}\n", encoding="utf-8")


def read_needs(folder: Path) -> Needs:
    """Read what `write_needs` wrote.

    Raises:
        UserError: the file is absent or damaged.
    """
    path = folder / NEEDS
    try:
        return Needs.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise UserError(
            f"{folder} has no {NEEDS}, which predict needs: it was published by an older version; "
            "publish the run again"
        ) from None
    except (OSError, ValidationError):
        raise UserError(f"{path} cannot be read: download the folder again") from None


def pack_files(pack: Pack) -> dict[str, str]:
    """Return the sha256 by role."""
    return {role: spec.sha256 for role, spec in pack.models.items()}


def sound_clips(root: Path) -> list[Clip]:
    """List the workspace's clips that can be decoded; none if it has no manifest."""
    if not (root / MANIFEST).is_file():
        return []
    return [clip for clip in read_manifest(root / MANIFEST).clips if clip.status == OK]


def median_s(clips: Sequence[Clip]) -> float | None:
    """Compute the median duration in seconds; None if no clip's duration is known."""
    lengths = []
    for clip in clips:
        whole = clip.duration_s
        if whole is None and clip.frames and clip.fps:
            whole = clip.frames / clip.fps
        end = whole if clip.end_s is None else clip.end_s
        if end is not None:
            lengths.append(end - (clip.start_s or 0.0))
    return float(np.median(lengths)) if lengths else None
