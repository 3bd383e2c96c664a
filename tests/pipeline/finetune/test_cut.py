"""A network in two parts gives what the whole gives, and the same gradients of what is trained."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.common.params_file import parse_params
from arpgnet.pipeline.finetune.network import Trainee, build_trainee, split, tuned_weights
from arpgnet.pipeline.networks.backbones import ARCHITECTURES
from arpgnet.pipeline.networks.packs import ModelSpec, load_pack
from arpgnet.pipeline.store import file_sha256
from helpers import backbone_graphs, graphs

SAME = 1e-6
# where `last-3` begins
SHAPES = {
    "iresnet18": (256, 14, 14),
    "mobilefacenet": (256, 14, 14),
    "mobilefacenet_foamliu": (128, 14, 14),
}


def write_pack(folder: Path, embedding: Any, **fields: Any) -> ModelSpec:
    models = {
        "detector": ("scrfd", graphs.scrfd()),
        "landmark": ("2d106", graphs.landmark_2d106()),
        "embedding": ("arcface", embedding),
    }
    graphs.write_pack(folder, models, detector__input_px=128, **fields)
    return load_pack(str(folder), ("embedding",)).models["embedding"]


def checkpoint(arch: str, folder: Path) -> ModelSpec:
    """The network as a PyTorch checkpoint."""
    network = backbone_graphs.random_network(ARCHITECTURES[arch]())
    spec = write_pack(folder, graphs.arcface_iresnet())
    path = folder / "net.safetensors"
    save_file(network.state_dict(), path)
    return replace(spec, path=path, sha256=file_sha256(path), arch=arch)


def graph(arch: str, folder: Path) -> ModelSpec:
    """The network as an ONNX graph."""
    network = backbone_graphs.random_network(ARCHITECTURES[arch]())
    return write_pack(folder, backbone_graphs.exported(network))


def outcome(trainee: Trainee, inputs: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Return the logits, and the gradients by the names of the weights in their file."""
    trainee.train()
    torch.manual_seed(1)  # of the dropout
    logits = torch.stack(trainee(inputs))
    logits.square().sum().backward()
    names = getattr(trainee.backbone, "meta", {}).get("initializers", {})
    gradients = {
        names.get(place, place): value.grad.clone()
        for place, value in trainee.backbone.named_parameters()
        if value.grad is not None
    }
    heads = {name: value.grad for name, value in trainee.heads.named_parameters()}
    return logits.detach(), gradients | heads


def whole_and_parts(spec: ModelSpec, layers: str) -> tuple[Trainee, Any, Trainee]:
    made = []
    for _ in range(2):
        torch.manual_seed(0)
        made.append(build_trainee(spec, "both", 3, train_norms=True))
    return made[0], split(made[1], layers, spec.path.name), made[1]


@pytest.mark.parametrize(
    ("arch", "kind", "layers"),
    [
        ("iresnet18", checkpoint, "last-3"),
        *(
            pytest.param("iresnet18", kind, layers, marks=pytest.mark.slow)
            for kind, layers in ((checkpoint, "head"), (graph, "last-3"), (graph, "head"))
        ),
        *(
            (arch, kind, layers)
            for arch in ("mobilefacenet", "mobilefacenet_foamliu")
            for kind in (checkpoint, graph)
            for layers in ("last-3", "head")
        ),
    ],
)
def test_the_parts_give_what_the_whole_gives(
    arch: str, kind: Any, layers: str, tmp_path: Path
) -> None:
    spec = kind(arch, tmp_path / "pack")
    whole, frozen, trainee = whole_and_parts(spec, layers)
    crops = torch.rand(2, 3, 112, 112, generator=torch.Generator().manual_seed(0)) * 255
    with torch.no_grad():
        activations = frozen(crops)
    assert tuple(activations.shape[1:]) == ((512, 7, 7) if layers == "head" else SHAPES[arch])
    expected, gradients = outcome(whole, crops)
    found, own = outcome(trainee, activations)
    assert (found - expected).abs().max() <= SAME * expected.abs().max()
    assert own.keys() < gradients.keys()
    for name, gradient in own.items():
        scale = max(gradients[name].abs().max().item(), 1e-3)
        assert (gradient - gradients[name]).abs().max() <= SAME * scale, name
    # what is not trained has no gradient, and what is trained goes back under its own name
    assert not any(value.requires_grad for value in frozen.front.parameters())
    assert set(tuned_weights(trainee)) < set(tuned_weights(whole))
    assert set(tuned_weights(trainee)) == own.keys() - set(trainee.heads.state_dict())


def test_the_demo_s_network_is_cut_between_its_blocks() -> None:
    spec = load_pack("demo", ("embedding",)).models["embedding"]
    crops = torch.rand(2, 3, 112, 112) * 255
    shapes = []
    for layers in ("last-1", "last-2", "last-3", "last-4", "last-5", "head"):
        whole, frozen, trainee = whole_and_parts(spec, layers)
        shapes.append(tuple(frozen(crops).shape[1:]))
        torch.testing.assert_close(trainee.eval()(frozen(crops)), whole.eval()(crops))
    assert shapes == [
        *((96, 7, 7), (64, 14, 14), (64, 14, 14), (32, 28, 28), (32, 28, 28)),
        (96, 7, 7),
    ]


def test_a_network_without_branches_is_cut_before_its_layers(tmp_path: Path) -> None:
    torch.manual_seed(0)
    plain = nn.Sequential(
        *(nn.Conv2d(3, 8, 3, 4, 1), nn.ReLU(), nn.Conv2d(8, 8, 3, 2, 1), nn.ReLU()),
        *(nn.Conv2d(8, 8, 3, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 49, 16)),
    )
    spec = write_pack(tmp_path / "pack", backbone_graphs.exported(_Pair(plain)))
    crops = torch.rand(2, 3, 112, 112) * 255
    for layers, shape in (("last-1", (8, 14, 14)), ("last-2", (8, 28, 28)), ("head", (8, 7, 7))):
        whole, frozen, trainee = whole_and_parts(spec, layers)
        assert tuple(frozen(crops).shape[1:]) == shape
        torch.testing.assert_close(trainee.eval()(frozen(crops)), whole.eval()(crops))
    with pytest.raises(
        UserError, match=r"last-3: embedding\.onnx has 3 blocks: choose last-2 or f"
    ):
        whole_and_parts(spec, "last-3")


class _Pair(nn.Module):
    """`backbone_graphs.exported` takes the first output."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor]:
        return (self.network(x),)


def test_a_network_that_cannot_be_cut_there_is_refused_in_one_line(tmp_path: Path) -> None:
    short = write_pack(tmp_path / "short", graphs.arcface_iresnet())
    said = r"^finetune\.layers: last-3: embedding\.onnx has 1 block: choose another finetune"
    with pytest.raises(UserError, match=said):
        whole_and_parts(short, "last-3")
    demo = load_pack("demo", ("embedding",)).models["embedding"]
    said = r"last-40: arc_demo\.onnx has 6 blocks: choose last-5 or fewer, head or all$"
    with pytest.raises(UserError, match=said):
        whole_and_parts(demo, "last-40")
    # an embedding that also sees what is before the map
    trainee = build_trainee(demo, "both", 2, train_norms=False)
    trainee.backbone = beside_the_map()
    with pytest.raises(UserError, match="head: x makes its embedding of more than its map: choose"):
        split(trainee, "head", "x")


def beside_the_map() -> nn.Module:
    class Beside(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 1)

        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            x = self.first(x)
            feature_map = self.second(x)
            return (feature_map + x).mean((2, 3)), feature_map

    return Beside()


@pytest.mark.parametrize("layers", ["last", "last-0", "last-3.5", "last-100", "first-3", "", 3])
def test_other_layers_are_refused(layers: Any) -> None:
    with pytest.raises(UserError, match=r"finetune\.layers"):
        parse_params({"finetune": {"layers": layers}})


def test_settings_that_learn_nothing_are_refused() -> None:
    with pytest.raises(UserError, match=r"finetune\.layers: head trains what follows the map"):
        parse_params({"finetune": {"layers": "head", "heads": "map"}})
    for views in (0, -1, 65, 1.5):
        with pytest.raises(UserError, match=r"finetune\.views"):
            parse_params({"finetune": {"views": views}})
