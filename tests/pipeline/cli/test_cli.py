"""`arpgnet`: one clear line on a mistake, and a true look at the machine."""

import json
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import pytest

from arpgnet.pipeline.cli.doctor import examine
from helpers.in_process import REPOSITORY, arpgnet
from helpers.predictions_tables import write_run


def test_it_is_a_program() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "arpgnet.pipeline.cli", "models", "verify", "bufalo_l"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "did you mean 'buffalo_l'" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_version_and_an_order_of_commands_like_the_work() -> None:
    assert arpgnet("--version").stdout == f"arpgnet {version('arpgnet')}\n"
    said = arpgnet("--help").stdout
    order = ["doctor", "data", "models", "compare", "ablate", "predict", "serve", "export", "store"]
    places = [said.index(f"│ {name} ") for name in order]
    assert places == sorted(places)


# seconds to import, and of no use before a command works
HEAVY = ("torch", "numpy", "pandas", "matplotlib", "scipy", "sklearn", "cv2", "onnx", "dvc", "av")


def imported_by(code: str, names: Sequence[str]) -> list[str]:
    """Those of the modules that a new interpreter has after this code."""
    code += f"\nimport sys; print('imported:', *(n for n in {names!r} if n in sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    return done.stdout.rpartition("imported:")[2].split()


def test_help_imports_nothing_heavy() -> None:
    code = """
from arpgnet.pipeline.cli.main import app
for words in ([], ["export"], ["publish"], ["predict"], ["serve"], ["data", "check"], ["store"]):
    app([*words, "--help"], standalone_mode=False)
"""
    assert imported_by(code, HEAVY) == []


def test_commands_import_no_charts_and_no_tables() -> None:
    code = """
import arpgnet.pipeline.export.write, arpgnet.pipeline.publish.write
import arpgnet.pipeline.predict.source, torch
"""
    useless = ("pandas", "matplotlib", "scipy", "sklearn", "dvc", "insightface", "torch_geometric")
    assert imported_by(code, ("torch", *useless)) == ["torch"]


def test_a_pack_that_is_installed_is_not_fetched() -> None:
    done = arpgnet("models", "fetch", "demo", "--accept-license")
    assert done.returncode == 0
    assert "demo: already installed in" in done.stdout


def test_lists_packs_with_license_and_place() -> None:
    done = arpgnet("models", "list")
    assert done.returncode == 0
    for pack in ("demo", "open", "buffalo_l", "buffalo_s"):
        assert pack in done.stdout
    assert "non-commercial" in done.stdout


def test_verifies_the_demo_pack() -> None:
    done = arpgnet("models", "verify", "demo")
    assert done.returncode == 0, done.stderr
    assert "verified" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("models", "verify", "bufalo_l"), "buffalo_l"),
        (("models", "fetch", "buffalo_s"), "--accept-license"),
        (("compare", "no-such-run", "workspace"), "git revision"),
        (("ablate", "--rows", "nonsense"), "--list"),
        (("export", "--check", "no-such-file.onnx"), "cannot be loaded"),
        (("publish", "docs"), "docs is not empty"),
        (("publish", "--check", "docs"), "not a folder that `arpgnet publish` wrote"),
        (("publish", "--check", "--run", "fold0-seed0", "docs"), "cannot be combined"),
    ],
)
def test_mistakes_are_one_line(arguments: tuple[str, ...], said: str) -> None:
    done = arpgnet(*arguments)
    assert done.returncode == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_doctor_names_packages_packs_and_store(own_store: Path) -> None:
    done = arpgnet("doctor")
    for word in ("torch", "insightface", "training device", "pack demo", "store", "params.yaml"):
        assert word in done.stdout
    assert done.returncode == 0, done.stdout


def test_doctor_gives_no_advice_where_all_is_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("arpgnet.pipeline.cli.doctor.visible_gpus", list)
    found = {finding.what: finding for finding in examine()}
    for what in ("Python", "torch", "training device", "pack demo", "pack buffalo_l", "store"):
        assert (found[what].ok, found[what].remedy) == (True, "")


def test_doctor_says_what_to_do_about_an_unusable_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setenv("ARPGNET_STORE", str(blocked / "store"))
    done = arpgnet("doctor")
    assert done.returncode == 1
    assert "ARPGNET_STORE" in done.stdout


def test_store_starts_empty_and_says_so() -> None:
    assert "0 damaged entries" in arpgnet("store", "verify").stdout
    assert "0 entries" in arpgnet("store", "gc", "--dry-run").stdout
    assert arpgnet("store", "stats").returncode == 0


def test_compares_two_predictions_files(tmp_path: Path) -> None:
    a = str(write_run(tmp_path / "a", {0: {"s0-0"}, 1: set()}))
    b = str(write_run(tmp_path / "b", {0: set(), 1: set()}))
    done = arpgnet("compare", a, b, "--json", str(tmp_path / "found.json"))
    assert done.returncode == 0, done.stderr
    assert "macro-F1" in done.stdout
    kept = json.loads((tmp_path / "found.json").read_text())
    assert kept == json.loads(arpgnet("compare", a, b, "--json", "-").stdout)
    assert kept["clips"] == 24


def test_lists_the_ablations() -> None:
    done = arpgnet("ablate", "--list", "--rows", "edges-none,window-all")
    assert done.returncode == 0, done.stderr
    assert "relation.edges=[]" in done.stdout
    assert "fusion.window=null" in done.stdout
    assert "vector-embedding" not in done.stdout
