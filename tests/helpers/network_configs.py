"""Settings of networks: the defaults of params.yaml, and what a test changes of them."""

from dataclasses import replace
from typing import Any

from arpgnet.models.arpgnet import ARPGNetConfig
from arpgnet.pipeline.common.params import Params
from arpgnet.pipeline.training.network import network_config

FRAMES = 256  # of the learned position table


def arpgnet_config(
    relation: dict[str, Any] | None = None, fusion: dict[str, Any] | None = None, **top: Any
) -> ARPGNetConfig:
    """Build the settings of a network of 2 classes.

    Args:
        relation, fusion: what differs in these parts.
        top: what differs in `ARPGNetConfig` itself.
    """
    plain = network_config(Params(), {"embedding_dim": 4, "map_shape": [3, 7, 7]}, 2, FRAMES)
    return replace(
        plain,
        relation=replace(plain.relation, **(relation or {})),
        fusion=replace(plain.fusion, **(fusion or {})),
        **top,
    )
