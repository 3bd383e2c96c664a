"""dvc.yaml against the code: a stage depends on what it uses, no more and no less."""

import ast
import functools
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from arpgnet.pipeline.common.params import Params
from arpgnet.pipeline.store.code import PROJECT, import_closure

REPOSITORY = Path(__file__).parents[1]
DAG: dict[str, dict[str, Any]] = YAML(typ="safe").load((REPOSITORY / "dvc.yaml").read_text())[
    "stages"
]
ORDER = [
    "ingest",
    "decode",
    "align",
    "pretrain",
    "finetune",
    "landmark",
    "appearance",
    "graph",
    "train",
]
ORDER += ["evaluate", "explain", "report"]

# what computes a stage's rows, where it is not all that the stage's file reaches: where a data set
# lies changes no frame
WORKS = {"decode": ["arpgnet.pipeline.decode.clip", "arpgnet.pipeline.runner.engine"]}


def used_by(stage: str) -> dict[str, Path]:
    """The modules that a stage's results and files depend on."""
    return import_closure(REPOSITORY, *WORKS.get(stage, [f"arpgnet.stages.{stage}"]))


def code_deps(stage: str) -> list[str]:
    return [dep for dep in DAG[stage].get("deps", []) if dep.split("/")[0] in PROJECT]


def covers(dep: str, file: str) -> bool:
    return file == dep or file.startswith(f"{dep}/")


def module_file(name: str) -> Path | None:
    base = REPOSITORY / name.removeprefix("arpgnet.").replace(".", "/")
    for candidate in (base.with_suffix(".py"), base / "__init__.py"):
        if candidate.is_file():
            return candidate
    return None


@functools.cache
def imports(file: Path) -> frozenset[Path]:
    """Our own modules that a file imports, anywhere in it."""
    found: set[Path] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        for name in names:
            if name.startswith("arpgnet."):
                target = module_file(name)
                if target:
                    found.add(target)
    return frozenset(found - {file})


def test_stages_stand_in_the_order_of_the_design() -> None:
    assert list(DAG) == ORDER
    assert all(DAG[stage]["cmd"] == f"python -m arpgnet.stages.{stage}" for stage in DAG)


@pytest.mark.parametrize("stage", [stage for stage in ORDER if stage != "ingest"])
def test_stage_depends_on_the_code_it_uses(stage: str) -> None:
    """Coarsely: every module lies in a dependency, and every dependency holds one."""
    # that the packages are packages says nothing
    used = {f"stages/{stage}.py"} | {
        path.relative_to(REPOSITORY).as_posix()
        for name, path in used_by(stage).items()
        if name not in PROJECT
    }
    deps = code_deps(stage)
    missing = sorted(file for file in used if not any(covers(dep, file) for dep in deps))
    assert not missing, f"{stage}: used, but no dependency"
    idle = sorted(dep for dep in deps if not any(covers(dep, file) for file in used))
    assert not idle, f"{stage}: a dependency, but not used"


@pytest.mark.parametrize("stage", ORDER)
def test_parameters_exist(stage: str) -> None:
    for key in DAG[stage].get("params", []):
        node: Any = Params()
        for part in key.split("."):
            node = getattr(node, part)


def test_every_data_dependency_is_an_output_of_an_earlier_stage() -> None:
    written: set[str] = set()
    for stage, block in DAG.items():
        code = set(code_deps(stage))
        for dep in block.get("deps", []):
            assert dep in written or dep in code or (REPOSITORY / dep).exists(), dep
        outs = block.get("outs", []) + block.get("metrics", [])
        written |= {out if isinstance(out, str) else next(iter(out)) for out in outs}


def test_the_registered_model_and_the_plots_are_outputs() -> None:
    whole = YAML(typ="safe").load((REPOSITORY / "dvc.yaml").read_text())
    (model,) = whole["artifacts"].values()
    assert model["path"] in DAG["train"]["outs"]
    own = {path.stem for path in (REPOSITORY / ".dvc/plots").glob("*.json")}
    outs = {one for block in DAG.values() for one in block.get("outs", []) if isinstance(one, str)}
    for plot in whole["plots"]:
        if isinstance(plot, str):
            assert plot in outs
            continue
        ((_, settings),) = plot.items()
        assert all(any(file.startswith(f"{out}/") for out in outs) for file in settings["y"])
        # with 3 epochs the default axis has ticks at 0.5
        assert settings["x"] != "epoch" or settings["template"] in own


def test_heads_touch_training_and_what_follows_only() -> None:
    # the report quotes every setting
    assert [stage for stage in DAG if "fusion" in DAG[stage].get("params", [])] == [
        "train",
        "report",
    ]
    # how two views are fused runs no face network, and neither does a change of the regions
    assert [stage for stage in DAG if "views" in DAG[stage].get("params", [])] == [
        "train",
        "report",
    ]
    assert "data/faces" in DAG["appearance"]["deps"]
    assert not {"data/landmarks", "data/graphs"} & set(DAG["appearance"]["deps"])
    assert "graph" not in DAG["appearance"]["params"]
    assert [stage for stage in DAG if "task" in DAG[stage].get("params", [])] == ["train", "report"]
    trained = set(DAG["train"]["outs"])
    readers = {stage for stage in DAG if trained & set(DAG[stage].get("deps", []))}
    assert readers <= {"evaluate", "explain", "report"}


def test_no_import_circles() -> None:
    state: dict[Path, int] = {}

    def visit(file: Path, trail: list[str]) -> None:
        state[file] = 1
        for target in imports(file):
            # a package's own __init__ re-exports its parts: that arrow is no circle
            if target.name == "__init__.py" and target.parent in file.parents:
                continue
            name = target.relative_to(REPOSITORY).as_posix()
            assert state.get(target) != 1, " -> ".join([*trail, name])
            if target not in state:
                visit(target, [*trail, name])
        state[file] = 2

    for package in ("stages", "pipeline", "models"):
        for file in sorted((REPOSITORY / package).rglob("*.py")):
            if file not in state:
                visit(file, [file.relative_to(REPOSITORY).as_posix()])
