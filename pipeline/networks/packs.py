"""Face packs: which networks find, landmark and describe faces, and on what terms.

A pack is a folder of ONNX files with a `pack.yaml`. InsightFace's own folders and the `open` pack
need none: `pipeline/networks/bundled/<name>.yaml` knows their files and sha256. Looked for in the
folders of `ARPGNET_MODELS`, the user's cache, and `~/.insightface/models`.
"""

from __future__ import annotations

import contextlib
import difflib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from arpgnet.pipeline.common.errors import AbsentInputError, UserError
from arpgnet.pipeline.common.user import cache_folder, expanded, home
from arpgnet.pipeline.networks.pack_file import (
    PACK_FILE,
    ROLES,
    SCHEMES,
    VIT,
    Channels,
    Kind,
    ModelEntry,
    PackEntry,
    Role,
    read_entry,
)
from arpgnet.pipeline.store import file_sha256

BUNDLED = Path(__file__).resolve().parent / "bundled"


@dataclass(frozen=True)
class ModelSpec:
    """A network on disk and how to feed it; see `ModelEntry` for the preprocessing.

    `weights` are those of a fine-tuned network, which stand in the place of the file's own. Of a
    checkpoint, `arch` is its network in `models`, with `pool` and `interpolate_positions` of a
    vision transformer.
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
    weights: Path | None = None
    weights_sha256: str | None = None
    pool: Literal["mean", "token"] | None = None
    interpolate_positions: bool = False

    @property
    def identity(self) -> dict[str, Any]:
        """All that changes what the network gives, JSON-able; where its files lie does not."""
        elsewhere = {"role", "path", "weights"}
        if self.arch is None or not self.arch.startswith(VIT):
            # which other networks did not have when their results were stored
            elsewhere |= {"pool", "interpolate_positions"}
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
        if file_sha256(self.path) != self.sha256:
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


def load_pack(name_or_path: str, roles: Sequence[Role] = ROLES) -> Pack:
    """Find a pack by name or by the path of its folder, and check it.

    Every file must be there; the sha256 is checked for `roles`, the ones the caller will run.

    Raises:
        UserError: unknown name, missing file, wrong sha256, or a bad `pack.yaml`; the line says
            what to do.
    """
    entry, folder = _locate(name_or_path)
    if folder is None:
        raise AbsentInputError(_missing_line(entry))
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
            input_px=model.side,
            color=model.color,
            mean=model.mean,
            std=model.std,
            map_tensor=model.map_tensor,
            map_shape=model.map_shape,
            embedding_dim=model.embedding_dim,
            arch=model.arch,
            pool=model.pool,
            interpolate_positions=model.interpolate_positions,
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
