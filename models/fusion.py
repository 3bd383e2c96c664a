"""Fusion of the appearance and the relation sequence by windowed graph attention over time.

The nodes of the graph are the frames of both sequences, {a_t} and {r_t}; an edge joins frames at
most `window` apart in one sequence and at most `window_cross` apart between the two. What the
public text on ARPGNet says of its fusion module: both sequences enter, complementarity between
them and dynamics within them are explored at once, by graph attention with local temporal context
and a temporal position encoding. Window, layers, heads, residual, norm, feed-forward and whether
the streams share weights are not public: they are our choices, and settings here.

Shape letters: B clips, T frames, D width, F features, L layers, H heads; inside a layer, clips are
cut into G bands of Q query frames and S key frames, with K candidate keys for a query.
"""

import math
from dataclasses import dataclass
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from arpgnet.models.attention import CONVS, ConvName, Edges
from arpgnet.models.kernels import candidate_keys

FusionMode = Literal["parallel", "concat", "add", "cross", "serial", "appearance", "relation"]
TimePosition = Literal["sinusoidal", "learned", "none"]

# Clips up to this length are one T x T band with a mask; longer ones are cut into bands of this
# many queries plus the window on either side, so that memory grows with T and not with its square.
BAND_FRAMES = 64


@dataclass(frozen=True, kw_only=True)
class FusionConfig:
    """Settings of `Fusion`.

    Attributes:
        mode: parallel (the paper's): every frame attends within its own stream and to the other,
            both streams from the layer's input state. cross: to the other stream only. serial:
            layers alternate own stream, other stream, so that the second reads the first's output.
            appearance, relation: that stream alone. concat, add: no attention over streams or time.
        layers: attention layers; even in mode serial, ignored in concat and add.
        window: frames seen on either side in the own stream; None or -1 is the whole clip.
        window_cross: the same towards the other stream, -1 is the whole clip; None copies `window`.
        position: encoding of the frame's index, added once before the first layer.
        max_frames: length of the learned position table.
        conv: how attention scores are made (`models.attention`).
        feed_forward: a residual two-layer perceptron (4 x D) after each attention.
        share_weights: one set of layer weights for both streams.
        dropout: on each residual branch.
        attention_dropout: on attention weights.
    """

    mode: FusionMode
    layers: int
    heads: int
    window: int | None
    window_cross: int | None
    position: TimePosition
    max_frames: int
    conv: ConvName
    feed_forward: bool
    share_weights: bool
    dropout: float
    attention_dropout: float

    def __post_init__(self) -> None:
        check_choice("fusion.mode", self.mode, get_args(FusionMode))
        check_choice("fusion.position", self.position, get_args(TimePosition))
        check_choice("fusion.conv", self.conv, get_args(ConvName))
        if self.attends and self.layers < 1:
            raise ValueError(f"fusion.layers is {self.layers}; mode {self.mode} needs at least 1")
        if self.mode == "serial" and self.layers % 2:
            raise ValueError(
                f"fusion.layers is {self.layers}; mode serial alternates: make it even"
            )
        for name, window in (("window", self.window), ("window_cross", self.window_cross)):
            if window is not None and window < -1:
                raise ValueError(f"fusion.{name} is {window}; use frames >= 0, or -1 for all")

    @property
    def streams(self) -> tuple[str, ...]:
        single = self.mode in ("appearance", "relation")
        return (self.mode,) if single else ("appearance", "relation")

    @property
    def attends(self) -> bool:
        return self.mode not in ("concat", "add")

    def sources(self, layer: int) -> tuple[str, ...]:
        """Which streams a layer's queries read, in the order of the keys: "own", "other"."""
        if self.mode == "serial":
            return ("own",) if layer % 2 == 0 else ("other",)
        return {"parallel": ("own", "other"), "cross": ("other",)}.get(self.mode, ("own",))

    def reach(self, source: str, frames: int) -> int:
        """The window towards a source, in frames; a whole clip of T frames reaches T - 1 away."""
        cross = source == "other" and self.window_cross is not None
        window = self.window_cross if cross else self.window
        return frames - 1 if window is None or window == -1 else min(window, frames - 1)


class Fusion(nn.Module):
    """Enhance the sequences by attention over time and over each other.

    Shapes:
        streams: one [B, T, D] tensor per name in `config.streams`, in that order
        valid_BT: bool; a frame that is false is never attended to
        returns the same number of [B, T, D] tensors and, per stream, attention weights
        [L, B, H, T, S], S = T for each source of `config.sources` in its order. A row sums to 1,
        or is all 0 where no valid frame lies within the window.
    """

    def __init__(self, config: FusionConfig, width: int) -> None:
        super().__init__()
        self.config = config
        if not config.attends:
            return
        count = len(config.streams)
        if count > 1:  # lets the scores tell the two kinds of frame apart
            self.stream_embedding = nn.Parameter(torch.randn(count, width) * 0.02)
        if config.position == "learned":
            self.position_table = nn.Parameter(torch.randn(config.max_frames, width) * 0.02)
        copies = 1 if config.share_weights else count
        self.layers = nn.ModuleList(
            nn.ModuleList(FusionLayer(config, width) for _ in range(copies))
            for _ in range(config.layers)
        )

    def forward(
        self, streams: list[Tensor], valid_BT: Tensor, *, attention: bool = False
    ) -> tuple[list[Tensor], list[Tensor]]:
        config = self.config
        if not config.attends:
            return streams, []
        streams = [x + self._offset(x, i) for i, x in enumerate(streams)]
        # One band over the whole clip is what `attention` reports.
        bands = Bands(config, valid_BT, whole=attention)
        edges = {s: bands.edges(s) for s in map(config.sources, range(config.layers))}
        weights: list[list[Tensor]] = [[] for _ in streams]
        for number, copies in enumerate(self.layers):
            assert isinstance(copies, nn.ModuleList)
            sources = config.sources(number)
            updated = []
            for i, own in enumerate(streams):  # every stream reads this layer's input state
                keys = [own if source == "own" else streams[1 - i] for source in sources]
                layer = copies[i % len(copies)]
                new, alpha = layer(own, keys, bands, edges[sources], attention=attention)
                updated.append(new)
                if attention:
                    weights[i].append(alpha)
            streams = updated
        return streams, [torch.stack(w) for w in weights] if attention else []

    def _offset(self, x_BTD: Tensor, stream: int) -> Tensor:
        """Position encoding and stream embedding of each frame, [T, D]."""
        frames, width = x_BTD.shape[1:]
        offset = x_BTD.new_zeros(frames, width)
        if self.config.position == "sinusoidal":
            offset = offset + sinusoidal_positions(frames, width, x_BTD.device)
        elif self.config.position == "learned":
            if frames > len(self.position_table):
                raise ValueError(
                    f"clip of {frames} frames, but fusion.max_frames is {len(self.position_table)}"
                )
            offset = offset + self.position_table[:frames]
        if len(self.config.streams) > 1:
            offset = offset + self.stream_embedding[stream]
        return offset


class FusionLayer(nn.Module):
    """Update one stream: x = Norm(x + ELU(graph attention)), then optionally Norm(x + MLP(x))."""

    def __init__(self, config: FusionConfig, width: int) -> None:
        super().__init__()
        self.conv = CONVS[config.conv](width, width, config.heads, dropout=config.attention_dropout)
        self.norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(config.dropout)
        self.feed_forward = (
            nn.Sequential(
                nn.Linear(width, 4 * width),
                nn.ELU(),
                nn.Dropout(config.dropout),
                nn.Linear(4 * width, width),
                nn.Dropout(config.dropout),
            )
            if config.feed_forward
            else None
        )
        self.feed_forward_norm = nn.LayerNorm(width) if config.feed_forward else None

    def forward(
        self,
        x_BTD: Tensor,
        keys: list[Tensor],
        bands: "Bands",
        edges: Edges,
        *,
        attention: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        query_GQD = bands.cut_queries(x_BTD)
        key_GSD = torch.cat([bands.cut_keys(key_BTD) for key_BTD in keys], dim=1)
        message_GQD, alpha_GHQS = self.conv(query_GQD, key_GSD, edges, attention=attention)
        # An invalid stretch longer than the window leaves a query without keys: no message then.
        sees_GQ1 = edges.mask.any(-1, keepdim=True)
        message_BTD = bands.join(message_GQD * sees_GQ1)
        x_BTD = self.norm(x_BTD + self.dropout(F.elu(message_BTD)))
        if self.feed_forward is not None and self.feed_forward_norm is not None:
            x_BTD = self.feed_forward_norm(x_BTD + self.feed_forward(x_BTD))
        return x_BTD, None if alpha_GHQS is None else alpha_GHQS * sees_GQ1[:, None]


class Bands:
    """Cut clips into bands of consecutive queries, each with the keys its window can reach.

    A band holds Q frames and keys Q + 2 * margin frames of each source; G = B * bands. Where one
    band covers the clip, no margin is needed.
    """

    def __init__(self, config: FusionConfig, valid_BT: Tensor, *, whole: bool) -> None:
        self.config, self.clips, self.frames = config, *valid_BT.shape
        reach = max(config.reach(source, self.frames) for source in ("own", "other"))
        self.single = whole or self.frames <= BAND_FRAMES or 2 * reach >= self.frames
        self.queries = self.frames if self.single else BAND_FRAMES
        self.margin = 0 if self.single else reach
        self.valid_GS = self.cut_keys(valid_BT[..., None]).squeeze(-1)

    def cut_queries(self, x_BTF: Tensor) -> Tensor:
        pad = -self.frames % self.queries
        return F.pad(x_BTF, (0, 0, 0, pad)).reshape(-1, self.queries, x_BTF.shape[-1])

    def cut_keys(self, x_BTF: Tensor) -> Tensor:
        if self.single:
            return x_BTF
        pad = -self.frames % self.queries
        x_BTF = F.pad(x_BTF, (0, 0, self.margin, self.margin + pad))
        x_BgFS = x_BTF.unfold(1, self.queries + 2 * self.margin, self.queries)
        return x_BgFS.transpose(-1, -2).flatten(0, 1)

    def join(self, x_GQF: Tensor) -> Tensor:
        return x_GQF.reshape(self.clips, -1, x_GQF.shape[-1])[:, : self.frames]

    def edges(self, sources: tuple[str, ...]) -> Edges:
        """Which keys each query sees: within the window of the source, and valid."""
        keys = self.queries + 2 * self.margin
        device = self.valid_GS.device
        query_Q = torch.arange(self.queries, device=device) + self.margin
        apart_QS = (query_Q[:, None] - torch.arange(keys, device=device)).abs()
        reaches = [self.config.reach(source, self.frames) for source in sources]
        near_QS = torch.cat([apart_QS <= reach for reach in reaches], dim=1)
        mask_GQS = near_QS & self.valid_GS.repeat(1, len(sources))[:, None]
        candidates = sum(min(2 * reach + 1, keys) for reach in reaches)
        return Edges(mask_GQS, candidate_keys(near_QS, candidates))


def sinusoidal_positions(frames: int, width: int, device: torch.device) -> Tensor:
    """Position encoding of Vaswani et al. 2017, section 3.5 (sines, then cosines); [T, D]."""
    half = (width + 1) // 2
    rate = torch.exp(torch.arange(half, device=device) * (-math.log(10_000.0) / half))
    angle = torch.arange(frames, device=device)[:, None] * rate
    return torch.cat([angle.sin(), angle.cos()], dim=1)[:, :width]


def check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    """Raise ValueError that lists the choices unless the value is one of them."""
    if value not in choices:
        raise ValueError(f"{name} is {value!r}; choose one of {', '.join(choices)}")
