"""Vision transformers: shapes, pooling, stochastic depth."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from arpgnet.models.vit import VIT_SHAPES, DropPath, Pool, VisionTransformer

SMALL = replace(VIT_SHAPES["vit_tiny_patch16_224"], dim=24, depth=2, input_px=64)


@pytest.mark.parametrize("pool", ["mean", "token"])
def test_the_map_holds_the_patches_row_by_row(pool: Pool) -> None:
    torch.manual_seed(0)
    network = VisionTransformer(SMALL, pool=pool).eval()
    crops = torch.randn(2, 3, 64, 64)
    embedding, feature_map = network(crops)
    tokens = network.encode(network.patches(crops))
    assert feature_map.shape == (2, 24, 4, 4)
    torch.testing.assert_close(feature_map[:, :, 1, 2], tokens[:, 1 + 4 + 2])
    expected = tokens[:, 1:].mean(dim=1) if pool == "mean" else tokens[:, 0]
    torch.testing.assert_close(embedding, expected)


def test_some_of_the_patches_are_encoded_without_the_others() -> None:
    network = VisionTransformer(SMALL).eval()
    patches = network.patches(torch.randn(2, 3, 64, 64))
    kept = network.encode(patches[:, [3, 7]])
    changed = patches.clone()
    changed[:, 5] = 9.0
    torch.testing.assert_close(kept, network.encode(changed[:, [3, 7]]))
    assert kept.shape == (2, 3, 24)


def test_drop_path_leaves_crops_out_in_training_only() -> None:
    torch.manual_seed(0)
    layer, x = DropPath(0.25), torch.ones(4000, 1, 1)
    dropped = layer(x)
    assert sorted(set(dropped.flatten().tolist())) == pytest.approx([0.0, 1 / 0.75])
    assert dropped.mean().item() == pytest.approx(1.0, abs=0.05)
    assert torch.equal(layer.eval()(x), x)
