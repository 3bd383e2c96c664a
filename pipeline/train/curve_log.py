"""Writes the learning curves of a run, by dvclive as tab-separated files without a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Self

from dvclive.live import Live
from scmrepo.exceptions import SCMError

from arpgnet.pipeline.common import user
from arpgnet.pipeline.tables.curves import in_order


class _Live(Live):
    """`Live` that starts without a commit, and for a user without a name or a home folder.

    3.49.1 raises there, although with `save_dvc_exp=False` it needs none of them.
    """

    def _init_dvc(self) -> None:
        try:
            if user.missing_for_dvc() is None:
                super()._init_dvc()
        except SCMError as error:
            if "Empty git repo" not in str(error):
                raise


class RunLog:
    """Writes a run's epochs one at a time, so that a running training can be watched.

    An epoch that a resumed run reports again is written and counted once; `count` are so far.

    Args:
        folder: of the curves; None writes nothing (another process does).
        advance: is called after each epoch, with `restored` where an earlier run has trained it.
    """

    def __init__(self, folder: Path | None, advance: Callable[..., None]) -> None:
        # DVC tracks the folder as an output of the stage: no experiment and no dvc.yaml of its own
        self._live = folder and _Live(str(folder), save_dvc_exp=False, dvcyaml=None)
        self._advance = advance
        self.count = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the log after the last epoch."""
        if self._live:
            self._live.end()
            self._live = None

    def add(self, number: int, values: Mapping[str, float], restored: bool = False) -> None:
        """Add an epoch's losses and scores; one without validation, of a refit, is only counted."""
        if number < self.count:
            return
        self.count += 1
        if self._live and "val_loss" in values:
            for name in in_order(values):
                self._live.log_metric(name, round(values[name], 6))
            self._live.next_step()
        self._advance(restored=restored)
