"""The region graph of a data set: nodes, typed edges, and what a mirror does to them.

N regions, E directed edges.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

ADJACENT = "adjacent"
SYMMETRIC = "symmetric"

Pair = tuple[int, int]


@dataclass(frozen=True)
class Topology:
    """Regions and their edges; the same in every frame.

    Attributes:
        names: the N regions.
        edges: E pairs (source, target), both directions of every undirected edge, no self loops.
            A pair that is both adjacent and symmetric stands here twice, once of each type.
        edge_types: `"adjacent"` or `"symmetric"` for every edge.
        mirror: node permutation under a horizontal flip: node i becomes node `mirror[i]`.
    """

    names: tuple[str, ...]
    edges: tuple[Pair, ...]
    edge_types: tuple[str, ...]
    mirror: tuple[int, ...]

    def undirected(self, edge_type: str) -> tuple[Pair, ...]:
        """Return the pairs (i, j), i < j, joined by an edge of one type."""
        typed = zip(self.edges, self.edge_types, strict=True)
        return tuple(pair for pair, kind in typed if kind == edge_type and pair[0] < pair[1])


def build_topology(
    names: Iterable[str], adjacent: Iterable[Pair], mirror: Iterable[int]
) -> Topology:
    """Adds to the adjacent pairs the symmetric ones, which join each node to its mirror image.

    Nodes that are their own mirror image get no symmetric edge.
    """
    mirror = tuple(mirror)
    symmetric = {(min(i, j), max(i, j)) for i, j in enumerate(mirror) if i != j}
    edges: list[Pair] = []
    types: list[str] = []
    for kind, pairs in ((ADJACENT, {(min(p), max(p)) for p in adjacent}), (SYMMETRIC, symmetric)):
        directed = sorted([*pairs, *((j, i) for i, j in pairs)])
        edges += directed
        types += [kind] * len(directed)
    return Topology(tuple(names), tuple(edges), tuple(types), mirror)
