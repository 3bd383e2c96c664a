"""Several processes that train one network together: who writes, and how they agree."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
from lightning_fabric import Fabric

from pipeline.errors import UserError

Kept = TypeVar("Kept")


class Processes:
    """The processes of a launched Fabric; usually one."""

    def __init__(self, fabric: Fabric) -> None:
        self.fabric = fabric

    @property
    def first(self) -> bool:
        """Whether this process is the one that writes and speaks."""
        return bool(self.fabric.is_global_zero)

    def agreed(self, look: Callable[[], Kept | None]) -> Kept | None:
        """What `look` finds in the store, if the first process finds it too.

        Raises:
            UserError: another process lacks what the first one has: no common store.
        """
        if self.fabric.world_size == 1:
            return look()
        # what the first one is still writing must be there, and stay until all have looked
        self.fabric.barrier()
        found = look()
        has = torch.tensor([found is not None], dtype=torch.int64, device=self.fabric.device)
        everyone = self.fabric.all_gather(has)
        assert isinstance(everyone, torch.Tensor)
        present = everyone.flatten().bool()
        if not present[0]:
            return None
        if not present.all():
            raise UserError(
                "the processes do not share a store: set ARPGNET_STORE to a folder that every "
                "node sees"
            )
        return found
