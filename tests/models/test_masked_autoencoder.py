"""The masked autoencoder: masking, loss and positions; equal to that of Transformers."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
import torch

from arpgnet.models.masked_autoencoder import (
    DecoderShape,
    MaskedAutoencoder,
    normalized_patches,
    patchify,
    pixel_loss,
    sine_positions,
    unpatchify,
)
from arpgnet.models.vit import VIT_SHAPES, VisionTransformer
from helpers import timm_models

SMALL = replace(VIT_SHAPES["vit_tiny_patch16_224"], dim=24, depth=2, input_px=64)
DECODER = DecoderShape(16, 1, 2)


def small() -> MaskedAutoencoder:
    torch.manual_seed(0)
    return MaskedAutoencoder(SMALL, DECODER)


def test_three_quarters_are_hidden_and_what_they_show_changes_nothing() -> None:
    network, crops = small(), torch.rand(2, 3, 64, 64)
    noise = torch.rand(2, 16)
    predicted, mask = network(crops, noise)
    assert predicted.shape == (2, 16, 768)
    assert mask.sum(dim=1).tolist() == [12, 12]
    assert torch.equal(mask, (noise.argsort(1).argsort(1) >= 4).float())
    seen = unpatchify(patchify(crops, 16) * (1 - mask[:, :, None]))
    torch.testing.assert_close(network(seen, noise)[0], predicted)
    torch.manual_seed(3)
    drawn = network(crops)[1]
    assert drawn.sum(dim=1).tolist() == [12, 12]
    assert not torch.equal(drawn[0], drawn[1])


def test_the_loss_is_that_of_hidden_patches_without_their_mean_and_spread() -> None:
    crops, mask = torch.rand(2, 3, 64, 64), torch.zeros(2, 16)
    mask[0, 3] = mask[1, 5] = 1.0
    target, mean, deviation = normalized_patches(crops, 16)
    torch.testing.assert_close(target * deviation + mean, patchify(crops, 16))
    wrong = target.clone()
    wrong[0, 0] = 9.0
    assert pixel_loss(wrong, crops, mask).item() == 0
    wrong[0, 3] += 2.0
    assert pixel_loss(wrong, crops, mask).item() == pytest.approx(2.0)
    torch.testing.assert_close(pixel_loss(wrong, crops * 0.5 + 0.1, mask), torch.tensor(2.0))


def test_patches_stand_row_by_row_and_go_back() -> None:
    crops = torch.rand(2, 3, 64, 64)
    patches = patchify(crops, 16)
    there = crops[1, :, 16:32, 48:64].permute(1, 2, 0).flatten()
    assert torch.equal(patches[1, 4 + 3], there)
    assert torch.equal(unpatchify(patches), crops)


def test_positions_are_sines_of_column_and_row() -> None:
    positions = sine_positions(3, 8)[0].numpy()
    rates = np.array([1.0, 0.01])
    for row in range(3):
        for column in range(3):
            expected = [f(v * rates) for v in (column, row) for f in (np.sin, np.cos)]
            assert np.allclose(positions[1 + 3 * row + column], np.concatenate(expected), atol=1e-6)
    assert not positions[0].any()
    with pytest.raises(ValueError, match="6 is not divisible by 4"):
        sine_positions(3, 6)


def test_the_encoder_is_a_vision_transformer() -> None:
    network, crops = small(), torch.rand(2, 3, 64, 64)
    encoder = VisionTransformer(SMALL)
    encoder.load_state_dict(network.encoder())
    torch.testing.assert_close(encoder(crops)[1], VisionTransformer.forward(network, crops)[1])
    trained = {name for name, value in network.named_parameters() if value.requires_grad}
    assert network.state_dict().keys() - trained == {"pos_embed", "decoder_pos_embed"}


# parts of names here and in Transformers, of the encoder and then of the decoder
THEIRS = (
    (r"^(cls_token)$", r"vit.embeddings.\1"),
    (r"^pos_embed$", "vit.embeddings.position_embeddings"),
    (r"^patch_embed\.proj\.", "vit.embeddings.patch_embeddings.projection."),
    (r"^blocks\.", "vit.layers."),
    (r"^norm\.", "vit.layernorm."),
    (r"^decoder_blocks\.", "decoder.decoder_layers."),
    (r"^(decoder_|mask_token)", r"decoder.\1"),
    (r"\.norm1\.", ".layernorm_before."),
    (r"\.norm2\.", ".layernorm_after."),
    (r"\.attn\.proj\.", ".attention.o_proj."),
)


def in_their_names(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    found = {}
    for name, value in state.items():
        for ours, theirs in THEIRS:
            name = re.sub(ours, theirs, name)
        if ".attn.qkv." in name:
            for letter, part in zip("qkv", value.chunk(3), strict=True):
                found[name.replace(".attn.qkv.", f".attention.{letter}_proj.")] = part
        else:
            found[name] = value
    return found


@pytest.mark.slow  # importing Transformers takes 5 s
def test_it_equals_transformers() -> None:
    transformers = timm_models.transformers()
    config = transformers.ViTMAEConfig(
        hidden_size=24,
        num_hidden_layers=2,
        num_attention_heads=3,
        intermediate_size=96,
        image_size=64,
        layer_norm_eps=1e-6,
        decoder_hidden_size=16,
        decoder_num_hidden_layers=1,
        decoder_num_attention_heads=2,
        decoder_intermediate_size=64,
        norm_pix_loss=True,
    )
    theirs = transformers.ViTMAEForPreTraining(config).eval()
    network, crops, noise = small(), torch.randn(3, 3, 64, 64), torch.rand(3, 16)
    for value in network.parameters():
        # norms and biases that start as ones and zeros would hide a swap
        value.data += 0.1 * torch.randn_like(value)
    theirs.load_state_dict(in_their_names(network.state_dict()))
    expected = theirs(crops, noise=noise)
    predicted, mask = network(crops, noise)
    torch.testing.assert_close(mask, expected.mask)
    torch.testing.assert_close(predicted, expected.logits, rtol=0, atol=1e-5)
    loss = pixel_loss(predicted, crops, mask)
    torch.testing.assert_close(loss, expected.loss, rtol=0, atol=1e-5)
    expected.loss.backward()
    loss.backward()
    gradients = {n: p.grad for n, p in network.named_parameters() if p.grad is not None}
    reference = {n: p.grad for n, p in theirs.named_parameters() if p.grad is not None}
    found = in_their_names(gradients)
    assert found.keys() == reference.keys()
    for name, gradient in reference.items():
        torch.testing.assert_close(found[name], gradient, rtol=0, atol=1e-5)
