"""Metadata of the exported graph: everything between a video and its inputs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from arpgnet.models.arpgnet import ARPGNet
from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.common.params import Params
from arpgnet.pipeline.export.parity import longest
from arpgnet.pipeline.export.traceable import input_names
from arpgnet.pipeline.geometry.alignment import template
from arpgnet.pipeline.geometry.parts import PATCH, RAISED
from arpgnet.pipeline.networks.packs import load_pack
from arpgnet.pipeline.networks.preprocessing import normalization
from arpgnet.pipeline.networks.pretrained import pretrained
from arpgnet.pipeline.tables.predictions import EXPRESSION
from arpgnet.pipeline.tables.pretraining import PRETRAINED
from arpgnet.pipeline.tables.shards import ShardReader
from arpgnet.pipeline.training.data import APPEARANCE_METADATA, GRAPH_METADATA

INPUTS = {
    "embedding": "float32 [clips, frames, E]: the appearance network's embedding of the crop",
    "map_vector": "float32 [clips, frames, C]: its feature map, averaged over the cells",
    "nodes": "float32 [clips, frames, N, C]: pooling weights [N, h * w] times the map [h * w, C]",
    "node_xy": "float32 [clips, frames, N, 2]: centers of the regions in 0..1 of the crop, x first",
    "visible": "bool [clips, frames, N]: regions that lie on the face and inside the image",
    "valid": "bool [clips, frames]: frames with a face; features of the others are ignored, "
    "must be finite, and pad shorter clips of a batch",
    "parts_embedding": "float32 [clips, frames, E]: as embedding, of the auxiliary view (parts)",
    "parts_map_vector": "float32 [clips, frames, C]: as map_vector, of the auxiliary view (parts)",
    "parts_cells": "float32 [clips, frames, h * w, C]: the map of the auxiliary view (parts)",
}
TEMPLATE_POINTS = ("image-left eye", "image-right eye", "nose", "image-left mouth corner",
                   "image-right mouth corner")  # fmt: skip


def metadata(
    network: ARPGNet, info: Mapping[str, Any], params: Params, name: str, root: Path = Path()
) -> dict[str, Any]:
    """Collect the values of the graph's metadata, each to be written as JSON under its key.

    Args:
        network, info: as `load_run` gives them.
        params: of the stages before training.
        name: of the run.

    Raises:
        UserError: the data under `root` is not what the run was trained on, or the face pack is not
            installed.
    """
    appearance = ShardReader(root / "data/appearance").metadata
    graphs = ShardReader(root / "data/graphs").metadata
    now = {key: appearance[key] for key in APPEARANCE_METADATA}
    now |= {key: graphs[key] for key in GRAPH_METADATA}
    unlike = [key for key, value in now.items() if info["features"].get(key) != value]
    if unlike:
        raise UserError(
            f"{name} was trained on other data than data/ contains now ({', '.join(unlike)}): "
            "run `dvc repro train`"
        )
    pack = load_pack(params.faces.pack, ["embedding"])
    embedding = pretrained(
        pack.models["embedding"], root / PRETRAINED, enabled=params.pretrain.enabled
    )
    side = embedding.input_px
    return {
        "kind": info.get("kind", EXPRESSION),
        "classes": info["classes"],
        # from which probability on each action unit counts as present; else 0.5
        **({"thresholds": info["thresholds"]} if "thresholds" in info else {}),
        # tasks of the outputs `also_<kind>`, in whose order they are
        **({"also": info["also"]} if "also" in info else {}),
        "inputs": {key: INPUTS[key] for key in input_names(network)},
        "max_frames": longest(network),
        "task": info["task"],
        "preprocessing": {
            "sampling": params.decode.model_dump(include={"sampling", "frames", "fps"}),
            "crop": {
                "px": side,
                "transform": "least-squares similarity of five points to the template",
                "template": template(side).round(4).tolist(),
                "template_points": list(TEMPLATE_POINTS),
            },
            **({"parts": parts_layout(side)} if network.config.views else {}),
            "appearance_network": _network_metadata(embedding, appearance),
            "regions": {key: graphs[key] for key in ("regions", "names", "edges", "edge_types")}
            # weights of fixed regions; None: they follow the landmarks of each frame
            | {"pooling": graphs["pooling"], "params": params.graph.model_dump()},
        },
        "params": info["params"],
        "run": {
            "name": name,
            "fold": info["fold"],
            "seed": info["seed"],
            "best_epoch": info["best_epoch"],
            "refitted": info.get("refitted", 0),
            # the graph's logits are divided by it already
            "temperature": info.get("temperature", 1.0),
            # of other tasks than expressions the task's own score
            **{key: info["validation"][key] for key in _selecting(info)},
            # the graph's outputs of frames are not smoothed; `arpgnet predict` does it afterwards
            **({"smoothing": info["smoothing"]["length"]} if "smoothing" in info else {}),
        },
        "license": {
            "code": "MIT",
            "features": f"face pack {pack.name}: {pack.license}",
            "notice": f"{pack.notice} An expression is not an emotion: do not judge people by it.",
        },
    }


def _selecting(info: Mapping[str, Any]) -> list[str]:
    """Return the name of the validation score that is told."""
    kind = info.get("kind", EXPRESSION)
    return ["val_uar"] if kind == EXPRESSION else [f"val_{info['select']}"]


def parts_layout(side: int) -> dict[str, Any]:
    """Describe the auxiliary view of crops of `side` pixels: `geometry.parts`."""
    return {
        "upper half": "left and right: squares round the image-left and the image-right eye",
        "lower half": "a rectangle round the middle of the mouth's corners, twice as wide",
        "square_px": PATCH * side,
        "above_the_eye_px": RAISED * side,
        "interpolation": "bilinear, from the crop; its border is repeated",
    }


def _network_metadata(spec: Any, stored: Mapping[str, Any]) -> dict[str, Any]:
    if spec.sha256 != stored["model_sha256"]:
        raise UserError(
            f"data/appearance comes from another network than {spec.path.name}: run `dvc repro`"
        )
    scale = normalization(spec)
    return {
        "sha256": spec.sha256,
        # of the fine-tuned weights; None: the file's own
        "tuned_sha256": stored.get("tuned_sha256"),
        "color": scale.color,
        "mean": list(scale.mean),
        "std": list(scale.std),
        "map_tensor": stored["map_tensor"],
        "map_shape": stored["map_shape"],
        "embedding_dim": stored["embedding_dim"],
    }
