"""A first look at an appearance network that is new, before anything is computed with it.

Apart from `listed`, which stages need that run no such network.
"""

from __future__ import annotations

from pathlib import Path

from arpgnet.pipeline.networks.listed import NETWORKS, lists
from arpgnet.pipeline.networks.packs import Pack


def try_unlisted(pack: Pack, folder: Path = NETWORKS) -> None:
    """Load the appearance network if it is not the listed one.

    A listed one has been loaded before: an unchanged pack costs nothing here.

    Raises:
        UserError: it does not load: its file does not hold the weights of the pack's `arch`, or
            the pack describes it wrongly.
    """
    if lists(folder, pack, "embedding"):
        return
    # imported here: onnx takes 0.3 s and torch 2 s
    from arpgnet.pipeline.networks.appearance import layout

    spec = pack.models["embedding"]
    layout(spec)
    if spec.arch is not None:
        from arpgnet.pipeline.networks.backbones import load_pack_backbone

        load_pack_backbone(spec)
