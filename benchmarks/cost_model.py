"""What a stage costs: seconds and bytes, fitted on a few runs and asked about larger ones.

A run of a stage that computes everything takes

    start + (clips x a + frames x b + passed x v + looks x w) / speedup      in the workers
          +  clips x c + frames x d / workers         to look clips up, and write the output's files

where `passed` are the frames of the videos, which decode goes through to get at those it keeps,
and `looks` the frames in which align looks for a face; it does not in one that follows the last
look by less than `align.max_interpolation_s`. Small outputs are written by one process, whatever
the workers. Then DVC hashes the output and copies it into its cache.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import nnls

from arpgnet.pipeline.runner.assembly import FEW, MANY, TARGET_BYTES

# bytes a second of a shared file system or bucket, of all machines together: an assumption
STORAGE = 1e9
# the longest video, in lengths of the mean one: an assumption
LONGEST = 5
# what a part of the cost depends on
START, CLIPS, FRAMES, PASSED, LOOKS = range(5)
PLAIN = (START, CLIPS, FRAMES)


@dataclass(frozen=True)
class Amount:
    """What there is to do.

    Attributes:
        clips: how many.
        frames: that are kept of all of them.
        passed: that all videos have.
        looks: frames in which a face is looked for.
    """

    clips: int
    frames: int
    passed: int
    looks: int

    @classmethod
    def of(
        cls, clips: int, frames: int, passed: int, *, fps: float, max_interpolation_s: float
    ) -> Amount:
        """Of frames that are spread evenly over the videos."""
        return cls(clips, frames, passed, min(frames, round(passed / fps / max_interpolation_s)))

    @property
    def row(self) -> np.ndarray:
        return np.array([1.0, self.clips, self.frames, self.passed, self.looks])

    def longest(self) -> Amount:
        """Its longest clip."""
        frames, passed, looks = (
            LONGEST * amount // self.clips for amount in (self.frames, self.passed, self.looks)
        )
        return Amount(1, frames, passed, looks)


@dataclass(frozen=True)
class Linear:
    """What a start, a clip, a kept and a passed frame and a look cost: float64 [5]."""

    each: np.ndarray

    def of(self, amount: Amount) -> float:
        return float(self.each @ amount.row)

    def without_start(self, amount: Amount) -> float:
        return float(self.each[CLIPS:] @ amount.row[CLIPS:])

    @classmethod
    def fit(cls, runs: Sequence[tuple[Amount, float]], columns: Sequence[int] = PLAIN) -> Linear:
        """Least squares of the relative errors, with no cost below 0."""
        each = np.zeros(5)
        rows = np.stack([amount.row[list(columns)] for amount, _ in runs])
        each[list(columns)] = relative_least_squares(rows, [cost for _, cost in runs])
        return cls(each)


def relative_least_squares(rows: np.ndarray, costs: Sequence[float]) -> np.ndarray:
    """The factors >= 0 of each column of `rows`, [runs, columns]: [columns]."""
    wanted = np.maximum(np.array(costs), 1e-3)
    factors: np.ndarray = nnls(rows / wanted[:, None], np.ones(len(wanted)))[0]
    return factors


@dataclass(frozen=True)
class Run:
    """What was measured of one stage.

    Attributes:
        cold, warm: wall seconds with an empty store, and with one that has all results.
        read, written: bytes, by all processes of the cold run.
        again: bytes that those of the warm run read and wrote.
        kept: bytes of its entries in the store.
        out: bytes of its out.
    """

    amount: Amount
    workers: int
    cold: float
    warm: float
    read: int
    written: int
    again: int
    kept: int
    out: int


def quickest(runs: Iterable[Run]) -> list[Run]:
    """One of each kind: whatever else a machine does makes a run slower, and none faster."""
    found: dict[tuple[Amount, int], Run] = {}
    for run in runs:
        other = found.setdefault((run.amount, run.workers), run)
        found[run.amount, run.workers] = replace(
            run, cold=min(run.cold, other.cold), warm=min(run.warm, other.warm)
        )
    return list(found.values())


@dataclass(frozen=True)
class Cost:
    """Of one stage.

    Attributes:
        write: seconds of one process that looks up and writes, and of its start.
        compute: seconds in one worker beyond that.
        start: seconds until two workers are ready.
        speedup: how much faster two are than one.
        read, written, again, kept, out: bytes; see `Run`.
    """

    write: Linear
    compute: Linear
    start: float
    speedup: float
    read: Linear
    written: Linear
    again: Linear
    kept: Linear
    out: Linear

    @classmethod
    def fit(cls, runs: Sequence[Run], columns: Sequence[int]) -> Cost:
        """
        Args:
            runs: of one stage, with one worker and with two.
            columns: that computing depends on.
        """
        one = [(run.amount, run.cold - run.warm) for run in runs if run.workers == 1]
        two = [(run.amount, run.cold - run.warm) for run in runs if run.workers == 2]
        compute = Linear.fit(one, columns)
        rows = np.array([[1.0, compute.without_start(amount)] for amount, _ in two])
        start, part = relative_least_squares(rows, [seconds for _, seconds in two])
        return cls(
            Linear.fit([(run.amount, run.warm) for run in runs]),
            compute,
            float(start),
            float(1 / part),
            Linear.fit([(run.amount, run.read) for run in runs]),
            Linear.fit([(run.amount, run.written) for run in runs]),
            Linear.fit([(run.amount, run.again) for run in runs]),
            Linear.fit([(run.amount, run.kept) for run in runs]),
            Linear.fit([(run.amount, run.out) for run in runs]),
        )

    def seconds(self, amount: Amount, workers: int) -> float:
        """Of a run on one machine, by one worker or two."""
        if workers == 1:
            return self.write.of(amount) + self.compute.of(amount)
        return sum(self.parts(amount, 1, longest=False).values())

    def parts(
        self, amount: Amount, nodes: int, *, longest: bool = True, dvc: float = 0.0
    ) -> dict[str, float]:
        """Seconds on several machines of two workers, by what takes them.

        Clips and files are shared by the machines, but one clip is computed by one core; computing
        is over when the slowest of these is: all of it, the longest clip, the common storage; and
        writing when all of it or the storage is.

        Args:
            dvc: its seconds for a byte of the output.
        """
        moved = self.read.without_start(amount) + self.written.without_start(amount)
        again, out = self.again.without_start(amount), self.out.of(amount)
        # DVC cannot read and write faster than the storage gives
        in_cache = out * max(dvc, 2 / STORAGE) if dvc else 0.0
        files = out / TARGET_BYTES
        writers = 1 if files < FEW else 2 if files < MANY else 2 * nodes
        computing = {
            "compute": self.compute.without_start(amount) / self.speedup / nodes,
            "the longest clip": self.compute.without_start(amount.longest()) if longest else 0.0,
            "storage": (moved - again) / STORAGE,
        }
        writing = {
            "writing": self.write.each[FRAMES] * amount.frames / writers,
            "storage": again / STORAGE,
        }
        parts = {
            "start": float(self.write.each[START]) + self.start,
            "looking up": float(self.write.each[CLIPS] * amount.clips),
            "DVC": in_cache,
        }
        for at_once in (computing, writing):
            slowest = max(at_once, key=lambda name: at_once[name])
            parts[slowest] = parts.get(slowest, 0.0) + float(at_once[slowest])
        return parts
