"""Any convolution of `torch_geometric.nn` as a layer of the relation branch.

It has the interface of the layers in `models.attention`. PyG takes a batch as one large graph with
a list of edges. The list has no self-loops, as that of `arpgnet.region_graphs`; a convolution adds
them, or weighs a region's own features, as its arguments say. torch_geometric is imported with
this module, in 2 s: import it where needed.

Shape letters: G graphs, N regions, M = G * N nodes of the batch, F features, H heads, E edges,
K kinds of edges.
"""

import difflib
import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch_geometric.nn import conv as pyg

from arpgnet.models.attention import Edges

# what `forward` may need: all that a graph of regions has
INPUTS = ("x", "edge_index", "edge_type", "edge_attr", "batch")
# which argument states the number of edge attributes, where it is not `edge_dim`
EDGE_SIZE = {"CGConv": "dim", "GMMConv": "dim", "SplineConv": "dim"}
EDGE_SIZE |= {"GeneralConv": "in_edge_channels"}
# read edge attributes, but their `__init__` does not say that they must
NEED_ATTRIBUTES = ("GINEConv", "NNConv")
# arguments that this module sets, and those that only one batch, or another layout, could have
RESERVED = ("in_channels", "out_channels", "channels", "nn", "deg", "flow", "node_dim", "cached")


class PyGConv(nn.Module):
    """A convolution of torch_geometric on graphs of the same N regions.

    Where it has attention, alpha's rows sum to 1. A region without any key, which TransformerConv
    can have (its own features are no key), is listed as attending to itself.

    Args:
        name: of the class.
        arguments: of its constructor, beside those that follow from the graph and the width.
        width: features of a region, before and after.
        heads: for classes with heads, where `arguments` does not state them.
        kinds_KNN: bool (target, source), the edges of each kind, without self-loops.

    Shapes:
        query_GNF, key_GNF (the same) -> out_GNF, alpha_GHNN, or None without attention

    Raises:
        ValueError: there is no such class, it does not take the arguments, or it cannot work on
            this graph.
    """

    def __init__(
        self, name: str, arguments: Mapping[str, Any], width: int, heads: int, kinds_KNN: Tensor
    ) -> None:
        super().__init__()
        self.register_buffer("kinds_KNN", kinds_KNN, persistent=False)
        kind = find_class(name)
        takes = inspect.signature(kind.forward).parameters
        self.reads = {key for key in ("edge_type", "batch") if key in takes}
        self.attends = "return_attention_weights" in takes
        filled = fill(kind, arguments, width, heads, kinds_KNN)
        if "edge_attr" in takes and (filled.get(_edge_size(kind)) or name in NEED_ATTRIBUTES):
            self.reads.add("edge_attr")
        stated = ", ".join(f"{key}: {value}" for key, value in arguments.items())
        try:
            self.conv = kind(**filled)
            found, self.own_key = self._probe(width)
            self.fit = nn.Identity() if found == width else nn.Linear(found, width)
        except Exception as error:  # a class of somebody else's: whatever it raises
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            given = f" with relation.conv_args {{{stated}}}" if stated else ""
            raise ValueError(
                f"relation.conv: {name}{given} does not work on the region graph: {reason}"
            ) from error

    def forward(
        self, query_GNF: Tensor, key_GNF: Tensor, edges: Edges, *, attention: bool = True
    ) -> tuple[Tensor, Tensor | None]:
        x_MF = key_GNF.flatten(0, 1)
        inputs = self._inputs(edges.mask)
        alpha_GHNN = None
        if attention and self.attends:
            out_MF, (edge_index_2E, alpha_EH) = self.conv(
                x_MF, **inputs, return_attention_weights=True
            )
            alpha_GHNN = self._dense(edge_index_2E, alpha_EH, edges.mask)
        else:
            out_MF = self.conv(x_MF, **inputs)
        return self.fit(out_MF).view_as(key_GNF), alpha_GHNN

    def _inputs(self, mask_GNN: Tensor) -> dict[str, Tensor]:
        """Return all graphs as one: `edge_index`, and what else the convolution reads."""
        nodes = mask_GNN.shape[-1]
        if "edge_type" in self.reads:
            # a pair that is of two kinds has two edges
            mask_GKNN = mask_GNN[:, None] & self.get_buffer("kinds_KNN")
            graph, kind, target, source = mask_GKNN.nonzero(as_tuple=True)
        else:
            mask_GNN = mask_GNN & self.get_buffer("kinds_KNN").any(0)
            graph, target, source = mask_GNN.nonzero(as_tuple=True)
        inputs = {"edge_index": torch.stack([source, target]) + graph * nodes}
        if "edge_type" in self.reads:
            inputs["edge_type"] = kind
        if "edge_attr" in self.reads:
            inputs["edge_attr"] = self.get_buffer("kinds_KNN")[:, target, source].T.float()
        if "batch" in self.reads:
            index_G = torch.ones_like(mask_GNN[:, 0, 0], dtype=torch.int64).cumsum(0) - 1
            inputs["batch"] = index_G[:, None].expand(-1, nodes).flatten()
        return inputs

    def _dense(self, edge_index_2E: Tensor, alpha_EH: Tensor, mask_GNN: Tensor) -> Tensor:
        """Spread weights of edges over [G, H, N, N]; edges of several kinds are added."""
        nodes = mask_GNN.shape[-1]
        source, target = edge_index_2E
        alpha_EH = alpha_EH.float().reshape(len(source), -1)
        alpha_GNNH = alpha_EH.new_zeros(*mask_GNN.shape, alpha_EH.shape[1])
        where = (target // nodes, target % nodes, source % nodes)
        alpha_GHNN = alpha_GNNH.index_put(where, alpha_EH, accumulate=True).permute(0, 3, 1, 2)
        sum_GHN1 = alpha_GHNN.sum(-1, keepdim=True)
        own_NN = torch.eye(nodes, device=alpha_EH.device)
        return torch.where(sum_GHN1 > 0, alpha_GHNN / sum_GHN1, own_NN)

    @torch.no_grad()
    def _probe(self, width: int) -> tuple[int, bool]:
        """Try two graphs, the second without any edge, together and apart.

        Returns:
            The features of a region that come out, and whether a region is a key for itself.

        Raises:
            ValueError: the result is no vector for each region, or depends on the other graph.
        """
        nodes = self.get_buffer("kinds_KNN").shape[-1]
        training, _ = self.training, self.eval()
        x_MF = torch.linspace(-2, 2, 2 * nodes * width).sin().reshape(2 * nodes, width)
        mask_GNN = torch.stack(
            [self.get_buffer("kinds_KNN").any(0), torch.zeros(nodes, nodes).bool()]
        )
        together = self.conv(x_MF, **self._inputs(mask_GNN))
        alone = self.conv(x_MF[:nodes], **self._inputs(mask_GNN[:1]))
        if not isinstance(together, Tensor) or together.shape[:-1] != x_MF.shape[:-1]:
            raise ValueError("it does not give one vector for each region")
        if not together.isfinite().all():
            raise ValueError("it gives infinite values, or none, where a region has no neighbor")
        if not torch.allclose(together[:nodes], alone, atol=1e-4, rtol=1e-4):
            raise ValueError("it mixes the graphs of a batch")
        own_key = True
        if self.attends:
            inputs = self._inputs(mask_GNN)
            _, (edges_2E, _) = self.conv(x_MF, **inputs, return_attention_weights=True)
            own_key = bool((edges_2E[0] == edges_2E[1]).any())
        self.train(training)
        return together.shape[-1], own_key


def find_class(name: str) -> type[nn.Module]:
    """Return the convolution of this name.

    Raises:
        ValueError: there is none, or it needs more than nodes and edges; the line says what.
    """
    names = [one for one in pyg.__all__ if one != "MessagePassing"]
    if name not in names:
        near = _nearest(name, [*names, "gat", "gatv2"])
        raise ValueError(
            f"relation.conv is {name!r}; choose gat, gatv2 or a convolution of torch_geometric.nn"
            + (f": did you mean {near!r}?" if near else ", such as TransformerConv")
        )
    kind: type[nn.Module] = getattr(pyg, name)
    takes = inspect.signature(kind.forward).parameters
    needed = _required(takes)[1:]  # without `self`
    other = [key for key in needed if key not in INPUTS]
    if other:
        raise ValueError(
            f"relation.conv: {name} needs {', '.join(other)}, which the relation branch does not "
            "have"
        )
    if not {"x", "edge_index"} <= takes.keys():
        raise ValueError(f"relation.conv: {name} does not take the edges of the region graph")
    return kind


def fill(
    kind: type[nn.Module],
    arguments: Mapping[str, Any],
    width: int,
    heads: int,
    kinds_KNN: Tensor,
) -> dict[str, Any]:
    """Return all arguments of the constructor: those that are stated, and those that follow.

    Raises:
        ValueError: one is unknown, reserved, missing or does not fit the graph.
    """
    name, takes = kind.__name__, inspect.signature(kind).parameters
    known = [
        key for key, one in takes.items() if one.kind not in (one.VAR_KEYWORD, one.VAR_POSITIONAL)
    ]
    if len(known) < len(takes):
        # passed on to the base class
        known += list(inspect.signature(pyg.MessagePassing).parameters)
    for key in arguments:
        if key in RESERVED:
            raise ValueError(f"relation.conv_args.{key} is set by the network: leave it out")
        if key not in known:
            valid = [one for one in known if one not in RESERVED]
            near = _nearest(key, valid)
            raise ValueError(
                f"relation.conv_args.{key}: {name} does not take it; "
                + (f"did you mean {near!r}?" if near else f"it takes {', '.join(valid) or 'none'}")
            )
    count = len(kinds_KNN)
    heads = arguments.get("heads", heads) if "heads" in takes else 1
    concatenated = "concat" in takes and arguments.get("concat", takes["concat"].default)
    if concatenated and (not isinstance(heads, int) or heads < 1 or width % heads):
        raise ValueError(f"relation.conv_args.heads: {heads} does not divide fusion.width: {width}")
    size = _edge_size(kind)
    follows = {
        "in_channels": width,
        "out_channels": width // heads if concatenated else width,
        "channels": width,
        "heads": heads,
        "num_relations": count,
        "deg": torch.bincount(kinds_KNN.any(0).sum(1)),
    }
    filled = {key: value for key, value in follows.items() if key in takes}
    required = _required(takes)
    if size in required or (name in NEED_ATTRIBUTES and size in takes):
        filled[size] = count
    if "nn" in required:
        filled["nn"] = _inner(name, width, count)
    for key in ("num_relations", size):
        if key in takes and arguments.get(key) not in (None, 0, count):
            raise ValueError(
                f"relation.conv_args.{key} is {arguments[key]}, but the region graph has {count} "
                "kinds of edges"
            )
    filled |= arguments
    missing = [key for key in required if key not in filled]
    if missing:
        parts = [key for key in missing if _is_network(takes[key])]
        if parts:
            raise ValueError(
                f"relation.conv: {name} is made of other networks ({', '.join(parts)}), which "
                "relation.conv_args cannot state"
            )
        raise ValueError(
            f"relation.conv: {name} needs {', '.join(missing)}: state it in relation.conv_args"
        )
    return filled


def _inner(name: str, width: int, kinds: int) -> nn.Module | None:
    """Return the network inside a convolution: two layers, as in the paper of GIN."""
    if name == "NNConv":
        # from an edge's attributes to the matrix that its messages are multiplied by
        return nn.Sequential(nn.Linear(kinds, 16), nn.ReLU(), nn.Linear(16, width * width))
    # EdgeConv reads a pair: a region, and its difference from the neighbor
    inputs = 2 * width if name == "EdgeConv" else width
    return nn.Sequential(nn.Linear(inputs, width), nn.ReLU(), nn.Linear(width, width))


def _edge_size(kind: type[nn.Module]) -> str:
    return EDGE_SIZE.get(kind.__name__, "edge_dim")


def _required(takes: Mapping[str, inspect.Parameter]) -> list[str]:
    positional = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return [
        key for key, one in takes.items() if one.default is one.empty and one.kind in positional
    ]


def _is_network(parameter: inspect.Parameter) -> bool:
    text = str(parameter.annotation)
    return any(word in text for word in ("Module", "Callable", "MessagePassing"))


def _nearest(name: str, names: list[str]) -> str | None:
    """Return the most similar name, whatever its capitals, and with or without "Conv"."""

    def plain(one: str) -> str:
        return one.lower().removesuffix("conv")

    by_plain = {plain(one): one for one in names}
    found = difflib.get_close_matches(plain(name), by_plain, n=1, cutoff=0.5)
    return by_plain[found[0]] if found else None
