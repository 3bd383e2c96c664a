"""How unlike the training clips the faces of one video are."""

from __future__ import annotations

import numpy as np
import torch

from arpgnet.pipeline.training.domain import MANY, Domain


class Likeness:
    """Collects the distances of the views that the network is shown.

    Args:
        domain: of the run; None where it has no description: nothing is said then.
    """

    def __init__(self, domain: Domain | None) -> None:
        self._domain = domain
        self._distances: list[float] = []

    def add(self, distances: np.ndarray) -> None:
        """Add the distances of some views; NaN where no face is shown."""
        self._distances += distances[~np.isnan(distances)].tolist()

    @property
    def percentile(self) -> float | None:
        """The part of the training domain's held-out clips that is nearer than the median view."""
        if self._domain is None or not self._distances:
            return None
        middle = torch.tensor([float(np.median(self._distances))], dtype=torch.float64)
        return float(self._domain.percentile(middle))

    @property
    def beyond(self) -> float | None:
        """The part of the views that is beyond the limit."""
        if self._domain is None:
            return None
        return self._domain.fraction_beyond(torch.tensor(self._distances, dtype=torch.float64))

    @property
    def warning(self) -> str:
        """What the reader must know; empty where nothing is known against the video."""
        beyond, percentile = self.beyond, self.percentile
        if beyond is None or percentile is None or beyond <= MANY:
            return ""
        return (
            f"The faces in this video are unlike those that the network was trained on: further "
            f"away than {percentile:.0%} of held-out clips of the training data. Its predictions "
            "may mean nothing, however confident they are."
        )
