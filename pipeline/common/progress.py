"""How far a long job is: a bar on a terminal, a plain line now and then elsewhere.

Everything goes to standard error. A job of less than a second says nothing.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

# below this a job is over before anybody has read the line
_QUIET_S = 1.0
# a log file needs no more than this
_PLAIN_EVERY_S = 10.0

# called with the number of finished items, and of all
Watch = Callable[[int, int], None]


class Tracker:
    """Counts finished items (`done` of a `unit`); `track` makes it."""

    def __init__(
        self, total: int, label: str, unit: str, quiet: bool, watch: Watch | None = None
    ) -> None:
        self._quiet = quiet
        self._watch = watch
        self._total = total
        self._label = label
        self.unit = unit
        self.done = 0
        self._restored = 0
        self._began = time.monotonic()
        self._said = self._began
        self._bar: Any = None
        self._terminal = sys.stderr.isatty()

    def advance(self, count: int = 1, *, restored: bool = False) -> None:
        """Count `count` more items as finished.

        Args:
            restored: by an earlier run: they say nothing of how long the others take.
        """
        self.done += count
        self._restored += count * restored
        if self._watch is not None:
            self._watch(self.done, self._total)
        if self._quiet:
            return
        now = time.monotonic()
        if now - self._began < _QUIET_S:
            return
        if self._terminal:
            self._draw()
        elif now - self._said >= _PLAIN_EVERY_S:
            self._said = now
            self._say()

    def note(self, text: str) -> None:
        """Say something without tearing the bar."""
        if self._quiet:
            return
        if self._bar is not None:
            self._bar.console.print(text, markup=False, highlight=False)
        else:
            print(text, file=sys.stderr, flush=True)

    def close(self) -> None:
        """Take the bar away; where there was none, a long job ends with its last line."""
        if self._bar is not None:
            self._bar.stop()
        elif not self._terminal and self._said > self._began:
            self._say()

    def _draw(self) -> None:
        if self._bar is None:
            self._bar = _make_bar()
            self._task = self._bar.add_task(self._label, total=self._total, unit=self.unit, pace="")
            self._bar.start()
        self._bar.update(self._task, completed=self.done, pace=self._pace())

    def _say(self) -> None:
        line = f"{self._label}: {self.done}/{self._total} {self.unit}, {self._pace()}"
        print(line, file=sys.stderr, flush=True)

    def _pace(self) -> str:
        """Say how fast this run is, and what it needs for the rest."""
        rate = (self.done - self._restored) / (time.monotonic() - self._began)
        left = self._total - self.done
        return f"{rate:.1f}/s" + (f", {_clock(left / rate)} left" if rate and left > 0 else "")


@contextmanager
def track(
    total: int, label: str, unit: str, *, quiet: bool = False, watch: Watch | None = None
) -> Iterator[Tracker]:
    """Show progress: `with track(len(clips), "decode", "clips") as progress: progress.advance()`.

    Args:
        unit: what is counted, in the plural.
        quiet: say nothing: another process does.
        watch: is called at every advance.
    """
    tracker = Tracker(total, label, unit, quiet, watch)
    try:
        yield tracker
    finally:
        tracker.close()


def _make_bar() -> Any:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[unit]}", markup=False),
        TextColumn("{task.fields[pace]}"),
        console=Console(stderr=True),
        transient=True,
    )


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
