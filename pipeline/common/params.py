"""Every setting of `params.yaml`, its default and its range; `params_file` reads the file."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Probability = Annotated[float, Field(ge=0.0, lt=1.0)]
Positive = Annotated[int, Field(ge=1)]
NonNegative = Annotated[int, Field(ge=0)]


class Section(BaseModel):
    """A strict block of settings: frozen, no unknown keys, no silent conversion of types."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


class DemoParams(Section):
    """The rendered demo data set; it has effect with `dataset.name: demo` only."""

    subjects: Annotated[int, Field(ge=4, le=500)] = 12
    clips_per_class: Positive = 3
    frame_px: Annotated[int, Field(ge=96, le=1024, multiple_of=2)] = 256
    fps: Annotated[float, Field(ge=5, le=60)] = 25.0
    seed: NonNegative = 0


# the only list of them: `datasets.base.ADAPTERS` derives the modules from it
DatasetName = Literal[
    "demo",
    "csv",
    "folder",
    "rml",
    "afew",
    "affwild2",
    "dfew",
    "ferv39k",
    "mafw",
    "ckplus",
    "oulu_casia",
    "ravdess",
    "cremad",
    "enterface05",
    "savee",
    "baum1",
    "bp4d",
    "bp4dplus",
    "disfa",
    "disfaplus",
]


class CorpusParams(Section):
    """One of several data sets: an entry of `dataset.train_on` or `dataset.test_on`."""

    name: DatasetName
    root: str
    manifest: str | None = None
    variant: str | None = None


class DatasetParams(Section):
    """Which clips, with which labels, split how; `auto` is the data set's own protocol."""

    name: Literal[DatasetName, "cross"] = "demo"
    root: str | None = None
    manifest: str | None = None
    variant: str | None = None
    image_fps: Annotated[float, Field(gt=0.0, le=1000.0)] = 25.0
    follow_links: bool = False
    classes: Literal["auto"] | Annotated[list[str], Field(min_length=2)] = "auto"
    exclude: list[str] = []
    map: dict[str, str | None] = {}
    unmapped: Literal["error", "drop"] = "error"
    leaks: Literal["error", "drop"] = "error"
    train_on: list[CorpusParams] = []
    test_on: list[CorpusParams] = []
    protocol: Literal["auto", "holdout", "kfold", "loso", "official"] = "auto"
    group_by: Literal["auto", "subject", "group", "clip"] = "auto"
    folds: Literal["auto"] | Annotated[int, Field(ge=2, le=100)] = "auto"
    test_fraction: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.25
    val_fraction: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.2
    seed: NonNegative = 0
    demo: DemoParams = DemoParams()

    @model_validator(mode="after")
    def _needs(self) -> DatasetParams:
        if self.name == "cross":
            if not (self.train_on and self.test_on):
                raise ValueError(
                    "dataset.name: cross needs dataset.train_on and dataset.test_on: lists of "
                    "data sets, each {name: ..., root: ...}"
                )
        elif self.train_on or self.test_on:
            raise ValueError(
                "dataset.train_on and dataset.test_on have effect with dataset.name: cross only"
            )
        elif self.name != "demo" and not self.root:
            raise ValueError(f"dataset.root must be set for dataset.name: {self.name}")
        named = [(one.name, one.manifest) for one in (*self.train_on, *self.test_on)]
        for name, manifest in [(self.name, self.manifest), *named]:
            if name == "csv" and not manifest:
                raise ValueError("dataset.manifest must name the csv file for dataset.name: csv")
        if self.classes != "auto" and len(set(self.classes)) != len(self.classes):
            raise ValueError("dataset.classes names a class twice")
        return self


class DecodeParams(Section):
    """Which frames of a clip are sampled."""

    backend: Literal["auto", "decord", "pyav"] = "auto"
    sampling: Literal["uniform", "fps", "all"] = "uniform"
    frames: Positive = 16
    fps: Annotated[float, Field(gt=0.0, le=240.0)] = 5.0
    max_side: Annotated[int, Field(ge=64)] | None = None
    jpeg_quality: Annotated[int, Field(ge=50, le=100)] = 95


class FacesParams(Section):
    """Which networks find, landmark and describe faces."""

    pack: Annotated[str, Field(min_length=1)] = "demo"
    source: Literal["detect", "aligned"] = "detect"
    landmarks: Literal["pack", "provided"] = "pack"
    device: Literal["auto", "cpu", "cuda"] = "auto"


class AlignParams(Section):
    """Finding the clip's face and turning it upright."""

    det_px: Annotated[int, Field(ge=64, multiple_of=32)] | Literal["pack"] = "pack"
    det_thresh: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.5
    pad_retry: Annotated[float, Field(ge=0.0, le=2.0)] = 0.5
    full_every: Positive = 100
    first_scale: Annotated[float, Field(ge=0.25, le=1.0)] = 0.5
    max_interpolation_s: Annotated[float, Field(ge=0.0, le=0.5)] = 0.14
    main_face: Literal["longest", "largest", "center"] = "longest"
    track_iou: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.3
    min_face_px: NonNegative = 0


# in `pretrain.stills`, in the place of a folder: rendered people who occur nowhere else in the demo
RENDERED = "demo"


class PretrainParams(Section):
    """Training a vision transformer on unlabeled crops, as a masked autoencoder."""

    enabled: bool = False
    arch: Literal[
        "vit_tiny_patch16_224",
        "vit_small_patch16_224",
        "vit_base_patch16_224",
        "vit_large_patch16_224",
    ] = "vit_tiny_patch16_224"
    # sides of patches are 16 pixels
    input_px: Annotated[int, Field(ge=32, le=448, multiple_of=16)] = 112
    clips: bool = True
    stills: list[Annotated[str, Field(min_length=1)]] = []
    subjects: Annotated[int, Field(ge=4, le=10_000)] = 150
    aligned: Literal["auto", "yes", "no"] = "auto"
    mask_ratio: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.75
    decoder_width: Annotated[int, Field(ge=16, le=1024, multiple_of=4)] = 128
    decoder_layers: Annotated[int, Field(ge=1, le=16)] = 4
    decoder_heads: Positive = 4
    steps: Annotated[int, Field(ge=100, multiple_of=100)] = 4000
    batch: Annotated[int, Field(ge=2)] = 64
    lr: Annotated[float, Field(gt=0.0, le=1.0)] = 1.5e-3
    weight_decay: Annotated[float, Field(ge=0.0, le=1.0)] = 0.05
    warmup: Fraction = 0.05
    crop: Annotated[float, Field(gt=0.0, le=1.0)] = 0.2
    flip: Probability = 0.5
    seed: NonNegative = 0
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["auto", "32-true", "bf16-mixed"] = "auto"

    @model_validator(mode="after")
    def _fits_together(self) -> PretrainParams:
        if self.enabled and not self.clips and not self.stills:
            raise ValueError(
                "pretrain.clips: false needs folders of images in pretrain.stills: there is "
                "nothing else to learn from"
            )
        if self.decoder_width % self.decoder_heads:
            raise ValueError(
                f"pretrain.decoder_heads: {self.decoder_heads} does not divide "
                f"pretrain.decoder_width: {self.decoder_width}"
            )
        patches = (self.input_px // 16) ** 2
        if not 0 < int(patches * (1 - self.mask_ratio)) < patches:
            raise ValueError(
                f"pretrain.mask_ratio: {self.mask_ratio} of the {patches} patches of "
                f"pretrain.input_px: {self.input_px} leaves none to see, or none to draw"
            )
        return self


class FinetuneParams(Section):
    """Training the appearance network on labeled stills before features are taken."""

    enabled: bool = False
    dataset: Literal["demo", "folder", "fer2013", "rafdb", "affectnet", "emotionet"] = "demo"
    root: str | None = None
    subjects: Annotated[int, Field(ge=4, le=10_000)] = 150
    aligned: Literal["auto", "yes", "no"] = "auto"
    layers: Annotated[str, Field(pattern=r"^(all|head|last-[1-9][0-9]?)$")] = "last-3"
    views: Annotated[int, Field(ge=1, le=64)] = 3
    heads: Literal["embedding", "map", "both"] = "both"
    val_fraction: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.15
    epochs: Positive = 12
    batch: Annotated[int, Field(ge=2)] = 64
    lr: Annotated[float, Field(gt=0.0, le=1.0)] = 3e-4
    head_lr: Annotated[float, Field(gt=0.0, le=1.0)] = 3e-3
    weight_decay: Annotated[float, Field(ge=0.0, le=1.0)] = 1e-2
    warmup: Fraction = 0.05
    label_smoothing: Probability = 0.1
    class_weights: Literal["none", "balanced", "sqrt"] = "sqrt"
    train_norms: bool = False
    layer_decay: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0
    drop_path: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    flip: Probability = 0.5
    crop: Annotated[float, Field(ge=0.0, le=0.5)] = 0.06
    color: Annotated[float, Field(ge=0.0, le=1.0)] = 0.3
    erase: Probability = 0.2
    seed: NonNegative = 0
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["auto", "32-true", "bf16-mixed"] = "auto"

    @model_validator(mode="after")
    def _needs(self) -> FinetuneParams:
        if self.enabled and self.dataset != "demo" and not self.root:
            raise ValueError(f"finetune.root must be set for finetune.dataset: {self.dataset}")
        if self.layers == "head" and self.heads == "map":
            raise ValueError(
                "finetune.layers: head trains what follows the map, of which finetune.heads: map "
                "learns nothing: set finetune.heads to embedding or both, or finetune.layers to "
                "last-3 or all"
            )
        return self


class AppearanceParams(Section):
    """The CNN (`batch`), of which views of a face, and what the appearance branch sees of each."""

    batch: Positive = 16
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    views: list[Literal["face", "parts"]] = ["face"]
    vector: Literal["embedding", "map", "both"] = "map"

    @model_validator(mode="after")
    def _begins_with_the_face(self) -> AppearanceParams:
        if self.views not in (["face"], ["face", "parts"]):
            raise ValueError(
                f"appearance.views: [{', '.join(self.views)}] is neither [face] nor [face, parts]"
            )
        return self

    @property
    def dual(self) -> bool:
        """Whether there is an auxiliary view."""
        return len(self.views) > 1


class ViewsParams(Section):
    """How the two views of `appearance.views: [face, parts]` are fused."""

    fusion: Literal["attention", "mean", "concat"] = "attention"


class GraphParams(Section):
    """Where the facial regions lie and which of them are joined."""

    regions: Literal["grid", "landmark"] = "grid"
    grid: Annotated[int, Field(ge=2, le=14)] = 7
    neighborhood: Literal[4, 8] = 4
    max_yaw: Annotated[float, Field(gt=0.0, le=90.0)] | None = None


class ABRNetParams(Section):
    """ABRNet's parts, each a switch; they have effect with `relation.head: abrnet` only."""

    pool: Literal["attention", "mean"] = "attention"
    relations: Literal["matrix", "attention"] = "matrix"
    layers: Annotated[int, Field(ge=0, le=16)] = 4
    fuse: bool = True
    dropout: Probability = 0.1


class RelationParams(Section):
    """The relation branch: graph attention over the regions of a frame."""

    # or the name of a class of torch_geometric.nn: checked in `Params`
    conv: Literal["gat", "gatv2"] | str = "gat"
    conv_args: dict[str, Any] = {}
    layers: Annotated[int, Field(ge=0, le=8)] = 2
    heads: Positive = 4
    edges: list[Literal["adjacent", "symmetric"]] = ["adjacent", "symmetric"]
    position: Literal["none", "learned", "coordinates", "both"] = "learned"
    readout: Literal["mean", "attention", "flatten"] = "flatten"
    dropout: Probability = 0.1
    head: Literal["none", "abrnet"] = "none"
    abrnet: ABRNetParams = ABRNetParams()


class FusionParams(Section):
    """The parallel graph attention fusion of the two sequences."""

    mode: Literal["parallel", "concat", "add", "cross", "serial", "appearance", "relation"] = (
        "parallel"
    )
    width: Annotated[int, Field(ge=8, le=2048)] = 64
    layers: Annotated[int, Field(ge=1, le=8)] = 2
    heads: Positive = 4
    window: NonNegative | None = 2
    window_cross: NonNegative | None = 2
    position: Literal["sinusoidal", "learned", "none"] = "sinusoidal"
    conv: Literal["gat", "gatv2", "dot"] = "gat"
    feed_forward: bool = True
    share_weights: bool = False
    dropout: Probability = 0.1
    head_dropout: Probability = 0.3


KindName = Literal["expression", "action_units", "intensity", "valence_arousal"]
# the losses of each task; the first is that of `auto`
LOSSES = {
    "expression": ("cross_entropy",),
    "action_units": ("bce", "asymmetric"),
    "intensity": ("mse", "ccc"),
    "valence_arousal": ("ccc", "mse"),
}
# the tasks on action units
UNIT_KINDS = ("action_units", "intensity")


class TaskParams(Section):
    """What is learned and predicted; nothing before the train stage depends on it."""

    kind: KindName = "expression"
    targets: Literal["auto"] | Annotated[list[str], Field(min_length=1)] = "auto"
    loss: Literal["auto", "cross_entropy", "bce", "asymmetric", "mse", "ccc"] = "auto"
    relation_loss: Annotated[float, Field(ge=0.0, le=100.0)] = 0.0
    also: list[KindName] = []
    also_weight: Annotated[float, Field(gt=0.0, le=100.0)] = 0.5

    @model_validator(mode="after")
    def _fits_the_kind(self) -> TaskParams:
        if self.loss not in ("auto", *LOSSES[self.kind]):
            raise ValueError(
                f"task.loss: {self.loss} is not a loss of task.kind: {self.kind}; it has "
                f"{', '.join(LOSSES[self.kind])}"
            )
        if self.relation_loss and self.kind != "action_units":
            raise ValueError(
                f"task.relation_loss is about action units: with task.kind: {self.kind} it must "
                "be 0"
            )
        if self.targets != "auto" and self.kind == "expression":
            raise ValueError(
                "task.targets has no effect with task.kind: expression, which learns "
                "dataset.classes"
            )
        if self.targets != "auto" and len(set(self.targets)) != len(self.targets):
            raise ValueError("task.targets names a target twice")
        if self.kind in self.also:
            raise ValueError(
                f"task.also has {self.kind}, which task.kind learns already: leave it out there"
            )
        if len(set(self.also)) != len(self.also):
            raise ValueError("task.also names a task twice")
        return self

    def deciding(self) -> dict[str, Any]:
        """Return the settings that decide a run's weights beside its labels; those of further tasks
        where there are some, so that a run of one task is described as before there were."""
        further = set() if self.also else {"also", "also_weight"}
        return self.model_dump(exclude={"targets", *further})

    @property
    def loss_name(self) -> str:
        """The loss that is used."""
        return LOSSES[self.kind][0] if self.loss == "auto" else self.loss


class TrainParams(Section):
    """Optimisation; `folds: all` or a list of fold numbers, every one with every seed."""

    folds: Literal["all"] | Annotated[list[NonNegative], Field(min_length=1)] = "all"
    seeds: Annotated[list[NonNegative], Field(min_length=1)] = [0, 1]
    frames: Positive | None = 8
    offsets: Positive = 1
    window: Positive = 32
    stride: Positive = 16
    select: Literal["auto", "uar", "macro_f1"] = "auto"
    epochs: Positive = 25
    min_steps: Positive = 150
    patience: Positive = 10
    refit: bool | Literal["auto"] = "auto"
    batch: Positive = 32
    lr: Annotated[float, Field(gt=0.0, le=1.0)] = 4e-3
    weight_decay: Annotated[float, Field(ge=0.0, le=1.0)] = 1e-2
    warmup: Fraction = 0.05
    label_smoothing: Probability = 0.1
    class_weights: Literal["none", "balanced", "sqrt"] = "sqrt"
    average: Annotated[float, Field(ge=0.0, le=0.5)] = 0.13
    grad_clip: Annotated[float, Field(gt=0.0)] = 1.0
    flip: Probability = 0.5
    feature_noise: Literal["auto"] | Annotated[float, Field(ge=0.0, le=5.0)] = "auto"
    frame_drop: Probability = 0.1
    device: Literal["auto", "cpu", "cuda"] = "auto"
    devices: Positive = 1
    threads: Positive = 1
    precision: Literal["auto", "32-true", "bf16-mixed"] = "auto"

    @model_validator(mode="after")
    def _windows_meet(self) -> TrainParams:
        if self.stride > self.window:
            raise ValueError(
                f"train.stride: {self.stride} is more than train.window: {self.window}; frames "
                "between two windows would never be seen"
            )
        return self


class EvaluateParams(Section):
    """How predictions become numbers."""

    missing: Literal["wrong", "skip"] = "wrong"
    bootstrap: Annotated[int, Field(ge=100, le=100_000)] = 2000
    confidence: Annotated[float, Field(gt=0.5, lt=1.0)] = 0.95
    calibrate: bool = True
    threshold: Literal["fixed", "validation"] = "fixed"
    smooth: Annotated[int, Field(ge=1, le=1001)] | Literal["auto"] = 1

    @model_validator(mode="after")
    def _has_a_middle(self) -> EvaluateParams:
        if self.smooth != "auto" and self.smooth % 2 == 0:
            raise ValueError(
                f"evaluate.smooth: {self.smooth} is even; a window with a frame in its middle has "
                f"an odd number of frames, such as {self.smooth + 1}"
            )
        return self


class ReportParams(Section):
    """What the page shows."""

    faces: Annotated[int, Field(ge=4, le=200)] = 24


class EngineParams(Section):
    """How the per-clip work is run; nothing here can change a result."""

    name: Literal["local", "ray"] = "local"
    address: str = ""
    workers: Positive | Literal["auto"] = "auto"
    gpus_per_worker: Annotated[float, Field(ge=0.0)] = 0.0
    worker_memory_mb: Positive = 600
    clip_timeout_s: Annotated[float, Field(gt=0.0)] = 3600.0
    max_bad: Fraction = 0.5


class Params(Section):
    """Everything in `params.yaml`."""

    dataset: DatasetParams = DatasetParams()
    decode: DecodeParams = DecodeParams()
    faces: FacesParams = FacesParams()
    align: AlignParams = AlignParams()
    pretrain: PretrainParams = PretrainParams()
    finetune: FinetuneParams = FinetuneParams()
    appearance: AppearanceParams = AppearanceParams()
    views: ViewsParams = ViewsParams()
    graph: GraphParams = GraphParams()
    relation: RelationParams = RelationParams()
    fusion: FusionParams = FusionParams()
    task: TaskParams = TaskParams()
    train: TrainParams = TrainParams()
    evaluate: EvaluateParams = EvaluateParams()
    report: ReportParams = ReportParams()
    engine: EngineParams = EngineParams()

    @property
    def view_fusion(self) -> Literal["attention", "mean", "concat"] | None:
        """How two views of a face are fused; None: there is one."""
        return self.views.fusion if self.appearance.dual else None

    @model_validator(mode="after")
    def _fits_together(self) -> Params:
        for name, heads in (("relation", self.relation.heads), ("fusion", self.fusion.heads)):
            if self.fusion.width % heads:
                raise ValueError(
                    f"{name}.heads: {heads} does not divide fusion.width: {self.fusion.width}"
                )
        if self.view_fusion == "attention" and self.appearance.vector == "embedding":
            raise ValueError(
                "views.fusion: attention reads the maps of both views: set appearance.vector to "
                "map or both, or views.fusion to mean or concat"
            )
        relation = self.relation
        if relation.conv not in ("gat", "gatv2") or relation.conv_args:
            # torch and torch_geometric take 3 s, which only who asks for them waits for
            from arpgnet.models.arpgnet import try_relation_conv

            # here, and not after the stages before training
            width, heads = self.fusion.width, relation.heads
            try_relation_conv(relation.conv, relation.conv_args, width=width, heads=heads)
        if self.relation.head == "abrnet":
            if self.task.kind not in UNIT_KINDS:
                raise ValueError(
                    "relation.head: abrnet is a head of action units: with task.kind: "
                    f"{self.task.kind} it must be none"
                )
            if self.fusion.mode == "appearance":
                raise ValueError(
                    "relation.head: abrnet has no effect with fusion.mode: appearance, which has "
                    "no relation branch"
                )
        if self.task.kind != "expression" and self.train.select != "auto":
            raise ValueError(
                f"train.select: {self.train.select} is a score of classes: with task.kind: "
                f"{self.task.kind} it must be auto"
            )
        return self
