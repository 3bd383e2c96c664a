"""Face packs: which ONNX files find, landmark and describe faces, and on what terms.

A pack is a folder of ONNX files with a `pack.yaml`; the embedding network may be a checkpoint of
torch or safetensors instead, with the name of its architecture as `arch`. InsightFace's own
folders and the `open` pack need none: `pipeline/networks/bundled/<name>.yaml` knows their files
and sha256. Looked for in the folders of `ARPGNET_MODELS`, the user's cache, and
`~/.insightface/models`.
"""

from __future__ import annotations

import contextlib
import difflib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

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
from arpgnet.pipeline.common.user import cache_folder, expanded, home
from arpgnet.pipeline.networks.checkpoint_graph import graph_key, graph_of_checkpoint
from arpgnet.pipeline.store import file_sha256

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
BUNDLED = Path(__file__).resolve().parent / "bundled"

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
    are what InsightFace's class reads off the graph. A detector is fed as its kind asks.
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
                raise ValueError(f"arpgnet.models.{role} is missing")
            kind = self.models[role].kind
            if kind not in KINDS[role]:
                raise ValueError(
                    f"arpgnet.models.{role}.kind: '{kind}' is not one of {', '.join(KINDS[role])}"
                )
        return self


@dataclass(frozen=True)
class ModelSpec:
    """A network on disk and how to feed it; see `ModelEntry` for the preprocessing.

    `weights` are those of a fine-tuned network, which stand in the place of the graph's own. Of a
    checkpoint, `arch` is its network and `conversion` the identity of the graph it is made into.
    """

    role: Role
    path: Path
    sha256: str
    kind: Kind
    input_px: int
    color: Literal["rgb", "bgr"]
    mean: Channels | None
    std: Channels | None
    map_tensor: str | None
    map_shape: tuple[int, int, int] | None
    embedding_dim: int | None
    arch: str | None = None
    conversion: str | None = None
    weights: Path | None = None
    weights_sha256: str | None = None

    @property
    def identity(self) -> dict[str, Any]:
        """All that changes what the network gives, JSON-able; where its files lie does not."""
        elsewhere = {"role", "path", "weights"}
        return {
            item.name: getattr(self, item.name)
            for item in fields(self)
            if item.name not in elsewhere
        }

    def require_unchanged(self) -> None:
        """Read the file again, just before it is used.

        Raises:
            UserError: it is not the one that was described.
        """
        # a converted checkpoint lies in the store, under its identity
        if self.conversion is None and file_sha256(self.path) != self.sha256:
            raise UserError(f"{self.path} changed while it was in use: run `dvc repro` again")

    @property
    def scheme(self) -> str:
        """The landmark scheme, `"106"`, `"98"` or `"68"`; KeyError for other roles."""
        return SCHEMES[self.kind]


@dataclass(frozen=True)
class Pack:
    """A pack that is on this machine."""

    name: str
    folder: Path
    license: str
    notice: str
    url: str | None
    models: dict[Role, ModelSpec]


@dataclass(frozen=True)
class PackStatus:
    """What `arpgnet models list` says of a pack; `bytes` is what lies on disk."""

    name: str
    license: str
    present: bool
    folder: Path | None
    problems: list[str]
    bytes: int


def user_models_folder() -> Path:
    """Return where `arpgnet models fetch` puts packs: `models` in the user's cache."""
    return cache_folder("ARPGNET_MODELS to the folder with the packs") / "models"


def search_roots() -> list[Path]:
    """Return folders that may hold `<pack>/`, the first that does wins."""
    listed = [p for p in os.environ.get("ARPGNET_MODELS", "").split(os.pathsep) if p]
    roots = [expanded(p).resolve() for p in listed]
    with contextlib.suppress(UserError):
        roots.append(user_models_folder())
    insightface = home()
    return [*roots, insightface / ".insightface" / "models"] if insightface else roots


def known_entries() -> dict[str, PackEntry]:
    """Return the packs the project knows by name, `demo` among them once it is built."""
    bundled = [*BUNDLED.glob("*.yaml"), *BUNDLED.glob(f"*/{PACK_FILE}")]
    entries = [read_entry(path) for path in sorted(bundled)]
    return {entry.name: entry for entry in entries}


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


def load_pack(name_or_path: str, roles: Sequence[Role] = ROLES) -> Pack:
    """Find a pack by name or by the path of its folder, and check it.

    Every file must be there; the sha256 is checked for `roles`, the ones the caller will run.

    A checkpoint among them is brought into the form of a graph, once.

    Raises:
        UserError: unknown name, missing file, wrong sha256, or a bad `pack.yaml`; the line says
            what to do.
    """
    pack = describe_pack(name_or_path, roles)
    for role in roles:
        spec = pack.models[role]
        if spec.arch is not None:
            graph = graph_of_checkpoint(spec.path, spec.arch, spec.sha256)
            pack.models[role] = replace(spec, path=graph)
    return pack


def describe_pack(name_or_path: str, roles: Sequence[Role] = ROLES) -> Pack:
    """Return `load_pack`, with checkpoints left as they are.

    Raises:
        UserError: see `load_pack`.
    """
    entry, folder = _locate(name_or_path)
    if folder is None:
        raise UserError(_missing_line(entry))
    for role in roles:
        check_file(folder / entry.models[role].file, entry.models[role], entry.name)
    return _assemble(entry, folder)


def verify(name_or_path: str) -> list[str]:
    """Return everything wrong with a pack, one line each; empty when it is sound."""
    try:
        entry, folder = _locate(name_or_path)
    except UserError as error:
        return [str(error)]
    return [_missing_line(entry)] if folder is None else _problems(entry, folder)


def describe_all() -> list[PackStatus]:
    """List every pack known by name or found in the search folders, by name."""
    found = {entry.name: _status(entry, find_folder(entry)) for entry in known_entries().values()}
    for folder in _foreign_folders():
        if folder.name not in found:
            found[folder.name] = _foreign_status(folder)
    return [found[name] for name in sorted(found)]


def find_folder(entry: PackEntry) -> Path | None:
    """Return the first folder that holds all of a known pack's files, else None."""
    for root in [BUNDLED, *search_roots()]:
        folder = root / entry.name
        if all((folder / model.file).is_file() for model in entry.models.values()):
            return folder
    return None


def check_file(path: Path, entry: ModelEntry, pack: str) -> None:
    """Compare a file with its entry.

    Raises:
        UserError: its length or sha256 differs.
    """
    fault = find_fault(path, entry)
    if fault is not None:
        raise UserError(
            f"pack {pack}: {path} {fault}: the file is incomplete, damaged or another model; "
            f"delete it and run 'arpgnet models fetch {pack} --accept-license', or describe your "
            f"own models in a {PACK_FILE}"
        )


def find_fault(path: Path, entry: ModelEntry) -> str | None:
    """Describe how a file differs from its entry, e.g. `has 10 bytes, expected 20`, or None."""
    length = path.stat().st_size
    if entry.bytes is not None and length != entry.bytes:
        return f"has {length} bytes, expected {entry.bytes}"
    found = remembered_sha256(path)
    if found != entry.sha256:
        return f"has sha256 {found}, expected {entry.sha256}"
    return None


def remembered_sha256(path: Path) -> str:
    """Return sha256 of a file; read again only when its length or modification time has changed."""
    stat = path.stat()
    return _sha256(path, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=64)
def _sha256(path: Path, length: int, mtime_ns: int) -> str:
    del length, mtime_ns
    return file_sha256(path)


def _locate(name_or_path: str) -> tuple[PackEntry, Path | None]:
    known = known_entries()
    if name_or_path in known:
        entry = known[name_or_path]
        return entry, find_folder(entry)
    folder = _folder_of(name_or_path)
    if folder is None:
        raise UserError(_unknown_line(name_or_path, known))
    entry = read_entry(folder / PACK_FILE)
    for model in entry.models.values():
        if not (folder / model.file).is_file():
            raise UserError(
                f"{folder / PACK_FILE} names {model.file}, which is not in {folder}: "
                "put the file there or correct the name"
            )
    return entry, folder


def _folder_of(name_or_path: str) -> Path | None:
    """Return the folder with a `pack.yaml` that a path, or a name in the search folders, means."""
    as_path = expanded(name_or_path)
    candidates = [as_path.resolve()]
    if as_path.name == name_or_path:
        candidates += [root / name_or_path for root in search_roots()]
    return next((folder for folder in candidates if (folder / PACK_FILE).is_file()), None)


def _unknown_line(name: str, known: dict[str, PackEntry]) -> str:
    if expanded(name).is_dir():
        return (
            f"faces.pack: the folder {name} holds no {PACK_FILE}; "
            "see pipeline/networks/bundled/demo for one"
        )
    names = sorted({*known, *(folder.name for folder in _foreign_folders())})
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"did you mean '{near[0]}'? " if near else ""
    return (
        f"faces.pack: unknown pack '{name}'; {hint}known: {', '.join(names)}, "
        f"or the path of a folder with a {PACK_FILE}"
    )


def _missing_line(entry: PackEntry) -> str:
    files = [model.file for model in entry.models.values()]
    partly = [root / entry.name for root in search_roots() if (root / entry.name).is_dir()]
    try:
        usual = user_models_folder()
    except UserError as error:
        if not search_roots():
            return f"pack {entry.name}: {error}"
        usual = search_roots()[0]
    folder = max(
        [usual / entry.name, *partly],
        key=lambda f: sum((f / file).is_file() for file in files),
    )
    missing = [file for file in files if not (folder / file).is_file()]
    return (
        f"pack {entry.name}: {', '.join(missing)} not found; put the "
        f"{'file' if len(missing) == 1 else 'files'} into {folder}, or run 'arpgnet models fetch "
        f"{entry.name} --accept-license' with a network; {_alternatives(entry.name)}"
    )


def _alternatives(name: str) -> str:
    demo = "'faces.pack: demo' needs no download"
    if name == "open":
        return demo
    return f"{demo} and 'faces.pack: open' is Apache-2.0"


def _assemble(entry: PackEntry, folder: Path) -> Pack:
    models: dict[Role, ModelSpec] = {}
    for role in ROLES:
        model = entry.models[role]
        models[role] = ModelSpec(
            role=role,
            path=folder / model.file,
            sha256=model.sha256,
            kind=model.kind,
            input_px=model.input_px or INPUT_PX[model.kind],
            color=model.color,
            mean=model.mean,
            std=model.std,
            map_tensor=model.map_tensor,
            map_shape=model.map_shape,
            embedding_dim=model.embedding_dim,
            arch=model.arch,
            conversion=None if model.arch is None else graph_key(model.arch, model.sha256),
        )
    return Pack(entry.name, folder, entry.license, entry.notice, entry.url, models)


def _problems(entry: PackEntry, folder: Path) -> list[str]:
    problems = []
    for model in entry.models.values():
        try:
            check_file(folder / model.file, model, entry.name)
        except UserError as error:
            problems.append(str(error))
    return problems


def _status(entry: PackEntry, folder: Path | None) -> PackStatus:
    if folder is None:
        return PackStatus(entry.name, entry.license, False, None, [_missing_line(entry)], 0)
    length = sum((folder / model.file).stat().st_size for model in entry.models.values())
    return PackStatus(entry.name, entry.license, True, folder, _problems(entry, folder), length)


def _foreign_folders() -> Iterator[Path]:
    """Yield folders with a `pack.yaml` of the user's own in the search folders."""
    for root in search_roots():
        yield from sorted(path.parent for path in root.glob(f"*/{PACK_FILE}"))


def _foreign_status(folder: Path) -> PackStatus:
    try:
        entry, _ = _locate(str(folder))
    except UserError as error:
        return PackStatus(folder.name, "unknown", False, folder, [str(error)], 0)
    return _status(entry, folder)


def _explain(item: object) -> str:
    """Return one pydantic error as `key: what is wrong`."""
    assert isinstance(item, dict)
    key = ".".join(str(part) for part in item["loc"])
    message = str(item["ctx"]["error"]) if item["type"] == "value_error" else item["msg"]
    return f"{key}: {message}" if key else message
