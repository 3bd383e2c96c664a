"""The banded fusion against plain loops over frames and neighbors."""

from typing import get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from arpgnet.models import fusion as fusion_module
from arpgnet.models.attention import GAT, DotAttention, GATv2
from arpgnet.models.fusion import Fusion, FusionConfig, FusionMode
from helpers.network_configs import arpgnet_config

WIDTH, HEADS = 8, 2
ATTENDING = [mode for mode in get_args(FusionMode) if mode not in ("concat", "add")]


def build(**settings_: object) -> Fusion:
    torch.manual_seed(0)
    plain = {"heads": HEADS, "window_cross": None, "feed_forward": False, "dropout": 0.0}
    config = arpgnet_config(fusion=plain | settings_).fusion
    module = Fusion(config, WIDTH).double()
    for name, parameter in module.named_parameters():
        if name.endswith("bias"):
            nn.init.normal_(parameter, std=0.3)
    return module


def inputs(fusion: Fusion, clips: int, frames: int, seed: int = 1) -> tuple[list[Tensor], Tensor]:
    generator = torch.Generator().manual_seed(seed)
    streams = [
        torch.randn(clips, frames, WIDTH, generator=generator, dtype=torch.float64)
        for _ in fusion.config.streams
    ]
    return streams, torch.rand(clips, frames, generator=generator) < 0.7


def score(conv: nn.Module, query_D: Tensor, key_D: Tensor, head: int) -> Tensor:
    """One head's attention score of one pair, written out from the formula."""
    part = slice(head * WIDTH // HEADS, (head + 1) * WIDTH // HEADS)
    if isinstance(conv, GAT):
        query, key = conv.lin(query_D)[part], conv.lin(key_D)[part]
        total = (conv.att_dst[0, head] * query).sum() + (conv.att_src[0, head] * key).sum()
        return torch.where(total > 0, total, 0.2 * total)
    if isinstance(conv, GATv2):
        total = conv.lin_r(query_D)[part] + conv.lin_l(key_D)[part]
        return (conv.att[0, head] * torch.where(total > 0, total, 0.2 * total)).sum()
    assert isinstance(conv, DotAttention)
    query, key = conv.lin_query(query_D)[part], conv.lin_key(key_D)[part]
    return (query * key).sum() / (WIDTH / HEADS) ** 0.5


def value(conv: nn.Module, key_D: Tensor) -> Tensor:
    for name in ("lin", "lin_l", "lin_value"):
        if hasattr(conv, name):
            return getattr(conv, name)(key_D)
    raise AssertionError(conv)


def windows(config: FusionConfig, layer: int) -> tuple[int | None, int | None]:
    """Reach in the own stream and in the other, None where that layer has no such edges."""
    own = 10**6 if config.window in (None, -1) else config.window
    cross = config.window_cross
    other = own if cross is None else 10**6 if cross == -1 else cross
    return {
        "parallel": (own, other),
        "cross": (None, other),
        "serial": (own, None) if layer % 2 == 0 else (None, other),
        "appearance": (own, None),
        "relation": (own, None),
    }[config.mode]


def by_loops(
    fusion: Fusion, streams: list[Tensor], valid_BT: Tensor
) -> tuple[list[Tensor], list[list[list[dict]]]]:
    """Fusion of one batch, frame by frame; also {(clip, head, t, source, s): weight} a layer."""
    config = fusion.config
    frames = streams[0].shape[1]
    position = torch.zeros(frames, WIDTH, dtype=torch.float64)
    if config.position == "sinusoidal":
        for t in range(frames):
            for i in range(WIDTH // 2):
                angle = t / 10_000 ** (i / (WIDTH // 2))
                position[t, i] = torch.sin(torch.tensor(angle, dtype=torch.float64))
                position[t, i + WIDTH // 2] = torch.cos(torch.tensor(angle, dtype=torch.float64))
    elif config.position == "learned":
        position = fusion.position_table[:frames]
    state = [x + position for x in streams]
    if len(state) == 2:
        state = [x + fusion.stream_embedding[i] for i, x in enumerate(state)]
    recorded = []
    for number, copies in enumerate(fusion.layers):
        reach = windows(config, number)
        new_state, layer_record = [], []
        for i, own in enumerate(state):
            layer = copies[0] if config.share_weights else copies[i]
            new, record = torch.empty_like(own), {}
            for b, t in [(b, t) for b in range(len(own)) for t in range(frames)]:
                keys = [
                    (source, s)
                    for source, k in enumerate(reach)
                    for s in range(frames)
                    if k is not None and abs(s - t) <= k and valid_BT[b, s]
                ]
                message = torch.zeros(WIDTH, dtype=torch.float64)
                if keys:
                    at = [state[i if source == 0 else 1 - i][b, s] for source, s in keys]
                    heads = []
                    for h in range(HEADS):
                        logits = torch.stack([score(layer.conv, own[b, t], key, h) for key in at])
                        weight = logits.exp() / logits.exp().sum()
                        record.update({(b, h, t, *k): w for k, w in zip(keys, weight, strict=True)})
                        part = slice(h * WIDTH // HEADS, (h + 1) * WIDTH // HEADS)
                        values = torch.stack([value(layer.conv, key)[part] for key in at])
                        heads.append((weight[:, None] * values).sum(0))
                    message = torch.cat(heads) + layer.conv.bias
                x = layer.norm(own[b, t] + nn.functional.elu(message))
                if config.feed_forward:
                    x = layer.feed_forward_norm(x + layer.feed_forward(x))
                new[b, t] = x
            new_state.append(new)
            layer_record.append(record)
        state = new_state
        recorded.append(layer_record)
    return state, recorded


def check_against_loops(fusion: Fusion, clips: int, frames: int) -> None:
    streams, valid_BT = inputs(fusion, clips, frames)
    with torch.no_grad():
        got, _ = fusion(streams, valid_BT)
        expected, recorded = by_loops(fusion, streams, valid_BT)
        reported, weights = fusion(streams, valid_BT, attention=True)
    for mine, loops, again in zip(got, expected, reported, strict=True):
        torch.testing.assert_close(mine, loops, atol=1e-6, rtol=1e-6)
        torch.testing.assert_close(again, loops, atol=1e-6, rtol=1e-6)
    for i, alpha_LBHTS in enumerate(weights):
        dense = torch.zeros_like(alpha_LBHTS)
        for number in range(fusion.config.layers):
            sources = [k for k, w in enumerate(windows(fusion.config, number)) if w is not None]
            for (b, h, t, source, s), weight in recorded[number][i].items():
                dense[number, b, h, t, sources.index(source) * frames + s] = weight
        torch.testing.assert_close(alpha_LBHTS, dense, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("conv", ["gat", "gatv2", "dot"])
@pytest.mark.parametrize("mode", ATTENDING)
def test_every_mode_equals_loops(mode: str, conv: str) -> None:
    check_against_loops(build(mode=mode, conv=conv, window=1), clips=2, frames=5)


@pytest.mark.parametrize(
    "changes",
    [
        {"window": 0},
        {"window": None},
        {"window": -1, "window_cross": 0},
        {"window": 2, "window_cross": -1, "conv": "gatv2"},
        {"window": 0, "window_cross": 2, "conv": "gatv2"},
        {"position": "learned"},
        {"position": "none"},
        {"feed_forward": True},
        {"share_weights": True},
        {"layers": 3},
    ],
    ids=str,
)
def test_every_setting_equals_loops(changes: dict[str, object]) -> None:
    check_against_loops(build(**changes), clips=2, frames=6)


@pytest.mark.parametrize("conv", ["gat", "gatv2", "dot"])
@pytest.mark.parametrize(("mode", "frames"), [("parallel", 10), ("serial", 9), ("appearance", 12)])
def test_long_clips_in_bands_equal_loops(
    mode: str, frames: int, conv: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fusion_module, "BAND_FRAMES", 4)
    check_against_loops(build(mode=mode, conv=conv, window=1, window_cross=2), 2, frames)


@settings(max_examples=20, deadline=None)
@given(
    frames=st.integers(65, 200),
    window=st.integers(0, 20),
    cross=st.one_of(st.none(), st.integers(0, 20)),
    seed=st.integers(0, 1000),
)
def test_bands_equal_one_dense_band(frames: int, window: int, cross: int | None, seed: int) -> None:
    fusion = build(window=window, window_cross=cross, layers=1)
    streams, valid_BT = inputs(fusion, 2, frames, seed)
    with torch.no_grad():
        banded, _ = fusion(streams, valid_BT)
        dense, weights = fusion(streams, valid_BT, attention=True)
    for mine, other, alpha_LBHTS in zip(banded, dense, weights, strict=True):
        torch.testing.assert_close(mine, other, atol=1e-6, rtol=1e-6)
        total = alpha_LBHTS.sum(-1)
        assert ((total - 1).abs() < 1e-6).logical_or(total == 0).all()


def test_parallel_reads_the_input_state_where_serial_reads_the_output() -> None:
    """With window 0, the relation frame's second serial update sees the updated appearance."""
    x = [torch.randn(1, 1, WIDTH, dtype=torch.float64, requires_grad=True) for _ in range(2)]
    valid = torch.ones(1, 1, dtype=torch.bool)
    serial = build(mode="serial", window=0, layers=2, position="none")
    (a1, r1) = [
        serial.layers[0][i].norm(
            y + nn.functional.elu(serial.layers[0][i].conv.lin(y) + serial.layers[0][i].conv.bias)
        )
        for i, y in enumerate(x[j] + serial.stream_embedding[j] for j in range(2))
    ]  # softmax over one key is 1
    second = serial.layers[1][1]
    expected = second.norm(r1 + nn.functional.elu(second.conv.lin(a1) + second.conv.bias))
    torch.testing.assert_close(serial(x, valid)[0][1], expected)

    # One parallel layer: the new appearance depends on the old relation frame directly, and each
    # stream's weights act on that stream alone.
    parallel = build(mode="parallel", window=0, layers=1, position="none")
    before = parallel(x, valid)[0]
    with torch.no_grad():
        parallel.layers[0][0].norm.weight.mul_(3)  # changes the layer's appearance output only
    after = parallel(x, valid)[0]
    assert not torch.allclose(before[0], after[0])
    assert torch.equal(before[1], after[1])
    (gradient,) = torch.autograd.grad(before[1].sum() + before[1].pow(2).sum(), x[0])
    assert gradient.abs().max() > 1e-6


@pytest.mark.parametrize("mode", ["concat", "add"])
def test_modes_without_attention_return_the_streams(mode: str) -> None:
    fusion = build(mode=mode)
    streams, valid_BT = inputs(fusion, 2, 5)
    fused, weights = fusion(streams, valid_BT, attention=True)
    assert all(a is b for a, b in zip(fused, streams, strict=True))
    assert weights == []
    assert not list(fusion.parameters())


def test_shared_weights_halve_the_layers() -> None:
    def layer_parameters(share: bool) -> int:
        return sum(p.numel() for p in build(share_weights=share).layers.parameters())

    assert layer_parameters(False) == 2 * layer_parameters(True)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mode": "paralel"}, "fusion.mode is 'paralel'; choose one of parallel, concat"),
        ({"mode": "serial", "layers": 3}, "make it even"),
        ({"layers": 0}, "needs at least 1"),
        ({"window": -2}, "fusion.window is -2"),
        ({"window_cross": -3}, "fusion.window_cross is -3"),
        ({"conv": "gcn"}, "fusion.conv"),
        ({"position": "rotary"}, "fusion.position"),
    ],
)
def test_bad_settings_say_what_to_do(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        arpgnet_config(fusion=changes)


def test_clip_longer_than_the_learned_table() -> None:
    fusion = build(position="learned", max_frames=4)
    streams, valid_BT = inputs(fusion, 1, 5)
    with pytest.raises(ValueError, match=r"5 frames, but fusion\.max_frames is 4"):
        fusion(streams, valid_BT)
