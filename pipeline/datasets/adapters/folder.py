"""`dataset.name: folder`: the folders' names are the labels."""

from __future__ import annotations

from arpgnet.pipeline.datasets.base import (
    About,
    ListedClip,
    Listing,
    Recipe,
    Wanted,
    WrongRootError,
)
from arpgnet.pipeline.datasets.layout import is_video, relative, split_folders, unused_files

ABOUT = About(
    title="your own: one folder per class",
    classes=(),
    marks=(),
    layout="<class>/<clip> or <split>/<class>/<clip>",
    recipe=Recipe("kfold", "split folders where there are some, else folds", folds=4),
    metric="uar",
    license="yours",
    obtain="",
    source="",
    published=False,
)


def list_clips(wanted: Wanted) -> Listing:
    """The videos at `<class>/<clip>` or `<split>/<class>/<clip>`.

    Hidden files are passed over in silence; files that are not videos by their suffix, or
    that lie higher or deeper than the layout says, are returned as `unused`.

    Raises:
        UserError: split folders and class folders are mixed.
        WrongRootError: no video lies where one is looked for.
    """
    root = wanted.root
    clips = [
        ListedClip(name, path.parent.name, split=split, where=name)
        for split, folder in split_folders(root)
        for path in sorted(folder.glob("*/*"))
        if is_video(path) and not path.parent.name.startswith(".")
        for name in [relative(path, root)]
    ]
    if not clips:
        raise WrongRootError(f"video at {ABOUT.layout}")
    return Listing(clips, unused_files(root, (clip.path for clip in clips), wanted.follow_links))
