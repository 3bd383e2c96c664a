"""Locate `dataset.root`, in the repository and in experiments' temporary copies of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.datasets.on_disk import NamesOnDisk

# `dvc exp run --temp` and the queue run in <repository>/.dvc/tmp/exps/<kind>/<name>, a
# checkout without the files that git ignores
_EXPERIMENTS = (".dvc", "tmp", "exps")


def resolve_root(root: str, setting: str = "dataset.root") -> Path:
    """Resolve the absolute folder of a setting.

    Args:
        root: absolute, with `~`, or relative to the repository. A relative folder that is
            absent from an experiment's temporary workspace is looked for in the
            repository that the experiment was started from.

    Raises:
        UserError: it does not exist, or is not a folder.
    """
    named = Path(root).expanduser()
    candidates = [named] if named.is_absolute() else [base / named for base in _bases(Path.cwd())]
    names = NamesOnDisk(Path("/"))
    candidates = [Path(names.find(path.absolute().as_posix())) for path in candidates]
    found = next((path for path in candidates if path.exists()), None)
    if found is None:
        raise UserError(
            f"{setting}: '{root}' does not exist (looked for {candidates[-1]}); "
            "use an absolute path, or one relative to the repository"
        )
    if not found.is_dir():
        raise UserError(f"{setting}: '{root}' is a file; it must be a folder")
    return found.resolve()


def _bases(here: Path) -> Iterator[Path]:
    """Yield the current folder, then its counterparts in the repository around an experiment."""
    yield here
    parts = here.parts
    for end in range(len(parts) - 1, 2, -1):
        if parts[end - 3 : end] == _EXPERIMENTS:
            outer, inner = Path(*parts[: end - 3]), parts[end:]
            # the workspace is one or two folders deep, the project maybe deeper
            yield from (outer.joinpath(*inner[skip:]) for skip in range(1, len(inner) + 1))
            return
