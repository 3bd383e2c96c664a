"""Several processes that train one network together: who writes, and how they agree."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import distributed

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.common.params import TrainParams
from arpgnet.pipeline.training.device import alone, make_fabric, total

if TYPE_CHECKING:
    from lightning_fabric import Fabric

Cached = TypeVar("Cached")


class Processes:
    """The processes of a launched Fabric; usually one.

    Where it is certain to be one, on the CPU, Fabric is only made for the first network that is
    trained: it takes 2 s to import.
    """

    def __init__(self, params: TrainParams) -> None:
        self._params = params
        self.alone = alone(params)
        self.device = torch.device("cpu") if self.alone else self.fabric.device
        self.rank = 0 if self.alone else self.fabric.global_rank
        self.world = 1 if self.alone else self.fabric.world_size

    @cached_property
    def fabric(self) -> Fabric:
        return make_fabric(self._params)

    @property
    def first(self) -> bool:
        """Whether this process is the one that writes and speaks."""
        return self.rank == 0

    def total(self, own: torch.Tensor) -> torch.Tensor:
        """Return the sum of every process's tensor of the same shape, in place."""
        return own if self.world == 1 else total(self.fabric, own)

    def agreed(self, look: Callable[[], Cached | None]) -> Cached | None:
        """Return what `look` finds in the store, if the first process finds it too.

        Raises:
            UserError: another process lacks what the first one has: no common store.
        """
        if self.world == 1:
            return look()
        # what the first one is still writing must be there, and stay until all have looked
        self.fabric.barrier()
        found = look()
        has = torch.zeros(self.world)
        has[self.rank] = found is not None
        present = self.total(has)
        if not present[0]:
            return None
        if not present.all():
            raise UserError(
                "the processes do not share a store: set ARPGNET_STORE to a folder that every "
                "node sees"
            )
        return found

    def part(self) -> None:
        """Leave the group: the common work is done.

        A process that ends with the connections open is sometimes aborted by their threads, and
        torchrun then kills the others, the one that is still writing too.
        """
        if distributed.is_initialized():
            self.fabric.barrier()
            distributed.destroy_process_group()
