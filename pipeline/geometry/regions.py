"""The regions of either kind: their graph, and where they lie."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from arpgnet.pipeline.geometry.crop import map_cells
from arpgnet.pipeline.geometry.grid import grid_nodes, grid_topology, grid_visible
from arpgnet.pipeline.geometry.landmark_regions import (
    landmark_nodes,
    landmark_pooling,
    landmark_topology,
    landmark_visible,
)
from arpgnet.pipeline.geometry.topology import Topology

Regions = Literal["grid", "landmark"]


def region_topology(regions: Regions, patches: int, neighborhood: int) -> Topology:
    """Return nodes and edges by the settings of the graph stage."""
    if regions == "grid":
        return grid_topology(patches, neighborhood)
    return landmark_topology()


def region_metadata(regions: Regions, topology: Topology) -> dict[str, Any]:
    """Return what a data set's index and a run say of the regions, JSON-able."""
    return {
        "regions": regions,
        "names": list(topology.names),
        "edges": [list(edge) for edge in topology.edges],
        "edge_types": list(topology.edge_types),
        "mirror": list(topology.mirror),
    }


def place_regions(
    regions: Regions,
    patches: int,
    scheme: str,
    cells: tuple[int, int, float, float],
    points: np.ndarray,
    matrices: np.ndarray,
    frame_wh: np.ndarray,
) -> dict[str, np.ndarray]:
    """Return where the N regions lie in T frames with a face.

    Args:
        scheme: of the landmarks.
        cells: the map's rows and columns, and which crop pixels they look at: first and step.
        points: landmarks [T, P, 2], crop pixels.
        matrices: [T, 2, 3], image to crop.
        frame_wh: [T, 2], pixels.

    Returns:
        `node_xy` [T, N, 2], `visible` [T, N] and, of landmark regions, `pooling` [T, N, h * w].
    """
    if regions == "grid":
        nodes = np.broadcast_to(grid_nodes(patches), (len(points), patches**2, 2))
        visible = grid_visible(patches, points, matrices, frame_wh, scheme)
        return {"node_xy": nodes, "visible": visible}
    return {
        "node_xy": landmark_nodes(points, scheme),
        "visible": landmark_visible(points, matrices, frame_wh, scheme),
        "pooling": landmark_pooling(points, scheme, map_cells(*cells)),
    }
