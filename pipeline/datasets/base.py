"""The interface of a data set adapter: a description of the set, and a list of labeled clips.

An adapter is a module of `pipeline.datasets.adapters` with two names:

    ABOUT: About
    def list_clips(wanted: Wanted) -> Listing

It emits class names of the common vocabulary (`anger`, `contempt`, `disgust`, `fear`,
`happiness`, `neutral`, `sadness`, `surprise`, and a set's own further ones), whatever its set
calls them, so that two sets can be joined. It drops nothing in silence: what it leaves out is
counted in `Listing.left_out`.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol, cast, get_args

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.common.params import DatasetName, DatasetParams
from arpgnet.pipeline.datasets.clip_targets import ClipTargets
from arpgnet.pipeline.datasets.frame_names import FrameNames

FaceSource = Literal["detect", "aligned", "landmarks"]
Metric = Literal["war", "uar", "macro_f1", "abaw2", "f1", "ccc"]

IMAGE_FPS = DatasetParams().image_fps

# `dataset.name` -> module, imported only when chosen, so that a stage starts in milliseconds
ADAPTERS = {name: "csv_file" if name == "csv" else name for name in get_args(DatasetName)}


@dataclass(frozen=True)
class Images:
    """How to interpret the images of a clip that is a folder.

    `fps` is their rate. `first` is the number in the name of the video's first frame where
    numbers count the video's frames and may have gaps (1 for Aff-Wild2's 00001.jpg); None:
    the images follow one another in the order of their names. `landmarks` is the folder,
    relative to the root, of files `<stem>_landmarks.txt` with 68 points, where `faces` is
    `landmarks`.
    """

    fps: float = IMAGE_FPS
    first: int | None = None
    landmarks: str | None = None


@dataclass(frozen=True)
class ListedClip:
    """A clip as a data set lists it; its file has not been read yet.

    `path` is POSIX and relative to the data set's root: a video, or a folder of images where
    `images` is set. `label` is a class name, `split` one of train, val, test, `start_s` and
    `end_s` seconds. `where` says where the data set names the clip ("line 7 of labels.csv"),
    for error messages. Where `frames` are labeled the clip has no label of its own.

    `faces` is `detect` if faces must be detected, `aligned` if every image is a cropped face,
    `landmarks` if the set's own landmarks locate the face.
    `person` is which of two people a label is about, by place in the image. `corpus` is the
    data set's name; whoever lists the clips of several sets fills it in. `traits` are what the set
    says of the subject, as pairs of a name (gender, age) and a value. `targets` are the values
    that the clip or its frames are annotated with, whether it has a class or not.
    """

    path: str
    label: str | None
    subject: str | None = None
    split: str | None = None
    fold: int | None = None
    group: str | None = None
    start_s: float | None = None
    end_s: float | None = None
    where: str = ""
    frames: FrameNames | None = None
    images: Images | None = None
    faces: FaceSource = "detect"
    person: Literal["left", "right"] | None = None
    corpus: str = ""
    traits: tuple[tuple[str, str], ...] = ()
    targets: tuple[ClipTargets, ...] = ()

    @property
    def classes(self) -> frozenset[str]:
        """The clip's classes: its label, or those of its frames."""
        if self.frames is not None:
            return self.frames.classes()
        return frozenset() if self.label is None else frozenset({self.label})

    def names_of_people(self) -> dict[str, str]:
        """Return the subject, the group and the traits that are known, by column."""
        traits = {f"trait_{trait}": value for trait, value in self.traits}
        known = {"subject": self.subject, "group": self.group, **traits}
        return {column: name for column, name in known.items() if name is not None}


@dataclass(frozen=True)
class Listing:
    """All clips of a data set; the files of its folder that are not used; how many clips were left
    out, by reason; what a reader must know; and the score that is usual for what was listed, where
    it is not the data set's."""

    clips: list[ListedClip]
    unused: list[str] = field(default_factory=list)
    left_out: dict[str, int] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)
    metric: Metric | None = None


@dataclass(frozen=True)
class Wanted:
    """A request to an adapter: the set's folder, which of the adapter's `variants`, whether to use
    the set's own aligned faces (or landmarks) if it has them, (csv) the file, and whether links
    that lead out of the folder are followed."""

    root: Path
    variant: str = ""
    faces: Literal["detect", "aligned"] = "detect"
    manifest: str | None = None
    fps: float = IMAGE_FPS
    follow_links: bool = False


@dataclass(frozen=True)
class Recipe:
    """The official protocol: `dataset.protocol`, `dataset.folds`, `dataset.group_by`, in words."""

    protocol: Literal["holdout", "kfold", "loso", "official"]
    words: str
    group_by: Literal["subject", "group", "clip"] = "subject"
    folds: int = 5


@dataclass(frozen=True)
class Expected:
    """Counts from the set's documentation; None or absent if it has none."""

    clips: int | None = None
    subjects: int | None = None
    splits: Mapping[str, int] = field(default_factory=dict)
    classes: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class About:
    """A description of a data set.

    Attributes:
        title: its name in full.
        classes: names of the common vocabulary, in the set's own order of labels; empty for a set
            of action units.
        marks: patterns (`Path.glob`) below the root, any of which tells the set from others.
        layout: what lies where, in a line; said when the root is wrong.
        recipe: its official protocol.
        metric: the score that its publications report.
        license, obtain: in a few words, and where to ask for it.
        source: of layout, class order and counts: a document, or public code that reads the set.
        expected: of the default variant.
        variants: values of `dataset.variant`, the first is the default; empty: there are none.
        only_in_others: names of `classes` that the default variant does not have.
        published: whether others report figures on it.
    """

    title: str
    classes: tuple[str, ...]
    marks: tuple[str, ...]
    layout: str
    recipe: Recipe
    metric: Metric
    license: str
    obtain: str
    source: str
    expected: Expected = field(default_factory=Expected)
    variants: tuple[str, ...] = ()
    only_in_others: tuple[str, ...] = ()
    published: bool = True

    def expected_of(self, variant: str) -> Expected:
        """Return the documented counts of a variant; only those of the default are stored."""
        return self.expected if variant in ("", *self.variants[:1]) else Expected()


class WrongRootError(UserError):
    """A folder that is not the data set; `looked_for` says what was expected."""

    def __init__(self, looked_for: str) -> None:
        super().__init__(f"no {looked_for}")
        self.looked_for = looked_for


class Adapter(Protocol):
    """A module of `pipeline.datasets.adapters`; `dataset.name` chooses it."""

    ABOUT: About

    def list_clips(self, wanted: Wanted) -> Listing:
        """List every clip.

        Raises:
            WrongRootError: the folder does not hold the set.
            UserError: the set's own files say something impossible; the line says which file.
        """
        ...


def adapter(name: str) -> Adapter:
    """Return the adapter registered under a name of `dataset.name`."""
    return cast(Adapter, importlib.import_module(adapter_module(name)))


def adapter_module(name: str) -> str:
    """Return the dotted name of its module, e.g. for `code_version`."""
    return f"arpgnet.pipeline.datasets.adapters.{ADAPTERS[name]}"
