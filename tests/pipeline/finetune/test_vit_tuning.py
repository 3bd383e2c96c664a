"""Fine-tuning a vision transformer: parts of it, a rate for each block, dropped branches."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from arpgnet.models.vit import VIT_SHAPES, Block, VisionTransformer
from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.common.params import FinetuneParams
from arpgnet.pipeline.finetune.network import Trainee, build_trainee, split, tuned_weights
from arpgnet.pipeline.finetune.vit import drop_paths, layer_rates, require_fit
from arpgnet.pipeline.networks.packs import ModelSpec, load_pack
from helpers import vit_packs

ARCH = "vit_tiny_patch16_224"
SAME = 1e-6


@pytest.fixture
def spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModelSpec:
    """A network of four blocks; the names of the tensors are those of the large ones."""
    small = replace(VIT_SHAPES[ARCH], dim=24, depth=4, heads=3, input_px=64)
    monkeypatch.setitem(VIT_SHAPES, ARCH, small)
    folder = vit_packs.vit_pack(tmp_path / "pack", input_px=64)
    return load_pack(str(folder), ("embedding",)).models["embedding"]


def trainee(spec: ModelSpec) -> Trainee:
    torch.manual_seed(0)
    return build_trainee(spec, "both", 3, train_norms=False)


def outcome(own: Trainee, inputs: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    own.train()
    torch.manual_seed(1)  # of the heads' dropout
    logits = torch.stack(own(inputs))
    logits.square().sum().backward()
    named = own.backbone.named_parameters()
    return logits.detach(), {name: p.grad for name, p in named if p.grad is not None}


def crops(count: int = 3) -> torch.Tensor:
    return torch.rand(count, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 255


def test_the_parts_give_what_the_whole_gives(spec: ModelSpec) -> None:
    whole, parts = trainee(spec), trainee(spec)
    frozen = split(parts, "last-2", "x")
    assert frozen is not None
    with torch.no_grad():
        activations = frozen(crops())
    assert activations.shape == (3, 24, 17, 1)
    expected, gradients = outcome(whole, crops())
    found, own = outcome(parts, activations)
    assert (found - expected).abs().max() <= SAME * expected.abs().max()
    assert {name.rpartition(".")[0].split(".")[0] for name in own} == {"blocks", "norm"}
    assert {int(name.split(".")[1]) for name in own if name.startswith("blocks")} == {2, 3}
    for name, gradient in own.items():
        scale = max(gradients[name].abs().max().item(), 1e-3)
        assert (gradient - gradients[name]).abs().max() <= SAME * scale, name
    assert not any(value.requires_grad for value in frozen.front.parameters())
    assert set(tuned_weights(parts)) == set(own) < set(tuned_weights(whole))


def test_what_cannot_be_cut_or_set_is_refused(spec: ModelSpec) -> None:
    for layers, said in (
        ("head", r"head: x has no weights behind its map: choose last-3 or fewer, or all$"),
        ("last-4", r"last-4: x has 4 blocks: choose last-3 or fewer, or all$"),
    ):
        with pytest.raises(UserError, match=said):
            split(trainee(spec), layers, "x")
    assert split(trainee(spec), "all", "x") is None
    cnn = load_pack("demo", ("embedding",)).models["embedding"]
    for name, value in (("layer_decay", 0.65), ("drop_path", 0.1)):
        settings = FinetuneParams.model_validate({name: value})
        require_fit(settings, spec)
        with pytest.raises(UserError, match=rf"finetune\.{name}: {value} is for vision transf"):
            require_fit(settings, cnn)
    require_fit(FinetuneParams(), cnn)


@pytest.mark.parametrize("layers", ["all", "last-2"])
def test_each_block_learns_slower_than_the_next(spec: ModelSpec, layers: str) -> None:
    own = trainee(spec)
    split(own, layers, "x")
    names = {id(value): name for name, value in own.backbone.named_parameters()}
    rates = {}
    for part, rate in layer_rates(own.backbone, 0.1, 0.5):
        for value in part.parameters():
            rates[names.pop(id(value))] = rate
    assert not names
    assert rates["norm.weight"] == 0.1
    assert rates["blocks.3.attn.qkv.weight"] == 0.1 * 0.5
    assert rates["blocks.2.mlp.fc1.bias"] == 0.1 * 0.25
    if layers == "all":
        assert rates["blocks.0.norm1.bias"] == pytest.approx(0.1 * 0.5**4)
        for name in ("cls_token", "pos_embed", "patch_embed.proj.weight"):
            assert rates[name] == pytest.approx(0.1 * 0.5**5)
    assert layer_rates(own.backbone, 0.1, 1.0) == [(own.backbone, 0.1)]


@pytest.mark.parametrize("layers", ["all", "last-2"])
def test_branches_are_dropped_in_training_only(spec: ModelSpec, layers: str) -> None:
    own = trainee(spec)
    frozen = split(own, layers, "x")
    inputs = crops() if frozen is None else frozen(crops())
    own.eval()
    plain = torch.stack(own(inputs))
    drop_paths(own.backbone, 0.3)
    blocks: list[nn.Module] = list(own.backbone.blocks.children())  # type: ignore[union-attr]
    rates = [block.drop_path.rate for block in blocks if isinstance(block, Block)]
    assert rates == pytest.approx([0.0, 0.1, 0.2, 0.3][-len(rates) :])
    assert torch.equal(torch.stack(own(inputs)), plain)
    own.train()
    for head in own.heads.values():
        head.eval()  # of other noise than that of the branches
    different = {torch.stack(own(inputs)).sum().item() for _ in range(8)}
    assert len(different) > 1
    if isinstance(own.backbone, VisionTransformer):
        assert own.backbone.norm.training is False
