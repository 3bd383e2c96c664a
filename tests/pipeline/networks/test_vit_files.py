"""Vision transformers of a pack: every published layout of names, and nothing else."""

from __future__ import annotations

import argparse
import pathlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from arpgnet.models.vit import VIT_SHAPES, VisionTransformer
from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.networks.backbones import load_backbone, output_shapes
from arpgnet.pipeline.networks.packs import load_pack
from arpgnet.pipeline.networks.preprocessing import normalization
from helpers import vit_packs
from helpers.timm_models import timm

MAE, CLIP = "vit_base_patch16_224", "vit_base_patch16_clip_quickgelu_224"
State = dict[str, Tensor]


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the networks small: the names of the tensors are those of the large ones."""
    for name, shape in VIT_SHAPES.items():
        monkeypatch.setitem(VIT_SHAPES, name, replace(shape, dim=24, depth=2, heads=3))


def loaded(arch: str, path: Path, **options: Any) -> State:
    network = load_backbone(arch, path, **options)
    assert not network.training
    return network.state_dict()


def same(found: State, expected: State) -> bool:
    return found.keys() == expected.keys() and all(
        torch.equal(found[name], value) for name, value in expected.items()
    )


def full_mae(state: State) -> State:
    """MAE's own file: mask token and decoder beside the encoder."""
    more = {
        "mask_token": torch.zeros(1, 1, 16),
        "decoder_pos_embed": torch.zeros(1, 197, 16),
        "decoder_blocks.0.norm1.weight": torch.zeros(16),
        "decoder_pred.bias": torch.zeros(768),
    }
    return {**state, **more}


LAYOUTS = {
    "timm, with a classifier": lambda state: {**state, "head.weight": torch.zeros(7, 24)},
    "MAE-Face": lambda state: {
        "model": full_mae(state),
        "optimizer": {"state": {0: {"step": 3.0}}, "param_groups": [{"lr": 1e-4}]},
        "epoch": 199,
        "args": argparse.Namespace(batch_size=64, data_path="faces", blr=1.5e-4, resume=None),
    },
    "MAE-DFER and others that DeepSpeed wrote": lambda state: {"module": state, "dp_world_size": 4},
    "data-parallel": lambda state: {"state_dict": {f"module.{k}": v for k, v in state.items()}},
    "half precision": lambda state: {"model": {k: v.half() for k, v in state.items()}},
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_published_layouts_of_mae_load(layout: str, tmp_path: Path) -> None:
    state = vit_packs.random_vit(MAE).state_dict()
    if layout == "half precision":
        state = {name: value.half().float() for name, value in state.items()}
    torch.save(LAYOUTS[layout](state), tmp_path / "net.pth")
    assert same(loaded(MAE, tmp_path / "net.pth"), state)


def test_safetensors_load(tmp_path: Path) -> None:
    state = vit_packs.random_vit("vit_small_patch16_224").state_dict()
    save_file(full_mae(state), tmp_path / "net.safetensors")
    assert same(loaded("vit_small_patch16_224", tmp_path / "net.safetensors"), state)


@pytest.mark.parametrize("inner", [None, "state_dict"])
def test_the_image_tower_of_clip_and_farl_loads(inner: str | None, tmp_path: Path) -> None:
    state = vit_packs.random_vit(CLIP).state_dict()
    published = vit_packs.clip_names(state) | {
        "visual.proj": torch.zeros(24, 16),
        "positional_embedding": torch.zeros(77, 16),
        "transformer.resblocks.0.ln_1.weight": torch.zeros(16),
        "token_embedding.weight": torch.zeros(5, 16),
        "logit_scale": torch.zeros(()),
    }
    torch.save({inner: published} if inner else published, tmp_path / "net.pth")
    assert same(loaded(CLIP, tmp_path / "net.pth"), state)


def test_the_embedding_is_the_mean_of_mae_s_patches_and_clip_s_token(tmp_path: Path) -> None:
    crops = torch.randn(1, 3, 224, 224)
    for arch, pool in ((MAE, "mean"), (CLIP, "token")):
        network = vit_packs.random_vit(arch)
        torch.save(network.state_dict(), tmp_path / "net.pth")
        by_default, asked = load_backbone(arch, tmp_path / "net.pth"), {}
        for each in ("mean", "token"):
            asked[each] = load_backbone(arch, tmp_path / "net.pth", pool=each)(crops)[0]
        assert torch.equal(by_default(crops)[0], asked[pool])
        assert not torch.allclose(asked["mean"], asked["token"], atol=1e-3)


class Other:
    def __reduce__(self) -> tuple:
        return (Path.touch, (Path("sprung"),))


def _saved(value: Any, path: Path) -> Path:
    torch.save(value, path)
    return path


def test_other_files_are_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    state = vit_packs.random_vit(MAE).state_dict()
    clip = vit_packs.random_vit(CLIP).state_dict()
    namespace = argparse.Namespace(output=pathlib.PosixPath("out"))
    program = torch.jit.script(nn.Linear(2, 2))
    program.save(tmp_path / "program.pt")
    whole = _saved(state, Path("whole.pth")).read_bytes()
    Path("half.pth").write_bytes(whole[: len(whole) // 2])
    tubes = {**state, "patch_embed.proj.weight": torch.zeros(24, 3, 2, 16, 16)}
    tuned = {k.replace("norm.", "fc_norm.") if k.startswith("norm.") else k: v
             for k, v in state.items()}  # fmt: skip
    del state["blocks.1.norm1.bias"]
    cases = {
        "half.pth": r"half\.pth is not a readable checkpoint of tensors: PytorchStream",
        "program.pt": r"it is a TorchScript program; save the state_dict\(\) of it",
        "path.pth": r"it holds pathlib\.\w+ too, and nothing else than tensors is read",
        "other.pth": r"it holds [\w.]+ too, and nothing else than tensors is read",
        "part.pth": r"does not hold the weights of vit_base_patch16_224: "
        r"missing: blocks\.1\.norm1\.bias$",
        "clip.pth": r"missing: patch_embed\.proj\.bias; unexpected: norm_pre\.\w+, norm_pre\.\w+$",
        "tubes.pth": r"of another shape: patch_embed\.proj\.weight "
        r"\[24, 3, 2, 16, 16\], not \[24, 3, 16, 16\]$",
        "cnn.pth": r"missing: cls_token, pos_embed, patch_embed\.proj\.weight and \d+ more; "
        r"unexpected: conv1\.weight$",
        "tuned.pth": r"tuned\.pth was tuned with global pooling: its last norm \(fc_norm\)",
        "text.pth": r"text\.pth holds no state dict",
    }
    _saved({"model": state, "args": namespace}, Path("path.pth"))
    _saved({"model": state, "more": Other()}, Path("other.pth"))
    _saved(state, Path("part.pth"))
    _saved(vit_packs.clip_names(clip), Path("clip.pth"))
    _saved(tubes, Path("tubes.pth"))
    _saved({"conv1.weight": torch.zeros(3)}, Path("cnn.pth"))
    _saved(tuned, Path("tuned.pth"))
    _saved({"cls_token": "text"}, Path("text.pth"))
    for name, message in cases.items():
        with pytest.raises(UserError, match=message) as caught:
            load_backbone(MAE, Path(name))
        assert "\n" not in str(caught.value)
    assert not Path("sprung").exists()


def test_another_input_size_needs_leave_to_move_the_positions(tmp_path: Path) -> None:
    network = vit_packs.random_vit(MAE)
    path = _saved({"model": network.state_dict()}, tmp_path / "net.pth")
    message = (
        r"net\.pth has the positions of 14 x 14 patches \(224 pixels\), input_px is 112: set "
        r"input_px: 224, or interpolate_positions: true, in pack\.yaml"
    )
    with pytest.raises(UserError, match=message):
        load_backbone(MAE, path, input_px=112)
    moved = load_backbone(MAE, path, input_px=112, interpolate_positions=True)
    assert moved.state_dict()["pos_embed"].shape == (1, 50, 24)
    embedding, feature_map = moved(torch.zeros(1, 3, 112, 112))
    assert feature_map.shape == (1, 24, 7, 7)
    assert output_shapes(MAE, 112) == (embedding.shape[1], tuple(feature_map.shape[1:]))
    state = network.state_dict() | {"pos_embed": torch.zeros(1, 31, 24)}
    _saved(state, path)
    with pytest.raises(UserError, match=r"another shape: pos_embed \[1, 31, 24\], not \[1, 197"):
        load_backbone(MAE, path, interpolate_positions=True)


@pytest.mark.slow
@pytest.mark.parametrize("arch", [MAE, CLIP])
def test_timm_s_files_give_what_timm_gives(arch: str, tmp_path: Path) -> None:
    other = _timm(arch)
    save_file(other.state_dict(), tmp_path / "net.safetensors")
    _compare(load_backbone(arch, tmp_path / "net.safetensors"), other, 224)


@pytest.mark.slow
def test_timm_reads_clip_s_names_as_we_do(tmp_path: Path) -> None:
    from timm.models.vision_transformer import checkpoint_filter_fn

    published = vit_packs.clip_names(vit_packs.random_vit(CLIP).state_dict())
    other = _timm(CLIP)
    result = other.load_state_dict(checkpoint_filter_fn(dict(published), other), strict=False)
    assert not result.unexpected_keys
    assert all(name.startswith("head") for name in result.missing_keys)
    _compare(load_backbone(CLIP, _saved(published, tmp_path / "net.pth")), other, 224)


@pytest.mark.slow
@pytest.mark.parametrize("side", [112, 160, 320])
def test_positions_are_moved_as_timm_moves_them(side: int, tmp_path: Path) -> None:
    state = _timm(MAE).state_dict()
    other = _timm(MAE, img_size=side)
    from timm.models.vision_transformer import checkpoint_filter_fn

    other.load_state_dict(checkpoint_filter_fn(dict(state), other))
    path = _saved(state, tmp_path / "net.pth")
    ours = load_backbone(MAE, path, input_px=side, interpolate_positions=True)
    _compare(ours, other, side)


@pytest.mark.slow
@pytest.mark.parametrize("arch", ["vit_tiny_patch16_224", MAE, CLIP])
def test_networks_of_full_size_give_what_timm_gives(
    arch: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()  # of `small`
    torch.manual_seed(0)
    other = timm().create_model(arch).eval()
    _compare(load_backbone(arch, _saved(other.state_dict(), tmp_path / "net.pth")), other, 224)


def _timm(arch: str, **options: Any) -> nn.Module:
    torch.manual_seed(0)
    sizes = {"embed_dim": 24, "depth": 2, "num_heads": 3}
    return timm().create_model(arch, num_classes=5, **sizes, **options).eval()


def _compare(ours: nn.Module, other: Any, side: int) -> None:
    assert isinstance(ours, VisionTransformer)
    crops = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        embedding, feature_map = ours(crops)
        tokens = other.forward_features(crops)
    patches = tokens[:, 1:]
    expected = patches.mean(1) if ours.pool == "mean" else tokens[:, 0]
    assert tokens.abs().max() > 0.5
    torch.testing.assert_close(embedding, expected, rtol=0, atol=1e-5)
    torch.testing.assert_close(feature_map.flatten(2).mT, patches, rtol=0, atol=1e-5)


# architecture -> what its entry says, and why it is refused
ENTRIES: dict[str, tuple[dict[str, Any], str]] = {
    "vit_tiny_patch16_224": ({"input_px": 200}, "input_px: 200 is no multiple of 16"),
    "iresnet18": ({"input_px": 224}, "arch: iresnet18 takes 112 pixels only"),
    "mobilefacenet": ({"pool": "mean"}, "need an arch that starts with vit_"),
}


def test_an_entry_that_fits_no_network_is_refused(tmp_path: Path) -> None:
    spec = load_pack(str(vit_packs.vit_pack(tmp_path / "mine"))).models["embedding"]
    assert (spec.input_px, spec.pool, spec.interpolate_positions) == (224, None, False)
    assert spec.identity["pool"] is None
    assert normalization(spec).mean == pytest.approx((123.675, 116.28, 103.53))
    for number, (arch, (more, message)) in enumerate(ENTRIES.items()):
        folder = vit_packs.vit_pack(tmp_path / f"pack{number}", **more)
        path = folder / "pack.yaml"
        path.write_text(path.read_text().replace("vit_tiny_patch16_224", arch))
        with pytest.raises(UserError, match=message):
            load_pack(str(folder))
