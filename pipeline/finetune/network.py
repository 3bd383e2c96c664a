"""A pack's embedding network made trainable, with linear heads that predict the classes.

A graph is imported node by node (`pipeline.networks.torch_graph`), so that whatever family it is
of, what is trained is exactly what the appearance stage runs, and the trained weights go back into
the same graph by the names of its initializers; a checkpoint is loaded into its network in
`models`. Batch norms keep their statistics: where an exporter folded one there are none, and the
others' would be learned from few stills.

B crops, C map channels, D embedding width, K classes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, fx, nn

from arpgnet.models.vit import VisionTransformer
from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.finetune.cut import cut
from arpgnet.pipeline.finetune.vit import cut_vit, train_drop_paths
from arpgnet.pipeline.networks.backbones import load_pack_backbone
from arpgnet.pipeline.networks.packs import ModelSpec
from arpgnet.pipeline.networks.preprocessing import Normalization, normalization
from arpgnet.pipeline.networks.sessions import OnnxGraph, find_map_tensor, open_graph
from arpgnet.pipeline.networks.torch_graph import NotImportable, import_graph
from arpgnet.pipeline.networks.tuned import unshared


class Head(nn.Module):
    """Numbers of any scale [B, n] -> logits [B, K].

    The scale is the mean over the batches since `start_epoch`: a moving average would take 30
    batches to forget that it began at 1, and a small set has fewer in an epoch.
    """

    def __init__(self, numbers: int, classes: int) -> None:
        super().__init__()
        self.scale = nn.BatchNorm1d(numbers, affine=False, momentum=None)
        self.dropout = nn.Dropout(0.2)
        self.linear = nn.Linear(numbers, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(self.dropout(self.scale(x)))


class Feeding(nn.Module):
    """Crops [B, 3, S, S] RGB float in 0..255 -> what the network takes."""

    def __init__(self, fed: Normalization) -> None:
        super().__init__()
        self.mirror_channels = fed.color == "bgr"
        self.mean: Tensor
        self.std: Tensor
        for name in ("mean", "std"):
            values = torch.tensor(getattr(fed, name), dtype=torch.float32).reshape(1, 3, 1, 1)
            self.register_buffer(name, values, persistent=False)

    def forward(self, crops: Tensor) -> Tensor:
        if self.mirror_channels:
            crops = crops.flip(1)
        return (crops - self.mean) / self.std


class Trainee(nn.Module):
    """See the module's docstring.

    Shapes: crops `[B, 3, S, S]` RGB float in 0..255 -> logits `[B, K]` of each head; after
    `split`, what the frozen part gives of them.

    Args:
        backbone: gives an embedding and a map; its trainable weights are parameters.
        feeding: what is done to crops first.
        heads: `embedding`, `map` (its mean over the cells), or `both`.
        widths: D and C.
        classes: K.
    """

    def __init__(
        self,
        backbone: nn.Module,
        feeding: nn.Module,
        heads: str,
        widths: tuple[int, int],
        classes: int,
    ) -> None:
        super().__init__()
        self.backbone, self.feeding = backbone, feeding
        chosen = ("embedding", "map") if heads == "both" else (heads,)
        sizes = dict(zip(("embedding", "map"), widths, strict=True))
        self.heads = nn.ModuleDict({name: Head(sizes[name], classes) for name in chosen})

    def start_epoch(self) -> None:
        """Forget the scales of the heads' inputs; the network under them moves on."""
        for head in self.heads.values():
            if isinstance(head, Head):
                head.scale.reset_running_stats()

    def train(self, mode: bool = True) -> Trainee:
        """Switch all but the backbone, whose batch norms keep their statistics."""
        super().train(mode)
        self.backbone.eval()
        train_drop_paths(self.backbone, mode)
        return self

    def forward(self, crops: Tensor) -> list[Tensor]:
        embedding, feature_map = self.backbone(self.feeding(crops))
        seen = {"embedding": embedding.flatten(1), "map": feature_map.mean((2, 3))}
        return [head(seen[name].float()) for name, head in self.heads.items()]


def build_trainee(spec: ModelSpec, heads: str, classes: int, *, train_norms: bool) -> Trainee:
    """Return the pack's network with fresh heads.

    Raises:
        UserError: the graph holds a node that cannot be trained here.
    """
    graph = None if spec.arch else open_graph(spec)
    if graph is None:
        backbone = load_pack_backbone(spec)
        for layer in backbone.modules():
            if isinstance(layer, nn.modules.batchnorm._BatchNorm) and not train_norms:
                layer.requires_grad_(False)
    else:
        backbone = _imported(spec, graph)
        _make_trainable(backbone, train_norms=train_norms)
    with torch.inference_mode():
        embedding, feature_map = backbone(torch.zeros(1, 3, spec.input_px, spec.input_px))
    widths = embedding.numel(), feature_map.shape[1]
    return Trainee(backbone, Feeding(normalization(spec, graph)), heads, widths, classes)


@dataclass(frozen=True)
class Frozen:
    """The part of a network that is not trained: `front(feeding(crops))` is a tuple of one."""

    feeding: nn.Module
    front: nn.Module

    def __call__(self, crops: Tensor) -> Tensor:
        """Return [B, C, H, W] (of a transformer [B, D, K, 1]) of crops [B, 3, S, S] in 0..255."""
        (activations,) = self.front(self.feeding(crops))
        return activations


def split(trainee: Trainee, layers: str, name: str) -> Frozen | None:
    """Take the part that is not trained out of the trainee and return it; None for `all`.

    Args:
        name: what a message calls the network.

    Raises:
        UserError: the network cannot be cut there.
    """
    if layers == "all":
        return None
    front: nn.Module
    if isinstance(trainee.backbone, VisionTransformer):
        front, trainee.backbone = cut_vit(trainee.backbone, layers, name)
    else:
        front, trainee.backbone = cut(trainee.backbone, layers, name)
    frozen = Frozen(trainee.feeding, front.requires_grad_(False))
    trainee.feeding = nn.Identity()
    return frozen


def tuned_weights(trainee: Trainee) -> dict[str, np.ndarray]:
    """Return the backbone's trained weights by the names that its file has for them."""
    backbone = trainee.backbone
    names = backbone.meta.get("initializers", {}) if isinstance(backbone, fx.GraphModule) else {}
    return {
        names.get(place, place): value.detach().float().cpu().numpy()
        for place, value in backbone.named_parameters()
        if value.requires_grad
    }


def _imported(spec: ModelSpec, graph: OnnxGraph) -> fx.GraphModule:
    model = unshared(graph.model)
    tensor = spec.map_tensor or find_map_tensor(model)[0]
    try:
        return import_graph(model, [model.graph.output[0].name, tensor])
    except NotImportable as reason:
        raise UserError(
            f"finetune: {spec.path.name} holds {reason}, which cannot be trained here; such a "
            "network stays as it is: set finetune.enabled: false, or choose another faces.pack"
        ) from None


def _make_trainable(backbone: fx.GraphModule, *, train_norms: bool) -> None:
    """Turn buffers of weights into parameters, except means, variances and what they norm."""
    frozen: set[str] = set()
    for node in backbone.graph.nodes:
        if node.target is torch.nn.functional.batch_norm:
            mean, variance, scale, shift = (str(part.target) for part in node.args[1:5])
            frozen |= {mean, variance} if train_norms else {mean, variance, scale, shift}
    initializers = backbone.meta["initializers"]
    for place, value in list(backbone.named_buffers()):
        if place in initializers and place not in frozen:
            delattr(backbone, place)
            backbone.register_parameter(place, nn.Parameter(value.clone()))
