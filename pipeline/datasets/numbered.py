"""The common layout of DFEW and MAFW: numbered clips in several forms, and lists of folds."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.datasets.base import Images, ListedClip, Listing, Wanted
from arpgnet.pipeline.datasets.layout import is_video, named_folders, relative, unused_files, walk

# the row's position, the clip's number, its class
Row = tuple[str, int, str]


@dataclass(frozen=True)
class Form:
    """One of the forms that a set's clips have: a folder of videos, or of folders of images.

    `name` is the format of a clip's name; `crops` says that the images are cropped faces.
    """

    folders: tuple[str, ...]
    name: str
    image_sequence: bool = False
    crops: bool = False


@dataclass(frozen=True)
class Found:
    """An existing form: its folder, and its clips by number."""

    form: Form
    folder: Path
    clips: dict[int, Path]

    def path(self, number: int) -> Path:
        """Return the clip's path, even if it is absent."""
        return self.clips.get(number, self.folder / self.form.name.format(number))


@dataclass(frozen=True)
class Entry:
    """A clip as the lists have it: where it is tested, its class, and the fold that tests it."""

    where: str
    label: str
    fold: int


def find_forms(wanted: Wanted, forms: Sequence[Form]) -> list[Found]:
    """Find the forms that exist below the root, in the same order."""
    there = [
        (form, folders[0])
        for form in forms
        if (folders := named_folders(wanted.root, *form.folders))
    ]
    others = {other for _, other in there}
    return [
        Found(form, folder, _numbered(folder, form.image_sequence, others, wanted.follow_links))
        for form, folder in there
    ]


def _numbered(
    folder: Path, image_sequence: bool, others: Collection[Path], follow_links: bool
) -> dict[int, Path]:
    """Find the videos, or the folders of images, whose name is a number, at any depth."""
    found: dict[int, Path] = {}
    for here, folders, files in walk(folder, follow_links):
        folders[:] = [name for name in folders if here / name not in others]
        names = folders if image_sequence else [file for file in files if is_video(here / file)]
        for clip in names:
            stem = clip if image_sequence else Path(clip).stem
            if stem.isdecimal():
                found.setdefault(int(stem), here / clip)
        if image_sequence:
            folders[:] = [name for name in folders if not name.isdecimal()]
    return found


def rows_in(
    path: Path,
    rows: Iterable[tuple[str, dict[str, str]]],
    clip: str,
    label: Callable[[str, str], str],
) -> Iterator[Row]:
    """Read the rows of a list of clip numbers, with or without the suffix of a video.

    Args:
        path: the list; several have one name, so places name the folder too.
        rows: of `rows_of`, with the columns `clip` and `label`.
        clip: the column with the number.
        label: gives the class of what the label column says, and where.

    Raises:
        UserError: a clip's name is no number; or as `label` says.
    """
    for place, row in rows:
        where = f"{place} in {path.parent.name}"
        stem = row[clip].partition(".")[0]
        if not stem.isdecimal():
            raise UserError(f"{where}: '{row[clip]}' is not a clip: expected a number")
        yield where, int(stem), label(row["label"], where)


def official_folds(
    sets: Mapping[int, tuple[Iterable[Row], Iterable[Row]]],
) -> dict[int, Entry]:
    """Every clip's class, and the fold that tests it.

    Args:
        sets: by fold the rows that train and those that test.

    Raises:
        UserError: a clip stands twice in the lists of a fold, is missing there, is tested by two
            folds or by none, or has two classes.
    """
    first: dict[int, tuple[str, str]] = {}
    tested: dict[int, Entry] = {}
    members: dict[int, dict[int, str]] = {}
    for fold, sides in sets.items():
        places = members[fold] = {}
        for side, rows in enumerate(sides):
            for where, clip, label in rows:
                if clip in places:
                    raise UserError(f"{where}: clip {clip} is in {places[clip]} too")
                places[clip] = where
                before, known = first.setdefault(clip, (where, label))
                if known != label:
                    raise UserError(f"{where}: clip {clip} is {label}, but {known} in {before}")
                if side == 1 and clip in tested:
                    raise UserError(f"{where}: clip {clip} is tested by {tested[clip].where} too")
                if side == 1:
                    tested[clip] = Entry(where, label, fold)
    for clip, (where, _) in first.items():
        for fold, places in members.items():
            if clip not in places:
                raise UserError(f"clip {clip} ({where}) is in neither list of set {fold}")
        if clip not in tested:
            raise UserError(f"clip {clip} ({where}) is in no test list")
    return tested


def listing(
    wanted: Wanted,
    entries: Mapping[int, Entry],
    forms: Sequence[Found],
    lists: Iterable[Path],
    unlisted: str,
) -> Listing:
    """Every clip of the lists, each in the first form that has it.

    The order is that of `forms`; where aligned faces are wanted, images of them come first.

    Args:
        lists: the files that were read.
        unlisted: why a clip that lies there is in no list.
    """
    root = wanted.root
    aligned = wanted.faces == "aligned"
    if aligned:
        forms = sorted(forms, key=lambda one: not (one.form.crops and one.form.image_sequence))
    clips = []
    taken = dict.fromkeys((one.folder for one in forms), 0)
    for number, entry in sorted(entries.items()):
        one = next((one for one in forms if number in one.clips), forms[0])
        taken[one.folder] += 1
        crops = aligned and one.form.image_sequence and one.form.crops
        clips.append(
            ListedClip(
                relative(one.path(number), root),
                entry.label,
                fold=entry.fold,
                where=entry.where,
                images=Images(fps=wanted.fps) if one.form.image_sequence else None,
                faces="aligned" if crops else "detect",
            )
        )
    there = {number for one in forms for number in one.clips}
    left_out = {unlisted: len(there - entries.keys())}
    used = [path for one in forms for path in one.clips.values()]
    return Listing(
        clips,
        unused_files(
            root,
            (path.relative_to(root).as_posix() for path in (*used, *lists)),
            wanted.follow_links,
        ),
        {why: count for why, count in left_out.items() if count},
        _remarks(root, taken),
    )


def _remarks(root: Path, taken: Mapping[Path, int]) -> list[str]:
    """Which forms lie there unread; and from where clips come when one form lacks some."""
    names = {folder.relative_to(root).as_posix(): count for folder, count in taken.items()}
    unread = [f"{name} has the clips in another form: ignored" for name in names if not names[name]]
    several = {name: count for name, count in names.items() if count}
    if len(several) == 1:
        return unread
    words = ", ".join(f"{count} from {name}" for name, count in several.items())
    return [f"the clips come in several forms: {words}", *unread]
