"""Weights of graphs and of checkpoints land where they belong, and nothing else is loaded."""

import hashlib
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.finetune.network import build_trainee, tuned_weights
from arpgnet.pipeline.networks import packs
from arpgnet.pipeline.networks.appearance import AppearanceNetwork, Centers, centers, layout
from arpgnet.pipeline.networks.backbones import ARCHITECTURES, load_backbone
from arpgnet.pipeline.networks.image_network import TORCH_KINDS
from arpgnet.pipeline.networks.packs import ModelSpec
from arpgnet.pipeline.networks.sessions import find_map_tensor, make_session
from helpers import backbone_graphs, graphs
from helpers.graph_weights import load_exported

PARITY = 1e-4
CROPS = np.random.default_rng(0).uniform(-1, 1, (2, 3, 112, 112)).astype(np.float32)


def run_graph(model: onnx.ModelProto, crops: np.ndarray = CROPS) -> list[np.ndarray]:
    tensor, _ = find_map_tensor(model)
    session = make_session(model.SerializeToString(), extra_outputs=[tensor])
    return session.run(None, {session.get_inputs()[0].name: crops})


def run_network(network: nn.Module) -> list[np.ndarray]:
    with torch.inference_mode():
        return [tensor.numpy() for tensor in network(torch.from_numpy(CROPS))]


@pytest.fixture(scope="module")
def small() -> nn.Module:
    return backbone_graphs.random_network(ARCHITECTURES["mobilefacenet"]())


@pytest.mark.parametrize(
    "arch", ["iresnet18", pytest.param("iresnet50", marks=pytest.mark.slow), "mobilefacenet"]
)
def test_a_graph_s_weights_give_what_the_graph_gives(arch: str, tmp_path: Path) -> None:
    network = backbone_graphs.random_network(ARCHITECTURES[arch]())
    model = backbone_graphs.exported(network)
    if arch != "mobilefacenet":  # its matrix has no shift, and is exported as a MatMul
        assert {node.op_type for node in model.graph.node} <= TORCH_KINDS
    loaded = load_exported(arch, backbone_graphs.save(model, tmp_path / "net.onnx"))
    for ours, theirs in zip(run_network(loaded), run_graph(model), strict=True):
        assert 0.1 < np.abs(theirs).max() < 100
        assert np.abs(ours - theirs).max() <= PARITY


def test_batch_norms_that_were_not_folded_come_back_as_they_were(
    small: nn.Module, tmp_path: Path
) -> None:
    model = backbone_graphs.exported(small, folded=False)
    kinds = [node.op_type for node in model.graph.node]
    assert kinds.count("BatchNormalization") > 40
    loaded = load_exported("mobilefacenet", backbone_graphs.save(model, tmp_path / "net.onnx"))
    for name, tensor in small.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor), name


def test_another_topology_is_refused_by_the_layer_where_it_differs(
    small: nn.Module, tmp_path: Path
) -> None:
    path = backbone_graphs.save(backbone_graphs.exported(small), tmp_path / "net.onnx")
    with pytest.raises(UserError, match=r"net\.onnx as iresnet18: conv1\.weight has the shape"):
        load_exported("iresnet18", path)
    path = backbone_graphs.save(graphs.arcface_mobilefacenet(), tmp_path / "short.onnx")
    with pytest.raises(UserError, match=r"short\.onnx as mobilefacenet: "):
        load_exported("mobilefacenet", path)


@pytest.mark.parametrize("suffix", ["pt", "pth", "safetensors"])
def test_checkpoints_load_by_name(small: nn.Module, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"backbone.{suffix}"
    state = small.state_dict()
    if suffix == "safetensors":
        save_file(state, path)
    else:
        # as saved from data-parallel training, in half precision, with other things beside it
        halves = {f"module.{k}": v.half() if v.is_floating_point() else v for k, v in state.items()}
        torch.save({"epoch": 3, "state_dict_backbone": halves}, path)
    loaded = load_backbone("mobilefacenet", path)
    assert all(value.dtype != torch.float16 for value in loaded.state_dict().values())
    closeness = PARITY if suffix == "safetensors" else 0.1
    for ours, theirs in zip(run_network(loaded), run_network(small), strict=True):
        assert np.abs(ours - theirs).max() <= closeness


class Trap:
    def __reduce__(self) -> tuple:
        return (Path.touch, (Path("sprung"),))


def test_a_checkpoint_that_holds_a_program_is_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, data in (
        ("a.pt", pickle.dumps(Trap(), protocol=2)),
        ("b.pth", b"nonsense"),
        ("c.pt", b""),
    ):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(UserError, match=f"{name} is not a readable checkpoint of tensors"):
            load_backbone("iresnet18", tmp_path / name)
    (tmp_path / "d.safetensors").write_bytes(b"\0" * 16)
    with pytest.raises(UserError, match=r"d\.safetensors is not a readable checkpoint"):
        load_backbone("iresnet18", tmp_path / "d.safetensors")
    assert not (tmp_path / "sprung").exists()


def test_a_checkpoint_of_something_else_is_refused(tmp_path: Path) -> None:
    torch.save({"conv1.weight": torch.zeros(3)}, tmp_path / "net.pt")
    with pytest.raises(UserError, match=r"net\.pt does not hold the weights of iresnet18"):
        load_backbone("iresnet18", tmp_path / "net.pt")
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(UserError, match=r"list\.pt holds no state dict"):
        load_backbone("iresnet18", tmp_path / "list.pt")
    with pytest.raises(UserError, match="arch: resnet: unknown network; known: iresnet18"):
        load_backbone("resnet", tmp_path / "net.pt")


def checkpoint_pack(
    folder: Path, network: nn.Module, arch: str | None, embedding: str = ""
) -> Path:
    graphs.small_pack(folder)
    path = folder / "net.safetensors"
    save_file(network.state_dict(), path)
    text = (folder / "pack.yaml").read_text()
    old = hashlib.sha256((folder / "embedding.onnx").read_bytes()).hexdigest()
    text = text.replace("file: embedding.onnx", "file: net.safetensors")
    text = text.replace(
        f"sha256: {old}", f"sha256: {hashlib.sha256(path.read_bytes()).hexdigest()}"
    )
    text = text.rstrip("\n") + (f"\n    arch: {arch}\n" if arch else "\n") + embedding
    (folder / "pack.yaml").write_text(text)
    return folder


def checkpoint_spec(folder: Path) -> ModelSpec:
    return packs.load_pack(str(folder), roles=("embedding",)).models["embedding"]


def test_a_pack_s_checkpoint_gives_what_onnx_runtime_gives(
    small: nn.Module, tmp_path: Path, own_store: Path
) -> None:
    folder = checkpoint_pack(tmp_path / "mine", small, "mobilefacenet")
    spec = checkpoint_spec(folder)
    assert spec.path == folder / "net.safetensors"
    assert spec.sha256 == hashlib.sha256(spec.path.read_bytes()).hexdigest()
    assert layout(spec).embedding_dim == 512
    assert layout(spec).map_shape == (512, 7, 7)
    assert centers(spec) == Centers(0.0, 16.0)
    crops = np.random.default_rng(1).integers(0, 256, (3, 112, 112, 3), np.uint8)
    found = AppearanceNetwork(spec, batch=2).describe(crops)
    model_input = (crops.transpose(0, 3, 1, 2).astype(np.float32) - 127.5) / 127.5
    expected = run_graph(backbone_graphs.exported(small), model_input)
    halved = AppearanceNetwork(spec, batch=2, precision="bf16").describe(crops)
    for ours, theirs, rough in zip(found, expected, halved, strict=True):
        assert 0.1 < np.abs(theirs).max() < 100
        assert np.abs(ours - theirs).max() <= PARITY
        assert PARITY < np.abs(rough - theirs).max() <= 0.05 * np.abs(theirs).max()
    # nothing was exported
    assert not list(own_store.rglob("*.onnx"))


def test_tuned_weights_of_a_checkpoint_are_what_is_run(small: nn.Module, tmp_path: Path) -> None:
    """What finetune trains is what appearance runs, by the names of the checkpoint."""
    spec = checkpoint_spec(checkpoint_pack(tmp_path / "mine", small, "mobilefacenet"))
    trainee = build_trainee(spec, "both", 2, train_norms=False)
    before = {name: value.clone() for name, value in trainee.backbone.state_dict().items()}
    trainee.train()
    torch.manual_seed(0)
    optimizer = torch.optim.SGD(trainee.backbone.parameters(), lr=1e-3)
    crops = np.random.default_rng(1).integers(0, 256, (4, 112, 112, 3), np.uint8)
    pixels = torch.from_numpy(crops.transpose(0, 3, 1, 2).astype(np.float32))
    torch.stack(trainee(pixels)).square().sum().backward()
    optimizer.step()
    after = trainee.backbone.state_dict()
    moved = {name for name, value in after.items() if not torch.equal(value, before[name])}
    weights = tuned_weights(trainee)
    assert moved
    assert moved <= set(weights) <= set(before)
    norms = {f"{n}." for n, m in small.named_modules() if isinstance(m, nn.BatchNorm2d)}
    assert not any(name.startswith(tuple(norms)) for name in weights)
    with_norms = tuned_weights(build_trainee(spec, "map", 2, train_norms=True))
    assert any(name.startswith(tuple(norms)) for name in with_norms)
    assert not any("running" in name for name in with_norms)

    path = tmp_path / "backbone.safetensors"
    save_file({name: torch.from_numpy(array) for name, array in weights.items()}, path)
    embeddings, maps = AppearanceNetwork(replace(spec, weights=path), batch=4).describe(crops)
    original, _ = AppearanceNetwork(spec, batch=4).describe(crops)
    with torch.inference_mode():
        expected, expected_maps = trainee.backbone((pixels - 127.5) / 127.5)
    assert np.abs(embeddings - expected.numpy()).max() <= PARITY
    assert np.abs(maps - expected_maps.numpy()).max() <= PARITY
    assert np.abs(embeddings - original).max() > 10 * PARITY
    save_file({"elsewhere": torch.zeros(3)}, path)
    with pytest.raises(UserError, match="do not fit mobilefacenet at elsewhere"):
        AppearanceNetwork(replace(spec, weights=path), batch=4)


def test_a_checkpoint_needs_the_name_of_its_network(small: nn.Module, tmp_path: Path) -> None:
    folder = checkpoint_pack(tmp_path / "mine", small, None)
    with pytest.raises(UserError, match=r"needs kind: arcface and the name of its arch"):
        packs.load_pack(str(folder))
    graphs.small_pack(tmp_path / "other")
    path = tmp_path / "other" / "pack.yaml"
    path.write_text(path.read_text() + "    arch: iresnet18\n")
    with pytest.raises(UserError, match="is a graph and has no arch"):
        packs.load_pack(str(tmp_path / "other"))
    folder = checkpoint_pack(tmp_path / "third", small, "iresnet18", "    map_tensor: bn2\n")
    with pytest.raises(UserError, match="is a checkpoint and has no map_tensor"):
        packs.load_pack(str(folder))
    folder = checkpoint_pack(tmp_path / "fourth", small, "resnet")
    with pytest.raises(UserError, match="arch: resnet: unknown network; known: iresnet18"):
        layout(checkpoint_spec(folder))
