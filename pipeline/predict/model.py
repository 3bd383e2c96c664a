"""A trained network to predict with, and the settings that its inputs were made with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from models.arpgnet import ARPGNet
from pipeline.clips import MANIFEST, OK, Clip, read_manifest
from pipeline.config import PARAMS_FILE, Params, TrainParams, load_params
from pipeline.errors import UserError
from pipeline.export.write import find_run
from pipeline.faces.appearance import layout
from pipeline.faces.packs import ModelSpec, Pack, load_pack
from pipeline.faces.tuned import tuned
from pipeline.regions.graph_clip import region_topology
from pipeline.shards import INDEX, ShardReader
from pipeline.train.checkpoints import load_run
from pipeline.train.curves import RUNS

BACKBONE = Path("artifacts/backbone")


@dataclass(frozen=True)
class Model:
    """A run's network in evaluation mode, and all that lies between a video and its inputs.

    Attributes:
        name: of the run.
        info: what `load_run` tells: `classes`, `features`, `task`, the settings of training.
        params: of the stages before training.
        embedding: the appearance network, fine-tuned where the run's was.
        clip_s: median duration of the training clips, seconds; None where that is unknown.
    """

    name: str
    network: ARPGNet
    info: dict[str, Any]
    params: Params
    pack: Pack
    embedding: ModelSpec
    clip_s: float | None

    @property
    def classes(self) -> list[str]:
        return list(self.info["classes"])

    @property
    def of_frames(self) -> bool:
        """Whether it was trained on labelled frames, and not on labelled clips."""
        return bool(self.info["task"] == "frame")

    @property
    def views(self) -> TrainParams:
        """What is shown to the network together; `frames` is T of the longest view in training."""
        trained = self.info["params"]["train"]
        return TrainParams.model_validate(
            {name: trained[name] for name in ("offsets", "window", "stride")}
            | {"frames": self.info["network"]["fusion"]["max_frames"]}
        )


def load_model(root: Path = Path(), run: str | None = None) -> Model:
    """A run of a workspace, by default the best one by validation.

    Raises:
        UserError: there is no such run, the pack is not here, or settings, pack or classes are not
            those that the run was trained with.
    """
    params = load_params(root / PARAMS_FILE)
    name = find_run(run, root)
    network, info = load_run(root / RUNS / name)
    if params.faces.source != "detect" or params.faces.landmarks != "pack":
        raise UserError(
            f"{name} was trained on faces or landmarks of the data set's own, a video has none: "
            "train with faces.source: detect and faces.landmarks: pack"
        )
    pack = load_pack(params.faces.pack)
    embedding = tuned(pack.models["embedding"], root / BACKBONE)
    _check_features(name, info, params, embedding)
    _check_data(name, params, embedding, root)
    clips, classes = _clips(root)
    if classes is not None and classes != info["classes"]:
        raise UserError(
            f"{name} was trained on the classes {', '.join(info['classes'])}, "
            f"{root / MANIFEST} has {', '.join(classes)}: run `dvc repro train`"
        )
    return Model(name, network, info, params, pack, embedding, _median_s(clips))


def _check_features(name: str, info: dict[str, Any], params: Params, embedding: ModelSpec) -> None:
    """What the settings give must be what the network takes."""
    out, graph = layout(embedding), params.graph
    topology = region_topology(graph.regions, graph.grid, graph.neighbourhood)
    now = {
        "embedding_dim": out.embedding_dim,
        "map_shape": list(out.map_shape),
        "regions": graph.regions,
        "names": list(topology.names),
        "edges": [list(edge) for edge in topology.edges],
        "edge_types": list(topology.edge_types),
    }
    unlike = [key for key, value in now.items() if info["features"].get(key) != value]
    if unlike:
        raise UserError(
            f"{name} was trained with another faces.pack or graph than params.yaml names now "
            f"({', '.join(unlike)}): set them back, or run `dvc repro`"
        )


def _check_data(name: str, params: Params, embedding: ModelSpec, root: Path) -> None:
    """Where the data of the training is still there, it was made with these settings."""
    frames, appearance = root / "data/frames", root / "data/appearance"
    if (frames / INDEX).is_file():
        known = ShardReader(frames).facts["decode"]
        if known != params.decode.model_dump(mode="json"):
            raise UserError(f"decode was changed since {name} was trained: run `dvc repro`")
    if (appearance / INDEX).is_file():
        facts = ShardReader(appearance).facts
        theirs = facts["model_sha256"], facts.get("tuned_sha256")
        if theirs != (embedding.sha256, embedding.weights_sha256):
            raise UserError(
                f"{name} was trained with another appearance network than {embedding.path}: "
                "set faces.pack back, or run `dvc repro`"
            )


def _clips(root: Path) -> tuple[list[Clip], list[str] | None]:
    if not (root / MANIFEST).is_file():
        return [], None
    manifest = read_manifest(root / MANIFEST)
    return [clip for clip in manifest.clips if clip.status == OK], manifest.classes


def _median_s(clips: list[Clip]) -> float | None:
    """Median duration in seconds."""
    lengths = []
    for clip in clips:
        whole = clip.duration_s
        if whole is None and clip.frames and clip.fps:
            whole = clip.frames / clip.fps
        end = whole if clip.end_s is None else clip.end_s
        if end is not None:
            lengths.append(end - (clip.start_s or 0.0))
    return float(np.median(lengths)) if lengths else None
