"""Where a report comes from: data, code, versions, machine.

Nothing here changes from one run to the next with the same inputs on the same machine: there is no
time of day and no duration, so that a repeated run writes the same bytes. Those are noted beside
the page (`pipeline.common.run_times`).
"""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Iterator
from functools import lru_cache
from importlib import metadata
from pathlib import Path

from arpgnet.pipeline.common.wording import plural
from arpgnet.pipeline.store import file_sha256
from arpgnet.pipeline.tables.manifest import MANIFEST, Manifest

# what a result depends on: a committed dvc.lock or another document is not another version
CODE = ("pipeline", "models", "stages", "params.yaml", "dvc.yaml")
# distributions that change bits or scores
LIBRARIES = (
    *("torch", "torch-geometric", "lightning-fabric", "onnxruntime", "onnxruntime-gpu"),
    *("numpy", "scikit-learn", "scipy", "av", "opencv-python", "pyarrow"),
)


def provenance(manifest: Manifest, root: Path = Path()) -> list[dict[str, str]]:
    """Return `what` and `value` of each line."""
    return [{"what": what, "value": value} for what, value in _lines(manifest, root)]


def _lines(manifest: Manifest, root: Path) -> Iterator[tuple[str, str]]:
    for one in manifest.notes.get("sets", []):
        variant = f", variant {one['variant']}" if one["variant"] else ""
        role = f" (to {one['role']})" if one["role"] != "all" else ""
        yield "data set", f"{one['name']}: {one['title']}{variant}{role}"
    sha256 = file_sha256(root / MANIFEST)
    clips = plural(len(manifest.clips), "clip")
    yield (
        "data version",
        f"{clips}; {MANIFEST} has sha256 {sha256[:16]}, and lists that of each clip",
    )
    yield "code", code_version()
    yield "libraries", ", ".join(_versions())
    yield "Python", f"{platform.python_version()} ({platform.system()}, {platform.machine()})"
    yield "processor", processor()


def _versions() -> Iterator[str]:
    for name in LIBRARIES:
        try:
            yield f"{name} {metadata.version(name)}"
        except metadata.PackageNotFoundError:
            # onnxruntime has another name where it uses a GPU
            continue


def code_version() -> str:
    """Return the last commit that changed the code or the settings, and whether they differ."""
    # the code that runs: through links, where the package is linked into place
    root = Path(__file__).resolve().parents[2]
    top = _git(root, "rev-parse", "--show-toplevel")
    last = _git(root, "log", "-1", "--format=%h of %cs", "--abbrev=10", "--", *CODE)
    # a package that is installed inside another repository is not that repository's
    if not top or not last or not _git(root, "ls-files", "--", CODE[0]):
        return f"version {_own_version()}, not from a Git repository"
    changed = _git(root, "status", "--porcelain", "--", *CODE)
    return f"version {_own_version()}, commit {last}{', with changes' if changed else ''}"


def _own_version() -> str:
    try:
        return metadata.version("arpgnet")
    except metadata.PackageNotFoundError:
        return "unknown"


def _git(folder: Path, *arguments: str) -> str:
    """Return what Git says; empty where it is missing or refuses."""
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=False
        )
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


@lru_cache
def processor() -> str:
    """Return the processor's name, which a result's last digits depend on."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, "") or platform.processor() or "unknown"
