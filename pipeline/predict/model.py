"""A trained network to predict with, and the settings that its inputs were computed with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from arpgnet.models.arpgnet import ARPGNet
from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.common.params import Params, TrainParams
from arpgnet.pipeline.common.params_file import PARAMS_FILE, load_params
from arpgnet.pipeline.geometry.regions import region_metadata, region_topology
from arpgnet.pipeline.networks.appearance import layout
from arpgnet.pipeline.networks.packs import ModelSpec, Pack, load_pack
from arpgnet.pipeline.networks.pretrained import pretrained
from arpgnet.pipeline.networks.sessions import OnnxGraph, open_graph
from arpgnet.pipeline.networks.tuned import tuned
from arpgnet.pipeline.predict.display import Display
from arpgnet.pipeline.publish.needs import median_s, sound_clips
from arpgnet.pipeline.report.location import CARD
from arpgnet.pipeline.tables.curves import RUNS
from arpgnet.pipeline.tables.manifest import MANIFEST, read_manifest
from arpgnet.pipeline.tables.predictions import EXPRESSION
from arpgnet.pipeline.tables.pretraining import PRETRAINED
from arpgnet.pipeline.tables.shards import INDEX, ShardReader
from arpgnet.pipeline.tables.thresholds import FIXED, THRESHOLDED
from arpgnet.pipeline.training.checkpoints import (
    ENSEMBLE,
    ensemble_runs,
    find_run,
    load_domain,
    load_run,
)
from arpgnet.pipeline.training.domain import Domain

BACKBONE = Path("artifacts/backbone")
RENDERED = (
    "This network was trained on rendered faces only: its predictions for videos of people mean "
    "nothing, however confident they are."
)


@dataclass(frozen=True)
class Model:
    """A run's network in evaluation mode, and everything between a video and its inputs.

    Attributes:
        name: of the run.
        info: from `load_run`: `classes`, `features`, `task`, the settings of training.
        params: of the stages before training.
        embedding: the appearance network, pre-trained and fine-tuned where the run's was.
        clip_s: median duration of the training clips, seconds; None where that is unknown.
        card: where the run's model card lies, if there is one.
        domain: of its training clips; None where an older version trained it.
        others: of an ensemble, the networks whose probabilities are averaged with those of
            `network`.
        copy: the folder of a copied run, which is deleted with this object.
        opened: the appearance network's graph, for the first who loads it and takes it out; so it
            is parsed once, and not held longer.
    """

    name: str
    network: ARPGNet
    info: dict[str, Any]
    params: Params
    pack: Pack
    embedding: ModelSpec
    clip_s: float | None
    card: Path
    domain: Domain | None = None
    others: tuple[ARPGNet, ...] = ()
    copy: TemporaryDirectory[str] | None = None
    opened: list[OnnxGraph] = field(default_factory=list, repr=False, compare=False)

    @property
    def classes(self) -> list[str]:
        return list(self.info["classes"])

    @property
    def kind(self) -> str:
        """What it predicts: `task.kind`."""
        return str(self.info.get("kind", EXPRESSION))

    @property
    def scale(self) -> str:
        """Say in a line what the columns of values are; empty: probabilities of classes."""
        return self.displays[0].scale

    @property
    def displays(self) -> list[Display]:
        """How the values of each task are shown, the main one's first."""
        main = Display(self.kind, self.classes, self.info.get("thresholds", ()))
        also = (
            Display(one["kind"], one["outputs"], one.get("thresholds", ()))
            for one in self.info.get("also", [])
        )
        return [main, *also]

    @property
    def also(self) -> dict[str, list[str]]:
        """The outputs of each further task, by its kind."""
        return {one.kind: list(one.names) for one in self.displays[1:]}

    @property
    def thresholds(self) -> dict[str, float]:
        """From which probability on each action unit counts as present, by its name."""
        return {
            name: least
            for one in self.displays
            if one.kind == THRESHOLDED
            for name, least in zip(one.names, one.present or (), strict=True)
        }

    @property
    def warning(self) -> str:
        """Say what the network must not be used for; empty where nothing is known against it."""
        rendered = self.info.get("origin", {}).get("faces") == "rendered"
        return RENDERED if rendered else ""

    @property
    def of_frames(self) -> bool:
        """Whether it was trained on labeled frames, and not on labeled clips."""
        return bool(self.info["task"] == "frame")

    @property
    def frame_tasks(self) -> list[bool]:
        """Which of its tasks are of frames, the main one first."""
        own = self.info["task"]
        also = [one.get("task", own) for one in self.info.get("also", [])]
        return [task == "frame" for task in (own, *also)]

    @property
    def frame_outputs(self) -> np.ndarray:
        """Which of its outputs are of frames, those of further tasks last: bool [K + J]."""
        also = self.info.get("also", [])
        widths = [len(self.classes), *(len(one["outputs"]) for one in also)]
        return np.repeat(self.frame_tasks, widths)

    @property
    def mixed(self) -> bool:
        """Whether it has outputs of clips and outputs of frames."""
        return bool(self.frame_outputs.any()) and not self.frame_outputs.all()

    @property
    def smooth(self) -> int:
        """Over how many video frames the predictions of frames are smoothed; 1: they are not."""
        return int(self.info.get("smoothing", {}).get("length", 1))

    @property
    def views(self) -> TrainParams:
        """Settings of the views; `frames` is T of the longest view of clips in training."""
        trained = self.info["params"]["train"]
        longest = self.info["network"]["fusion"]["max_frames"]
        return TrainParams.model_validate(
            {name: trained[name] for name in ("offsets", "window", "stride")}
            | {"frames": self.info.get("views", {}).get("clip", longest)}
        )


def load_model(root: Path = Path(), run: str | None = None) -> Model:
    """Load a run of a workspace, by default the one with the best validation score, or the
    ensemble of it and its fold's other seeds.

    Raises:
        UserError: there is no such run, the pack is not installed, or settings, pack or classes are
            not those that the run was trained with.
    """
    params = load_params(root / PARAMS_FILE)
    name, *others = ensemble_runs(root) if run == ENSEMBLE else [find_run(run, root)]
    model = assemble(
        name,
        root / RUNS / name,
        params,
        root / BACKBONE,
        clip_s=median_s(sound_clips(root)),
        card=root / CARD,
    )
    if others:
        networks, infos = zip(*(load_run(root / RUNS / other) for other in others), strict=True)
        together = f"{ENSEMBLE} of {', '.join(sorted([name, *others]))}"
        info = with_mean_thresholds([model.info, *infos])
        model = replace(model, name=together, others=networks, info=info)
    _check_data(name, params, model.embedding, root)
    if model.kind == EXPRESSION and (root / MANIFEST).is_file():
        classes = read_manifest(root / MANIFEST).classes
        if classes != model.classes:
            raise UserError(
                f"{name} was trained on the classes {', '.join(model.classes)}, "
                f"{root / MANIFEST} has {', '.join(classes)}: run `dvc repro train`"
            )
    return model


def with_mean_thresholds(infos: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the first run's metadata, with the mean of the thresholds of all, task by task."""
    found = dict(infos[0])
    if "also" in found:
        tasks = zip(*(info["also"] for info in infos), strict=True)
        found["also"] = [with_mean_thresholds(task) for task in tasks]
    if any("thresholds" in info for info in infos):
        fixed = [FIXED] * len(found.get("outputs", found.get("classes", ())))
        thresholds = np.array([info.get("thresholds", fixed) for info in infos])
        found["thresholds"] = thresholds.mean(axis=0).tolist()
    return found


def assemble(
    name: str, folder: Path, params: Params, backbone: Path, *, clip_s: float | None, card: Path
) -> Model:
    """Assemble the run whose weights are in `folder`, with the pack of the settings.

    Args:
        backbone: the folder of the finetune stage, or a copy of it; that of the pretrain stage
            lies beside it.

    Raises:
        UserError: as `load_model`.
    """
    network, info = load_run(folder)
    if params.faces.source != "detect" or params.faces.landmarks != "pack":
        raise UserError(
            f"{name} was trained on faces or landmarks provided by the data set, which a video "
            "does not have: train with faces.source: detect and faces.landmarks: pack"
        )
    pack = load_pack(params.faces.pack)
    encoder = backbone.with_name(PRETRAINED.name)
    own = pretrained(pack.models["embedding"], encoder, enabled=params.pretrain.enabled)
    embedding = tuned(own, backbone)
    opened = [open_graph(embedding)] if embedding.arch is None else []
    _check_features(name, info, params, embedding, *opened)
    domain = load_domain(folder)
    return Model(name, network, info, params, pack, embedding, clip_s, card, domain, opened=opened)


def features_metadata(
    params: Params, embedding: ModelSpec, opened: OnnxGraph | None = None
) -> dict[str, Any]:
    """Return what a run with these settings says of its features.

    Args:
        opened: the appearance network's graph, if it is open.
    """
    output, graph = layout(embedding, opened), params.graph
    topology = region_topology(graph.regions, graph.grid, graph.neighborhood)
    return {
        "embedding_dim": output.embedding_dim,
        "map_shape": list(output.map_shape),
        **region_metadata(graph.regions, topology),
        **({"views": params.view_fusion} if params.view_fusion else {}),
    }


def _check_features(
    name: str,
    info: dict[str, Any],
    params: Params,
    embedding: ModelSpec,
    opened: OnnxGraph | None = None,
) -> None:
    """Check that the settings give the inputs that the network takes."""
    now = features_metadata(params, embedding, opened)
    keys = dict.fromkeys([*now, "views"])
    unlike = [key for key in keys if info["features"].get(key) != now.get(key)]
    if unlike:
        raise UserError(
            f"{name} was trained with another faces.pack, views or graph than params.yaml has now "
            f"({', '.join(unlike)}): restore the settings, or run `dvc repro`"
        )


def _check_data(name: str, params: Params, embedding: ModelSpec, root: Path) -> None:
    """Check that the training data, if it is still there, was computed with these settings."""
    frames, appearance = root / "data/frames", root / "data/appearance"
    if (frames / INDEX).is_file():
        known = ShardReader(frames).metadata["decode"]
        if known != params.decode.model_dump(mode="json"):
            raise UserError(
                f"the decode settings changed since {name} was trained: run `dvc repro`"
            )
    if (appearance / INDEX).is_file():
        metadata = ShardReader(appearance).metadata
        theirs = metadata["model_sha256"], metadata.get("tuned_sha256")
        if theirs != (embedding.sha256, embedding.weights_sha256):
            raise UserError(
                f"{name} was trained with another appearance network than {embedding.path}: "
                "restore faces.pack, or run `dvc repro`"
            )
