"""A network cut in two: the part that stays as it is, and the part that is trained.

It is cut where one tensor carries everything: whatever comes later is computed from it alone.

A block is a stretch with branches and weights (a residual unit) with the norm or activation behind
it, or the plain layers between two such stretches. What follows the last one up to the map counts
with the network's head. In a network without branches each layer with weights is a block.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import fx, nn

from arpgnet.pipeline.common.errors import UserError

_WEIGHTED = frozenset({F.conv2d, F.linear, torch.matmul})
_WEIGHTED_MODULES = (nn.Conv2d, nn.Linear)


def cut(backbone: nn.Module, layers: str, name: str) -> tuple[fx.GraphModule, fx.GraphModule]:
    """Return the frozen part, which gives one tensor, and the trained part, which takes it.

    Args:
        backbone: gives an embedding and a map; its weights become those of the parts.
        layers: `head`, or `last-N`: N blocks and what follows them are trained.
        name: what a message calls the network.

    Raises:
        UserError: it cannot be cut there.
    """
    whole = backbone
    if not isinstance(whole, fx.GraphModule):
        whole = fx.symbolic_trace(backbone)
    walk = _walk(whole)
    advice = "choose another finetune.layers, such as all"
    if layers == "head":
        at = walk.feature_map
        if at not in walk.waists:
            raise UserError(
                f"finetune.layers: head: {name} makes its embedding of more than its map: {advice}"
            )
    else:
        wanted, starts = int(layers.removeprefix("last-")), _block_starts(whole, walk)
        # the first block has nothing before it that could stay as it is
        if wanted >= len(starts):
            most = len(starts) - 1
            advice = f"choose last-{most} or fewer, head or all" if most > 0 else advice
            blocks = f"{len(starts)} block" + "s" * (len(starts) != 1)
            raise UserError(f"finetune.layers: {layers}: {name} has {blocks}: {advice}")
        at = starts[-wanted]
    return _part(whole, at, before=True), _part(whole, at, before=False)


@dataclass(frozen=True)
class _Walk:
    """The calls up to the first output, in their order, and those that can be cut behind."""

    calls: list[fx.Node]
    waists: set[fx.Node]
    feature_map: fx.Node


def _walk(whole: fx.GraphModule) -> _Walk:
    outputs = next(node for node in whole.graph.nodes if node.op == "output").args[0]
    assert isinstance(outputs, tuple)
    calls: list[fx.Node] = []
    waists: set[fx.Node] = set()
    needed: dict[fx.Node, int] = {}  # values -> how many calls are still to read each
    for node in whole.graph.nodes:
        if node.op == "get_attr":
            continue
        calls.append(node)
        for read in node.all_input_nodes:
            if read in needed:
                needed[read] -= 1
        needed[node] = len(node.users)
        needed = {value: readers for value, readers in needed.items() if readers}
        if needed.keys() == {node}:
            waists.add(node)
        if node in outputs:
            break
    return _Walk(calls, waists, outputs[1])


def _block_starts(whole: fx.GraphModule, walk: _Walk) -> list[fx.Node]:
    """Return the waist behind which each block begins."""
    starts: list[fx.Node] = []
    plain: list[fx.Node] = []  # where each layer of a chain begins
    in_run = False
    before, stretch = walk.calls[0], walk.calls[:0]
    branches = False
    for node in walk.calls[1:]:
        stretch.append(node)
        if node not in walk.waists:
            continue
        if any(_is_weighted(whole, each) for each in stretch):
            if len(stretch) > 1:
                starts.append(before)
                in_run, branches = False, True
            else:
                plain.append(before)
                if not in_run:
                    starts.append(before)
                in_run = True
        before, stretch = node, []
    if not branches:
        return plain
    # the run that ends in the map counts with the head
    return starts[:-1] if in_run else starts


def _is_weighted(whole: fx.GraphModule, node: fx.Node) -> bool:
    if node.op == "call_module":
        return isinstance(whole.get_submodule(str(node.target)), _WEIGHTED_MODULES)
    return node.op == "call_function" and node.target in _WEIGHTED


def _part(whole: fx.GraphModule, at: fx.Node, *, before: bool) -> fx.GraphModule:
    """Return the calls up to a waist, or those behind it."""
    graph = fx.Graph()
    copies: dict[fx.Node, fx.Node] = {}
    passed = False
    for node in whole.graph.nodes:
        here = passed != before
        if not before and node is at:
            copies[node] = graph.placeholder("activations")
        elif here or node.op == "get_attr":
            # constants may stand anywhere before they are read
            copies[node] = graph.node_copy(node, copies.__getitem__)
        passed = passed or node is at
        if before and passed:
            graph.output((copies[at],))
            break
    for node in [node for node in graph.nodes if node.op == "get_attr" and not node.users]:
        graph.erase_node(node)
    part = fx.GraphModule(whole, graph)
    names = whole.meta.get("initializers", {})
    kept = {str(node.target) for node in graph.nodes if node.op == "get_attr"}
    part.meta["initializers"] = {place: names[place] for place in kept & names.keys()}
    return part.eval()
