"""`code_version`: which of our code a result depends on."""

import ast
import functools
import importlib.metadata
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from arpgnet.pipeline.store import code, code_version, library_version
from arpgnet.pipeline.store.code import LEFT_OUT, PROJECT, closure_digest, import_closure, left_out

REPOSITORY = Path(__file__).parents[3]

PIECES = {
    "pipeline/__init__.py": "",
    "pipeline/work.py": '"""A work."""\nfrom arpgnet.pipeline.tools import near\nimport numpy\n',
    "pipeline/tools/__init__.py": "",
    "pipeline/tools/near.py": "def far():\n    import arpgnet.models.net\n    return models.net\n",
    "pipeline/tools/idle.py": "x = 1\n",
    "pipeline/common/progress.py": "import arpgnet.pipeline.tools.idle\n",
    "models/__init__.py": "",
    "models/net.py": "from arpgnet.pipeline.common.progress import track\nwidth = 3  # columns\n",
}
REACHED = [
    *("models", "models.net", "pipeline"),
    *("pipeline.tools", "pipeline.tools.near", "pipeline.work"),
]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A little project: `pipeline.work` reaches all of it but `pipeline.tools.idle`."""
    for name, text in PIECES.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def test_closure_follows_imports_in_functions_and_of_modules_from_packages(project: Path) -> None:
    assert list(import_closure(project, "pipeline.work")) == REACHED


def test_closure_ends_at_what_is_left_out(project: Path) -> None:
    assert left_out("pipeline.common.progress")
    assert "pipeline.tools.idle" not in import_closure(project, "pipeline.work")
    assert not left_out("pipeline.commons")


@pytest.mark.parametrize("name", REACHED)
def test_digest_changes_with_every_module_of_the_closure(project: Path, name: str) -> None:
    before = closure_digest(project, "pipeline.work")
    path = import_closure(project, "pipeline.work")[name]
    path.write_text(f"{path.read_text()}\nanother = 1\n")
    assert closure_digest(project, "pipeline.work") != before


def test_digest_is_that_of_the_entries(project: Path) -> None:
    before = closure_digest(project, "pipeline.work")
    assert closure_digest(project, "models.net") != before
    assert closure_digest(project, "pipeline.work", "pipeline.tools.idle") != before
    (project / "pipeline/tools/idle.py").write_text("x = 2\n")
    assert closure_digest(project, "pipeline.work") == before


def test_digest_passes_over_comments_docstrings_and_layout(project: Path) -> None:
    before = closure_digest(project, "pipeline.work")
    (project / "models/net.py").write_text(
        '"""A network."""\n\n'
        "from arpgnet.pipeline.common.progress import track\n\n# of columns\nwidth = 3\n"
        '"""How wide it is."""\n'
    )
    (project / "pipeline/tools/near.py").write_text(
        'def far():\n    """Fetch it."""\n\n'
        "    import arpgnet.models.net\n\n    return models.net\n"
    )
    assert closure_digest(project, "pipeline.work") == before
    (project / "models/net.py").write_text(
        "from arpgnet.pipeline.common.progress import track\nwidth = '3'\n"
    )
    assert closure_digest(project, "pipeline.work") != before


def test_digest_holds_the_versions_of_imported_libraries(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work, idle = (closure_digest(project, f"pipeline.{n}") for n in ("work", "tools.idle"))
    versions = {"numpy": "99"}
    monkeypatch.setattr(code, "library_version", lambda name: versions.get(name, "1"))
    assert closure_digest(project, "pipeline.work") != work
    assert closure_digest(project, "pipeline.tools.idle") == idle


def test_library_version_knows_packages_that_are_called_otherwise() -> None:
    assert library_version("numpy") == importlib.metadata.version("numpy")
    assert library_version("cv2") == importlib.metadata.version("opencv-python")
    # found by the files that a distribution brings
    assert library_version("_pytest") == f"pytest {importlib.metadata.version('pytest')}"
    assert library_version("no_such_package_anywhere") is None


def test_faults_of_the_project_s_own_are_said(project: Path) -> None:
    with pytest.raises(ModuleNotFoundError, match=r"pipeline\.three"):
        closure_digest(project, "pipeline.three")
    with pytest.raises(ModuleNotFoundError, match="numpy"):
        closure_digest(project, "numpy")
    (project / "models/net.py").write_text("from . import other\n")
    with pytest.raises(ValueError, match="line 1: import by the full name"):
        closure_digest(project, "pipeline.work")


def sources() -> Iterator[tuple[str, ast.Module]]:
    """The project's modules."""
    for package in PROJECT:
        for path in sorted((REPOSITORY / package).rglob("*.py")):
            name = ".".join(path.relative_to(REPOSITORY).with_suffix("").parts)
            yield name.removesuffix(".__init__"), ast.parse(path.read_text())


def entries() -> list[str]:
    """Every module whose code is a part of a key: its own call, or a subclass of the base."""
    found = set()
    for name, tree in sources():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "code_version":
                for argument in node.args:
                    if isinstance(argument, ast.Constant):
                        found.add(argument.value.removeprefix("arpgnet."))
                    elif getattr(argument, "id", "") == "__name__":
                        found.add(name)
            bases = [getattr(base, "id", "") for base in getattr(node, "bases", [])]
            if isinstance(node, ast.ClassDef) and "ClipWorkBase" in bases:
                found.add(name)
    return sorted(found)


ENTRIES = entries()


def test_every_kind_of_result_has_an_entry() -> None:
    assert len(ENTRIES) >= 12
    for name in ("decode.clip", "align.clip", "graph.clip", "train.training", "train.probes"):
        assert f"pipeline.{name}" in ENTRIES


def imported(path: Path) -> set[str]:
    """The project's modules that a file imports, anywhere in it: as Python would find them."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {str(node.module)}
    return {name.removeprefix("arpgnet.") for name in found if name.startswith("arpgnet.")}


@pytest.fixture(scope="module")
def copied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project's code."""
    root = tmp_path_factory.mktemp("copy")
    for package in PROJECT:
        ignored = shutil.ignore_patterns("__pycache__", "bundled")
        shutil.copytree(REPOSITORY / package, root / package, ignore=ignored)
    return root


@pytest.mark.parametrize("entry", ENTRIES)
def test_any_reachable_module_changes_the_key_and_a_comment_does_not(
    copied: Path, entry: str
) -> None:
    before = closure_digest(copied, entry)
    assert before == code_version(entry)
    closure = import_closure(copied, entry)
    assert entry in closure
    for name, path in closure.items():
        text = path.read_text()
        try:
            path.write_text(_with_other_remarks(text))
            assert closure_digest(copied, entry) == before, f"remarks in {name}"
            path.write_text(f"{text}\n_changed = 1\n")
            assert closure_digest(copied, entry) != before, f"code in {name}"
        finally:
            path.write_text(text)
    # nothing that a module of the closure imports is missing from it
    for path in closure.values():
        for name in imported(path):
            is_module = (copied / (name.replace(".", "/") + ".py")).is_file()
            assert not is_module or name in closure or left_out(name), name


@functools.cache
def _with_other_remarks(text: str) -> str:
    """The same code with other comments and docstrings."""
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            remark = ast.Expr(ast.Constant("Another text."))
            # `from __future__` may follow a docstring only
            has_one = ast.get_docstring(node) is not None
            node.body = [remark, *node.body[has_one:]]
    return f"# a remark\n{ast.unparse(ast.fix_missing_locations(tree))}\n"


def test_no_module_imports_by_a_name_that_is_made_up_at_run_time() -> None:
    """A closure could not see it. The adapters are the exception: ingest's key names theirs."""
    for name, tree in sources():
        calls = {
            getattr(node.func, "attr", getattr(node.func, "id", ""))
            for node in ast.walk(tree)
            if isinstance(node, ast.Call)
        }
        if name != "pipeline.datasets.base":
            assert not calls & {"import_module", "__import__", "exec", "run_module"}, name


def test_what_is_left_out_exists_and_says_why() -> None:
    for name, reason in LEFT_OUT.items():
        base = REPOSITORY / name.replace(".", "/")
        assert base.is_dir() or base.with_suffix(".py").is_file(), name
        assert len(reason) > 20
