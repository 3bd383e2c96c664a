"""The networks have InsightFace's shapes, names and numbers of weights."""

import pytest
import torch

from arpgnet.models.iresnet import DEPTHS, iresnet
from arpgnet.models.mobilefacenet import FoamliuMobileFaceNet, MobileFaceNet

# weights without the running statistics, as InsightFace's own classes have them
MILLIONS = {"iresnet18": 24.03, "iresnet34": 34.14, "iresnet50": 43.59, "iresnet100": 65.16}


@pytest.mark.parametrize("name", DEPTHS)
def test_numbers_of_weights_are_insightface_s(name: str) -> None:
    with torch.device("meta"):
        network = iresnet(name)
    assert sum(p.numel() for p in network.parameters()) / 1e6 == pytest.approx(
        MILLIONS[name], abs=0.005
    )


def test_names_are_those_of_insightface_s_checkpoints() -> None:
    with torch.device("meta"):
        names = set(iresnet("iresnet50").state_dict())
    block = {f"layer3.13.{part}" for part in ("bn1.weight", "conv1.weight", "prelu.weight")}
    ends = {"conv1.weight", "bn1.running_var", "prelu.weight", "bn2.bias", "fc.weight", "fc.bias"}
    assert block | ends | {"features.running_mean", "layer2.0.downsample.1.weight"} <= names
    assert "layer2.1.downsample.0.weight" not in names
    with torch.device("meta"):
        names = set(MobileFaceNet().state_dict())
    assert {
        "layers.0.layers.2.weight", "layers.3.layers.3.layers.1.layers.0.weight",
        "conv_sep.layers.0.weight", "features.layers.0.layers.1.bias", "features.layers.3.weight",
    } <= names  # fmt: skip


@pytest.mark.parametrize(("network", "dim"), [(MobileFaceNet, 512), (FoamliuMobileFaceNet, 128)])
def test_mobilefacenets_give_an_embedding_and_a_map(
    network: type[torch.nn.Module], dim: int
) -> None:
    torch.manual_seed(0)
    embedding, feature_map = network()(torch.zeros(2, 3, 112, 112))
    assert embedding.shape == (2, dim)
    assert feature_map.shape == (2, 512, 7, 7)


def test_iresnet_gives_what_it_flattens() -> None:
    torch.manual_seed(0)
    network = iresnet("iresnet18", dim=64).eval()
    with torch.inference_mode():
        embedding, feature_map = network(torch.randn(2, 3, 112, 112))
        expected = network.features(network.fc(feature_map.flatten(1)))
    assert feature_map.shape == (2, 512, 7, 7)
    assert torch.equal(embedding, expected)


def test_the_last_scale_stays_one() -> None:
    network = iresnet("iresnet18", dim=8)
    assert not network.features.weight.requires_grad
    assert (network.features.weight == 1).all()
