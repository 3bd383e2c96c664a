"""Names that are not UTF-8, as old archives have them: said, and kept out of the tables."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from arpgnet.pipeline.common.wording import is_utf8, plural, shown, stored
from arpgnet.pipeline.datasets.base import ListedClip, Listing

NOT_UTF8 = "its name is not UTF-8"
# names that a remark lists
_SHOWN = 5


def as_text(listing: Listing) -> Listing:
    """Return a listing whose names can be stored, the clips' paths aside.

    Clips of a class whose name is not UTF-8 are left out and counted. A path that is not UTF-8
    stays as it is, for the clip to be quarantined; a remark names it.
    """
    left_out: Counter[str] = Counter({shown(why): n for why, n in listing.left_out.items()})
    clips = []
    for clip in listing.clips:
        if clip.label is not None and not is_utf8(clip.label):
            left_out[f"the name of class '{shown(clip.label)}' is not UTF-8: rename it"] += 1
        else:
            clips.append(_as_text(clip))
    remarks = [*map(shown, listing.remarks), *_remarks(clips)]
    unused = [shown(name) for name in listing.unused]
    return replace(listing, clips=clips, left_out=dict(left_out), remarks=remarks, unused=unused)


def _as_text(clip: ListedClip) -> ListedClip:
    if is_utf8(clip.path):
        return clip
    return replace(
        clip,
        subject=clip.subject and stored(clip.subject),
        group=clip.group and stored(clip.group),
        where=stored(clip.where),
    )


def _remarks(clips: list[ListedClip]) -> list[str]:
    names = list(dict.fromkeys(shown(clip.path) for clip in clips if not is_utf8(clip.path)))
    if not names:
        return []
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    listed = ", ".join(f"'{name}'" for name in names[:_SHOWN])
    verb = "is" if len(names) == 1 else "are"
    return [f"{plural(len(names), 'name')} {verb} not UTF-8, rename the files: {listed}{more}"]
