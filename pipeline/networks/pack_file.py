"""What a `pack.yaml` says of a face pack and its networks.

The embedding network may be a checkpoint of torch or safetensors instead of an ONNX file, with the
name of its architecture as `arch`.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Annotated, Literal

from pydantic import (
    AliasChoices,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from arpgnet.pipeline.common.errors import UserError

Role = Literal["detector", "landmark", "embedding"]
Kind = Literal["scrfd", "yunet", "2d106", "pfld98", "68", "arcface"]
ROLES: tuple[Role, ...] = ("detector", "landmark", "embedding")
KINDS: dict[Role, tuple[Kind, ...]] = {
    "detector": ("scrfd", "yunet"),
    "landmark": ("2d106", "pfld98", "68"),
    "embedding": ("arcface",),
}
SCHEMES: dict[Kind, str] = {"2d106": "106", "pfld98": "98", "68": "68"}
INPUT_PX: dict[Kind, int] = {
    "scrfd": 640,
    "yunet": 640,
    "2d106": 192,
    "pfld98": 112,
    "68": 192,
    "arcface": 112,
}
PACK_FILE = "pack.yaml"
CHECKPOINTS = frozenset({".pt", ".pth", ".safetensors"})
# vision transformers, by the prefix of their names; sides of their crops are multiples of a patch
VIT, VIT_PX, PATCH_PX = "vit_", 224, 16

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Channels = tuple[float, float, float]


# pack.yaml is also read in British spelling: users' packs of earlier versions have it
BRITISH = {"color": "colour", "license": "licence"}


def _either(field: str) -> AliasChoices:
    return AliasChoices(field, BRITISH[field])


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ModelEntry(_Strict):
    """One network as `pack.yaml` describes it; the image becomes `(x - mean) / std`, x in 0..255.

    `mean` and `std` are one number or one per channel in the order of `color`. Left out, they
    are what InsightFace's class reads off the graph, and of a vision transformer those of its
    family; `pool` says what its embedding is. A detector is fed as its kind asks.
    """

    file: str
    sha256: Sha256
    kind: Kind
    arch: str | None = None
    bytes: Annotated[int, Field(gt=0)] | None = None
    url: str | None = None
    input_px: Annotated[int, Field(ge=32, le=4096)] | None = None
    color: Annotated[Literal["rgb", "bgr"], Field(validation_alias=_either("color"))] = "rgb"
    mean: Channels | None = None
    std: Channels | None = None
    map_tensor: str | None = None
    map_shape: tuple[int, int, int] | None = None
    embedding_dim: Annotated[int, Field(gt=0)] | None = None
    pool: Literal["mean", "token"] | None = None
    interpolate_positions: bool = False

    @property
    def side(self) -> int:
        """Pixels of a side of the network's input."""
        return self.input_px or (VIT_PX if self.is_vit else INPUT_PX[self.kind])

    @property
    def is_vit(self) -> bool:
        """Whether the network is a vision transformer."""
        return self.arch is not None and self.arch.startswith(VIT)

    @field_validator("file")
    @classmethod
    def _stays_inside(cls, file: str) -> str:
        path = PurePosixPath(file)
        if path.is_absolute() or ".." in path.parts or "\\" in file or ":" in file:
            raise ValueError(f"'{file}' leaves the pack's folder; name a file inside it")
        return file

    @field_validator("mean", "std", mode="before")
    @classmethod
    def _one_or_three(cls, value: object) -> object:
        return (value, value, value) if isinstance(value, int | float) else value

    @model_validator(mode="after")
    def _both_or_none(self) -> ModelEntry:
        if (self.mean is None) != (self.std is None):
            raise ValueError("mean and std are given together or not at all")
        if self.std is not None and not all(s > 0 for s in self.std):
            raise ValueError("std must be above 0")
        return self

    @model_validator(mode="after")
    def _graph_or_checkpoint(self) -> ModelEntry:
        checkpoint = PurePosixPath(self.file).suffix in CHECKPOINTS
        if checkpoint and (self.arch is None or self.kind != "arcface"):
            raise ValueError(f"'{self.file}' needs kind: arcface and the name of its arch")
        if self.arch is not None and not checkpoint:
            raise ValueError(f"'{self.file}' is a graph and has no arch")
        if self.arch is not None and self.map_tensor is not None:
            raise ValueError(f"'{self.file}' is a checkpoint and has no map_tensor")
        return self

    @model_validator(mode="after")
    def _fits_architecture(self) -> ModelEntry:
        if not self.is_vit:
            if self.pool is not None or self.interpolate_positions:
                raise ValueError(
                    "pool and interpolate_positions need an arch that starts with vit_"
                )
            if self.arch is not None and self.side != INPUT_PX[self.kind]:
                raise ValueError(f"arch: {self.arch} takes {INPUT_PX[self.kind]} pixels only")
        elif self.side % PATCH_PX:
            raise ValueError(f"input_px: {self.side} is no multiple of {PATCH_PX}, arch's patches")
        return self


class Archive(_Strict):
    """A zip that holds a pack's files; `sha256` is a check beside those of the files in it."""

    url: str
    sha256: Sha256 | None = None


class PackEntry(_Strict):
    """`pack.yaml`, or one of the tables in `pipeline/networks/bundled/`."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    license: Annotated[str, Field(validation_alias=_either("license"))]
    notice: str
    url: str | None = None
    archive: Archive | None = None
    models: dict[Role, ModelEntry]

    @model_validator(mode="after")
    def _every_role(self) -> PackEntry:
        for role in ROLES:
            if role not in self.models:
                raise ValueError(f"models.{role} is missing")
            kind = self.models[role].kind
            if kind not in KINDS[role]:
                raise ValueError(
                    f"models.{role}.kind: '{kind}' is not one of {', '.join(KINDS[role])}"
                )
        return self


def read_entry(path: Path) -> PackEntry:
    """Read and validate a `pack.yaml`.

    Raises:
        UserError: it is not YAML, lacks or mistypes a field, or names a file outside its folder.
    """
    try:
        raw = YAML(typ="safe").load(path.read_text(encoding="utf-8"))
    except (YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None
    if not isinstance(raw, dict):
        raise UserError(f"{path} must hold a mapping with name, license, notice, url and models")
    try:
        return PackEntry.model_validate(raw)
    except ValidationError as error:
        lines = (_explain(item) for item in error.errors())
        raise UserError(f"{path}: " + "; ".join(lines)) from None


def _explain(item: object) -> str:
    """Return one pydantic error as `key: what is wrong`."""
    assert isinstance(item, dict)
    key = ".".join(str(part) for part in item["loc"])
    message = str(item["ctx"]["error"]) if item["type"] == "value_error" else item["msg"]
    return f"{key}: {message}" if key else message
