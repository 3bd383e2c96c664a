"""Which of several processes reads and holds the features of which clips.

Shape letters: M clips, R frames of all of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Share:
    """One process's view of who holds what.

    Attributes:
        rank: this process's number.
        owner: int64 [M], the process that holds a clip's features.
        place: int64 [R], where in this process's features a row lies; -1: another's.
        length: rows of this process's features.
    """

    rank: int
    owner: np.ndarray
    place: np.ndarray
    length: int

    @classmethod
    def deal(cls, frames: np.ndarray, rank: int = 0, world: int = 1) -> Share:
        """Deal out clips by their number of frames (int64 [M]), there and back: 0, 1, 1, 0, ...

        Every process gets about as many frames, and of every fold about as many clips, which
        neighbours in the manifest would not give it.
        """
        turn = np.arange(len(frames)) % (2 * world)
        owner = np.empty(len(frames), np.int64)
        owner[np.argsort(-frames, kind="stable")] = np.minimum(turn, 2 * world - 1 - turn)
        mine = np.repeat(owner == rank, frames)
        place = np.where(mine, np.cumsum(mine) - 1, -1)
        return cls(rank, owner, place, int(mine.sum()))

    def mine(self, clips: np.ndarray | int) -> np.ndarray:
        """Which of these clips are held here: bool."""
        here: np.ndarray = self.owner[clips] == self.rank
        return here

    def held(self, rows: np.ndarray) -> np.ndarray:
        """Where the rows lie in the features: int64; -1 for padding (-1) and another's."""
        found: np.ndarray = np.where(rows >= 0, self.place[rows], -1)
        return found
