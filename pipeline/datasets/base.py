"""What a data set adapter owes the pipeline: a root folder and a list of labelled clips."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, cast

from pipeline.config import DatasetParams
from pipeline.datasets.frame_names import FrameNames


@dataclass(frozen=True)
class ListedClip:
    """A clip as a data set names it; nothing of the file has been looked at yet.

    `path` is POSIX and relative to the data set's root, `label` a class name, `split` one
    of train, val, test, `start_s` and `end_s` seconds. `where` says where the data set
    names the clip ("line 7 of labels.csv"), for error messages. Where `frames` are labelled
    the clip has no label of its own.
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

    @property
    def classes(self) -> frozenset[str]:
        """The classes that the clip shows: its label, or those of its frames."""
        if self.frames is not None:
            return self.frames.classes()
        return frozenset() if self.label is None else frozenset({self.label})


@dataclass(frozen=True)
class Listing:
    """All clips of a data set, and the files of its folder that it could not use."""

    clips: list[ListedClip]
    unused: list[str]


class Adapter(Protocol):
    """A module of this package; `dataset.name` chooses it."""

    def dataset_root(self, params: DatasetParams) -> Path:
        """The absolute folder that clip paths are relative to; cheap, and creates nothing."""
        ...

    def list_clips(self, params: DatasetParams, workers: int = 1) -> Listing:
        """Name every clip; `workers` processes may be used to bring the data into being.

        Raises:
            UserError: the root or the manifest is absent, or says something impossible.
        """
        ...


# modules, not classes: imported only when chosen, so that a stage starts in milliseconds
ADAPTERS = {
    "csv": "pipeline.datasets.csv_file",
    "demo": "pipeline.datasets.demo",
    "folder": "pipeline.datasets.folder",
}

SPLIT_NAMES = {
    "train": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
}


def adapter(name: str) -> Adapter:
    """The adapter registered under a name of `dataset.name`."""
    return cast(Adapter, importlib.import_module(ADAPTERS[name]))


def dataset_root(params: DatasetParams) -> Path:
    """The absolute folder that the manifest's clip paths are relative to."""
    return adapter(params.name).dataset_root(params)
