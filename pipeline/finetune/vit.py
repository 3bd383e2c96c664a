"""Fine-tuning a vision transformer: its parts, a learning rate for each block, drop path.

B crops, K tokens (the class token and the patches), D width.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

from torch import Tensor, nn

from arpgnet.models.vit import Block, DropPath, VisionTransformer, embedding_and_map, set_drop_path
from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.common.params import FinetuneParams
from arpgnet.pipeline.networks.pack_file import VIT
from arpgnet.pipeline.networks.packs import ModelSpec


class Front(nn.Module):
    """The blocks that stay as they are: crops [B, 3, S, S] -> a tuple of one, [B, D, K, 1].

    As an image of one column, because the activations of all networks are kept as images.
    """

    def __init__(self, network: VisionTransformer) -> None:
        super().__init__()
        self.network = network

    def forward(self, crops: Tensor) -> tuple[Tensor]:
        tokens = self.network.encode(self.network.patches(crops))
        return (tokens.transpose(1, 2).unsqueeze(-1),)


class Back(nn.Module):
    """The blocks that are trained, by their names in the file.

    Shapes: [B, D, K, 1] -> embedding [B, D] and map [B, D, P, P].
    """

    def __init__(self, whole: VisionTransformer, blocks: int) -> None:
        super().__init__()
        self.pool, self.depth = whole.pool, whole.shape.depth
        kept = list(enumerate(whole.blocks))[blocks:]
        self.blocks = nn.ModuleDict({str(number): block for number, block in kept})
        self.norm = whole.norm

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        tokens = tokens.squeeze(-1).transpose(1, 2)
        for block in self.blocks.values():
            tokens = block(tokens)
        return embedding_and_map(self.norm(tokens), self.pool)


def cut_vit(whole: VisionTransformer, layers: str, name: str) -> tuple[Front, Back]:
    """Return the frozen part and the trained part, which take the network's layers over.

    Raises:
        UserError: it has too few blocks, or `layers` is `head`: nothing is behind the map.
    """
    depth = whole.shape.depth
    most = f"choose last-{depth - 1} or fewer, or all" if depth > 1 else "choose all"
    if layers == "head":
        raise UserError(f"finetune.layers: head: {name} has no weights behind its map: {most}")
    trained = int(layers.removeprefix("last-"))
    if trained >= depth:
        raise UserError(f"finetune.layers: {layers}: {name} has {depth} blocks: {most}")
    back = Back(whole, depth - trained)
    whole.blocks, whole.norm = whole.blocks[: depth - trained], nn.Identity()
    return Front(whole).eval(), back.eval()


def require_fit(settings: FinetuneParams, spec: ModelSpec) -> None:
    """Refuse settings of vision transformers for other networks.

    Raises:
        UserError: one is set, and the pack's network is another.
    """
    if spec.arch is not None and spec.arch.startswith(VIT):
        return
    for name, value, off in (
        ("layer_decay", settings.layer_decay, 1.0),
        ("drop_path", settings.drop_path, 0.0),
    ):
        if value != off:
            raise UserError(
                f"finetune.{name}: {value} is for vision transformers, {spec.path.name} is "
                f"none: set finetune.{name}: {off}, or choose another faces.pack"
            )


def numbered_blocks(backbone: VisionTransformer | Back) -> Iterator[tuple[int, Block]]:
    """Yield the blocks with their numbers in the whole network, from 0."""
    for number, block in backbone.blocks.named_children():
        yield int(number), cast(Block, block)


def drop_paths(backbone: nn.Module, rate: float) -> None:
    """Set the rate of the last block; those before it have less."""
    if isinstance(backbone, VisionTransformer | Back):
        depth = backbone.depth if isinstance(backbone, Back) else backbone.shape.depth
        set_drop_path(numbered_blocks(backbone), depth, rate)


def train_drop_paths(backbone: nn.Module, mode: bool) -> None:
    """Switch what drops branches in training, where the rest of the network is evaluated."""
    for layer in backbone.modules():
        if isinstance(layer, DropPath):
            layer.train(mode)


def layer_rates(backbone: nn.Module, rate: float, decay: float) -> list[tuple[nn.Module, float]]:
    """Return the network's parts with a learning rate each, for `make_optimizer`.

    The last norm learns at `rate`, each block at `decay` times that of the next (BEiT, MAE: Bao et
    al., ICLR 2022, arXiv:2106.08254), patches and tables at that of a block before the first.
    """
    if decay == 1.0 or not isinstance(backbone, VisionTransformer | Back):
        return [(backbone, rate)]
    depth = backbone.depth if isinstance(backbone, Back) else backbone.shape.depth
    parts: list[tuple[nn.Module, float]] = [
        (block, rate * decay ** (depth - number)) for number, block in numbered_blocks(backbone)
    ]
    parts.append((backbone.norm, rate))
    if isinstance(backbone, VisionTransformer):
        tables = {"cls_token": backbone.cls_token, "pos_embed": backbone.pos_embed}
        first = (backbone.patch_embed, backbone.norm_pre, nn.ParameterDict(tables))
        parts += [(part, rate * decay ** (depth + 1)) for part in first]
    return parts
