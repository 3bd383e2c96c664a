"""Checks of the machine: packages, devices, face packs, store, repository, settings."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from arpgnet.pipeline.cli.dvc_files import damaged
from arpgnet.pipeline.common import user
from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.common.gpus import visible_gpus, why_no_cuda
from arpgnet.pipeline.common.params_file import PARAMS_FILE, load_params
from arpgnet.pipeline.common.wording import plural
from arpgnet.pipeline.store import Address, Store, folder_of, store_place

PACKAGES = (
    "torch", "torch-geometric", "lightning-fabric", "dvc", "dvclive", "insightface",
    "onnxruntime", "opencv-python", "av", "pyarrow", "scikit-learn",
)  # fmt: skip
FREE_GB_WANTED = 5.0


@dataclass(frozen=True)
class Finding:
    """One line of the doctor's table; `remedy` is empty if there is nothing to fix."""

    ok: bool
    what: str
    found: str
    remedy: str = ""


def examine() -> list[Finding]:
    """Run every check, the most basic ones first."""
    return [
        *_python(),
        *_user(),
        *_packages(),
        *_devices(),
        *_packs(),
        *_store(),
        *_repository(),
        *_settings(),
    ]


def _python() -> Iterator[Finding]:
    found = f"{sys.version.split()[0]} on {sys.platform}, {plural(os.cpu_count() or 1, 'core')}"
    recent = sys.version_info >= (3, 11)
    yield Finding(recent, "Python", found, "" if recent else "install Python 3.11 or newer")


def _user() -> Iterator[Finding]:
    name, home = user.name(), user.home()
    yield Finding(
        name is not None,
        "user name (for DVC)",
        name or f"none: no passwd entry for uid {os.getuid()}",
        "" if name else "set USER, for example USER=me",
    )
    fine = home is not None
    yield Finding(
        fine,
        "home folder",
        str(home or "none"),
        "" if fine else "set HOME to a writable folder, for example HOME=/tmp",
    )


def _packages() -> Iterator[Finding]:
    for name in PACKAGES:
        try:
            yield Finding(True, name, importlib.metadata.version(name))
        except importlib.metadata.PackageNotFoundError:
            yield Finding(
                False, name, "not installed", "run `pip install -e .` in the project's folder"
            )
    try:
        yield Finding(True, "decord", importlib.metadata.version("decord"))
    except importlib.metadata.PackageNotFoundError:
        yield Finding(
            True, "decord", "not installed (no wheel for this platform): PyAV is used instead"
        )


def _devices() -> Iterator[Finding]:
    import onnxruntime
    import torch

    gpu = torch.cuda.is_available()
    name = torch.cuda.get_device_name(0) if gpu else "CPU"
    # where there is no GPU, a build for one would not help
    unused = not gpu and bool(visible_gpus())
    yield Finding(True, "training device", name, why_no_cuda() if unused else "")
    providers = onnxruntime.get_available_providers()
    mismatch = gpu and "CUDAExecutionProvider" not in providers
    yield Finding(
        not mismatch,
        "face networks",
        ", ".join(providers),
        "there is a GPU, but onnxruntime cannot use it: docs/gpu.md explains how to install "
        "onnxruntime-gpu instead"
        if mismatch
        else "",
    )


def _packs() -> Iterator[Finding]:
    from arpgnet.pipeline.networks.packs import describe_all

    wanted = _wanted_pack()
    for status in describe_all():
        good = status.present and not status.problems
        found = f"{status.folder} ({status.license})" if good else "not installed"
        # a missing pack is only a problem if params.yaml uses it
        ok = good or status.name != wanted
        if not good and ok:
            found += " (params.yaml does not use it)"
        yield Finding(ok, f"pack {status.name}", found, "" if ok else "; ".join(status.problems))


def _wanted_pack() -> str:
    try:
        return load_params().faces.pack
    except UserError:
        return "demo"


def _store() -> Iterator[Finding]:
    try:
        place = store_place()
        root = folder_of(place)
    except UserError as error:
        yield Finding(False, "store", "no folder", str(error))
        return
    if isinstance(place, Address):
        try:
            Store(place).has("doctor", "0" * 16)
            yield Finding(True, "store", f"{place} responds")
        except UserError as error:
            yield Finding(False, "store", str(error), "see docs/store.md")
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=root):
            pass
    except OSError as error:
        yield Finding(
            False,
            "store",
            f"{root}: {error.strerror}",
            "set ARPGNET_STORE to a writable folder",
        )
        return
    free = shutil.disk_usage(root).free / 1e9
    yield Finding(
        free >= FREE_GB_WANTED,
        "store",
        f"{root}, {free:.0f} GB free",
        "" if free >= FREE_GB_WANTED else "free some space, or set ARPGNET_STORE to a larger disk",
    )


def _repository() -> Iterator[Finding]:
    inside = _git("rev-parse", "--is-inside-work-tree")
    yield Finding(inside, "git repository", "yes" if inside else "no", "" if inside else "git init")
    dvc = Path(".dvc").is_dir()
    yield Finding(dvc, "DVC repository", "yes" if dvc else "no", "" if dvc else "dvc init")
    for path in damaged():
        yield Finding(False, str(path), "damaged by a killed run", "arpgnet doctor --repair")
    commit = _git("rev-parse", "--verify", "HEAD")
    identity = _git("var", "GIT_COMMITTER_IDENT")
    for good, what, remedy in (
        (commit, "first commit (for dvc exp)", "git add . && git commit -m start"),
        (
            identity,
            "git identity (for dvc exp)",
            "git config user.name NAME; git config user.email X",
        ),
    ):
        # dvc repro works without them, so they are reported but not required
        yield Finding(True, what, "yes" if good else "no", "" if good else remedy)


def _git(*arguments: str) -> bool:
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, check=False)
    except FileNotFoundError:
        return False
    return done.returncode == 0


def _settings() -> Iterator[Finding]:
    try:
        load_params()
    except UserError as error:
        yield Finding(False, str(PARAMS_FILE), "invalid", str(error))
    else:
        yield Finding(True, str(PARAMS_FILE), "valid")
