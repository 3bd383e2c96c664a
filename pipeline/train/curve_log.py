"""Writes the learning curves of a run, by dvclive as tab-separated files without a time."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from dvclive.live import Live
from scmrepo.exceptions import SCMError

from pipeline.train.curves import CURVES


class _Live(Live):
    """`Live` that starts in a git repository without a commit: 3.49.1 raises there."""

    def _init_dvc(self) -> None:
        try:
            super()._init_dvc()
        except SCMError as error:
            if "Empty git repo" not in str(error):
                raise


class CurveLog:
    """Writes an epoch at a time, so that a running training can be watched.

    Args:
        folder: of the curves; None writes nothing (another process does).
    """

    def __init__(self, folder: Path | None) -> None:
        # DVC tracks the folder as an out of the stage: no experiment and no dvc.yaml of its own
        self._live = folder and _Live(str(folder), save_dvc_exp=False, dvcyaml=None)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live:
            self._live.end()

    def add(self, values: Mapping[str, float]) -> None:
        """One epoch's `CURVES`."""
        if not self._live:
            return
        for name in CURVES:
            self._live.log_metric(name, round(values[name], 6))
        self._live.next_step()
