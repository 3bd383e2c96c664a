"""Which code a result depends on: digests over the import closure of a module.

Read from the source files, not from what is imported: the same on every machine, and nothing
heavy is loaded. Comments and docstrings are left out, so that an edit of those computes nothing.
"""

from __future__ import annotations

import ast
import functools
import importlib.metadata
import sys
from collections.abc import Iterator
from pathlib import Path

from arpgnet.pipeline.store.digests import digest

# folders below _ROOT, the repository or, of a wheel, `arpgnet` itself; a module is called
# here without that first name
NAME = "arpgnet."
PROJECT = ("models", "pipeline", "stages")

# Modules and packages that cannot change what a work computes; the closure ends at them.
LEFT_OUT: dict[str, str] = {
    "pipeline.common": "settings (their values are parts of keys), messages, progress, files "
    "written whole or not at all, where DVC's cache is, and which of several equal GPUs is used",
    "pipeline.networks.pack_file": "reads `pack.yaml`; what it says is in `ModelSpec.identity`",
    "pipeline.networks.packs": "finds networks; all that it says of one is in `ModelSpec.identity`",
    "pipeline.runner.cluster": "decides on which machine an item is computed",
    "pipeline.runner.dispatch": "decides where an item is computed",
    "pipeline.runner.workers": "runs a job; `threads` beside it sets what its processes use",
    "pipeline.store": "returns the bytes that were stored; checked by sha256",
}

# what a distribution is called where it is not called like its top-level package
_DISTRIBUTIONS = {"cv2": "opencv-python", "skimage": "scikit-image", "sklearn": "scikit-learn"}

_ROOT = Path(__file__).resolve().parents[2]


@functools.cache
def code_version(*entries: str) -> str:
    """Return the digest of all that the modules' code depends on: for a key.

    That is the abstract syntax trees, without docstrings, of the modules in their import closure,
    and the versions of the libraries that these import. An import within a function counts; a
    package's `__init__` counts with each of its modules; the closure ends at `LEFT_OUT`.

    Args:
        entries: dotted names of modules of this project, usually `__name__`.

    Raises:
        ModuleNotFoundError: no such module in this project.
    """
    return closure_digest(_ROOT, *entries)


def project_version() -> str:
    """Return the digest of all code of this project, also that which is left out of keys."""
    return digest({name: _parsed(path).digest for name, path in _sources().items()})


def sources_state() -> str:
    """Return a digest of the names, lengths and times of all source files: 10 ms; it shows only
    whether they have changed."""
    states = {name: path.stat() for name, path in _sources().items()}
    return digest({name: [state.st_size, state.st_mtime_ns] for name, state in states.items()})


def _sources() -> dict[str, Path]:
    """Return all source files of this project, by their paths in it."""
    files = (path for name in PROJECT for path in (_ROOT / name).rglob("*.py"))
    return {path.relative_to(_ROOT).as_posix(): path for path in files}


# A process computes with the code that it began with; a worker that begins later must have the
# same, for its results are stored under keys that were made by its parent.
STATE_AT_START = sources_state()


def closure_digest(root: Path, *entries: str) -> str:
    """Return `code_version` of a copy of the project below `root`.

    Raises:
        ModuleNotFoundError: no such module there.
    """
    modules = import_closure(root, *entries)
    sources = {name: _parsed(path).digest for name, path in modules.items()}
    libraries = {name for path in modules.values() for name in _parsed(path).libraries}
    return digest(sources, {name: library_version(name) for name in sorted(libraries)})


def import_closure(root: Path, *entries: str) -> dict[str, Path]:
    """Return the modules below `root` that the entries import, directly or not, and their files.

    Raises:
        ModuleNotFoundError: an entry is no module there.
    """
    found: dict[str, Path] = {}
    entries = tuple(name.removeprefix(NAME) for name in entries)
    seen, todo = set(entries), list(entries)
    while todo:
        name = todo.pop()
        path = _file(root, name)
        if path is None and name in entries:
            raise ModuleNotFoundError(name)
        if path is None or left_out(name):
            continue
        found[name] = path
        # a package's __init__ runs before its modules
        near = {*_parsed(path).imports, name.rpartition(".")[0]} - seen
        seen |= near
        todo += near
    return dict(sorted(found.items()))


def left_out(name: str) -> bool:
    """Check whether a module is one of `LEFT_OUT`, or lies in one."""
    return any(name == one or name.startswith(f"{one}.") for one in LEFT_OUT)


@functools.cache
def library_version(name: str) -> str | None:
    """Return the version of a top-level package's distribution; None: not installed."""
    try:
        return importlib.metadata.version(_DISTRIBUTIONS.get(name, name))
    except importlib.metadata.PackageNotFoundError:
        # takes half a second: it reads the lists of files of all that is installed
        brought_by = sorted(importlib.metadata.packages_distributions().get(name, []))
    return " ".join(f"{one} {importlib.metadata.version(one)}" for one in brought_by) or None


class _Parsed:
    """What a source file says.

    Attributes:
        imports: dotted names that may be modules of this project.
        libraries: top-level names of other packages, those of Python left out.
    """

    def __init__(self, source: str, where: Path) -> None:
        tree = ast.parse(source, str(where))
        names = set(_imported_names(tree))
        tops = {name.partition(".")[0] for name in names}
        self.imports = {name.removeprefix(NAME) for name in names if name.startswith(NAME)}
        self.libraries = tops - {"arpgnet"} - sys.stdlib_module_names
        _strip_docstrings(tree)
        self.digest = digest(ast.dump(tree, annotate_fields=False))


def _parsed(path: Path) -> _Parsed:
    return _parse(path, path.read_text(encoding="utf-8"))


@functools.cache
def _parse(path: Path, source: str) -> _Parsed:
    return _Parsed(source, path)


def _imported_names(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            # `from package import x`: x may be a module
            yield from (node.module, *(f"{node.module}.{alias.name}" for alias in node.names))
        elif isinstance(node, ast.ImportFrom):
            raise ValueError(f"line {node.lineno}: import by the full name, not relatively")


def _strip_docstrings(tree: ast.Module) -> None:
    """Remove every statement that is nothing but a string."""
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = [line for line in body if not _is_text(line)]  # type: ignore[attr-defined]


def _is_text(node: ast.stmt) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def _file(root: Path, name: str) -> Path | None:
    if name.partition(".")[0] not in PROJECT:
        return None
    base = f"{root}/{name.replace('.', '/')}"
    candidates = Path(f"{base}.py"), Path(f"{base}/__init__.py")
    return next((path for path in candidates if path.is_file()), None)
