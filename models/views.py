"""Two views of a face, one vector: the appearance branch that sees a face and its parts.

    Nguyen, Nguyen, Nguyen, Do, Dinh: Emotic Masked Autoencoder on Dual-views with Attention Fusion
    for Facial Expression Recognition (EMAE); CVPR workshops 2024, arXiv 2403.13039.

An independent reimplementation from its public description. The authors': two views of one face,
the whole of it and an auxiliary one of its parts, through one encoder; their fusion by attention
with skip connections, by their mean, or by concatenation. Ours, because nothing public says them:
one block of attention from each view to the other, scaled dot products, a shared projection of both
views' tokens, the mean over tokens, then linear and LayerNorm as in the branch of one view; no
positions of tokens, which a map's features have of their own (a mirrored face is the same then).

Shape letters: B clips, T frames, G = B * T frames, N regions (tokens of the face), S cells (tokens
of its parts), C map channels, E embedding features, D width, V features of a view's vector.
"""

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from arpgnet.models.attention import DotAttention, Edges
from arpgnet.models.inputs import Standardize, required

ViewFusion = Literal["attention", "mean", "concat"]


class DualViews(nn.Module):
    """The vectors, or tokens, of both views -> a[B, T, D].

    `mean` and `concat` fuse the views' vectors. `attention` fuses their tokens; of the vector only
    the embedding is concatenated, because the tokens are the map that the rest of it is a mean of.

    Args:
        vector: V of each input of a view's vector, by name: embedding and/or map.
    """

    def __init__(
        self,
        fusion: ViewFusion,
        vector: Mapping[str, int],
        *,
        channels: int,
        width: int,
        heads: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.fusion = fusion
        attends = fusion == "attention"
        self.inputs = tuple(name for name in vector if not (attends and name == "map"))
        for name in self.inputs:
            self.add_module(f"{name}_scale", Standardize(vector[name]))
            self.add_module(f"parts_{name}_scale", Standardize(vector[name]))
        size = sum(vector[name] for name in self.inputs)
        joined = size if fusion == "mean" else 2 * size
        if attends:
            self.tokens = ViewAttention(channels, width, heads, dropout)
            joined += 2 * width
        self.dropout = nn.Dropout(dropout)
        self.project = nn.Linear(joined, width)
        self.norm = nn.LayerNorm(width)

    def forward(
        self,
        face: Mapping[str, Tensor | None],
        parts: Mapping[str, Tensor | None],
        nodes_BTNC: Tensor | None = None,
        cells_BTSC: Tensor | None = None,
    ) -> Tensor:
        """Return the appearance sequence.

        Args:
            face, parts: of each view its embedding [B, T, E] and mean map [B, T, C], by name.
            nodes_BTNC, cells_BTSC: the tokens of both, for `attention`.
        """
        own = [
            self.get_submodule(f"{name}_scale")(required(face[name], f"{name} features"))
            for name in self.inputs
        ]
        other = [
            self.get_submodule(f"parts_{name}_scale")(
                required(parts[name], f"parts_{name} features")
            )
            for name in self.inputs
        ]
        if self.fusion == "mean":
            fused = [(a + b) / 2 for a, b in zip(own, other, strict=True)]
        else:
            fused = [*own, *other]
        if self.fusion == "attention":
            nodes_BTNC = required(nodes_BTNC, "region features")
            cells_BTSC = required(cells_BTSC, "parts_cells features")
            tokens = self.tokens(nodes_BTNC.flatten(0, 1), cells_BTSC.flatten(0, 1))
            # not `unflatten`: a trace would keep the example's number of frames
            shape = nodes_BTNC.shape[0], nodes_BTNC.shape[1], tokens.shape[-1]
            fused.append(tokens.reshape(shape))
        return self.norm(self.project(self.dropout(torch.cat(fused, dim=-1))))


class ViewAttention(nn.Module):
    """Tokens of each view attend to those of the other one, with skips; their means side by side.

    Every token is a key, visible or not: as in the mean map of the branch of one view.

    Shapes:
        nodes_GNC, cells_GSC -> [G, 2 D]
    """

    def __init__(self, channels: int, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.nodes_scale = Standardize(channels)
        self.cells_scale = Standardize(channels)
        self.project = nn.Linear(channels, width)
        self.norm = nn.LayerNorm(width)
        self.face_to_parts = DotAttention(width, width, heads)
        self.parts_to_face = DotAttention(width, width, heads)
        self.dropout = nn.Dropout(dropout)

    def forward(self, nodes_GNC: Tensor, cells_GSC: Tensor) -> Tensor:
        face_GND = self.norm(self.project(self.nodes_scale(nodes_GNC)))
        parts_GSD = self.norm(self.project(self.cells_scale(cells_GSC)))
        # both read the state before
        seen_GND = face_GND + self.dropout(self._read(self.face_to_parts, face_GND, parts_GSD))
        seen_GSD = parts_GSD + self.dropout(self._read(self.parts_to_face, parts_GSD, face_GND))
        return torch.cat([seen_GND.mean(1), seen_GSD.mean(1)], dim=-1)

    @staticmethod
    def _read(layer: nn.Module, query_GQD: Tensor, key_GKD: Tensor) -> Tensor:
        every = torch.ones(1, 1, 1, dtype=torch.bool, device=query_GQD.device)
        # dot products read no candidate keys
        out: Tensor = layer(query_GQD, key_GKD, Edges(every, every))[0]
        return out
