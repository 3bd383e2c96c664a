"""What is independent: the unit that bootstrap and paired tests draw.

Clips of one person are alike, and two files of one performance are the same clip: an interval over
clips, as if each were a new observation, would be too narrow.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from arpgnet.pipeline.common.wording import NEAR_DUPLICATES
from arpgnet.pipeline.tables.manifest import Manifest

# what is known of a clip: `clip_id`, `subject`, `group` and `recording`
Origin = Mapping[str, str | None]


@dataclass(frozen=True)
class Units:
    """What the bootstrap resamples: the name of the unit, and each clip's unit."""

    name: str
    of_clip: Mapping[str, str]


def origins(manifest: Manifest) -> dict[str, Origin]:
    """Return who and what is in each clip, by `clip_id`.

    `recording` is what clips of the same images, file or group share; None for any other clip.
    """
    recordings: Mapping[str, str] = manifest.notes.get("recordings", {})
    return {
        clip.clip_id: {
            "clip_id": clip.clip_id,
            "subject": clip.subject,
            "group": clip.group,
            "recording": recordings.get(clip.clip_id),
        }
        for clip in manifest.clips
    }


def interval_units(clips: Iterable[Origin]) -> Units:
    """Choose the coarsest unit that has two values: subject, group, near-duplicate group, clip.

    Subjects and groups count only where every clip has one. A clip without near-duplicates is a
    unit of its own.

    Args:
        clips: the evaluated ones, as `origins` gives them.
    """
    known = {str(clip["clip_id"]): clip for clip in clips}
    joined = {name: str(clip.get("recording") or name) for name, clip in known.items()}
    for column in ("subject", "group"):
        values = [clip[column] for clip in known.values()]
        if None in values or len(set(values)) < 2:
            continue
        if column == "subject":
            return Units(column, {name: str(clip[column]) for name, clip in known.items()})
        # near-duplicates may join two groups
        groups = {name: str(clip.get("recording") or clip[column]) for name, clip in known.items()}
        if len(set(groups.values())) > 1:
            return Units(column, groups)
    if 1 < len(set(joined.values())) < len(joined):
        return Units(NEAR_DUPLICATES, joined)
    return Units("clip", {name: name for name in known})
