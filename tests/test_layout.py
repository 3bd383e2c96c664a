"""Which package may import which: arrows run one way, from the command line down to `common`."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
STAGES = (
    *("ingest", "decode", "align", "pretrain", "finetune"),
    *("landmark", "appearance", "graph", "train", "evaluate", "explain", "report"),
)
# a package imports those of the rows above its own, and none of its own row
LAYERS = (
    ("models",),
    ("common",),
    ("store", "tables", "video", "geometry"),
    ("runner", "networks", "training"),
    ("demo",),
    ("datasets",),
    ("stills",),
    STAGES,
    ("export", "compare"),
    ("publish", "ablate"),
    ("predict",),
    ("serve", "api"),
    ("cli", "stages", "tools"),
)
LAYER = {package: number for number, row in enumerate(LAYERS) for package in row}
FILES = [
    path
    for folder in ("models", "pipeline", "stages", "tools")
    for path in sorted((REPOSITORY / folder).rglob("*.py"))
]


def package_of(name: str) -> str | None:
    """`networks` of `pipeline.networks.packs`, `models` of `models.fusion`; None: not ours."""
    top, *rest = name.removeprefix("arpgnet.").split(".")
    if top == "pipeline":
        return rest[0] if rest else None
    return top if top in LAYER else None


def imported(path: Path) -> Iterator[str]:
    """Our packages that a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            package = package_of(name)
            if package is not None:
                yield package


def test_every_package_has_its_layer_and_no_module_lies_loose() -> None:
    folders = {
        path.name
        for path in (REPOSITORY / "pipeline").iterdir()
        if path.is_dir() and path.name != "__pycache__"
    }
    assert folders == set(LAYER) - {"models", "stages", "tools"}
    assert [path.name for path in (REPOSITORY / "pipeline").glob("*.py")] == ["__init__.py"]
    assert {path.stem for path in (REPOSITORY / "stages").glob("*.py")} == {"__init__", *STAGES}


@pytest.mark.parametrize("package", sorted(LAYER))
def test_imports_run_down_the_layers(package: str) -> None:
    for path in FILES:
        name = ".".join(path.relative_to(REPOSITORY).with_suffix("").parts)
        if package_of(name) == package:
            for other in imported(path):
                assert other == package or LAYER[other] < LAYER[package], f"{name}: {other}"
