"""The whole pipeline through DVC, as a user runs it, on a tiny demo."""

import json
import re
from pathlib import Path

import pytest
from support import TINY, Workspace


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("shared-store")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, store: Path) -> Workspace:
    """A workspace after one `dvc repro`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ARPGNET_STORE", str(store))
        workspace = Workspace(tmp_path_factory.mktemp("project"), TINY)
        workspace.dvc("repro")
        # what `dvc metrics diff` compares with
        workspace.run("git", "add", "dvc.lock")
        workspace.run("git", "commit", "--quiet", "--message", "first run")
    return workspace


@pytest.fixture(autouse=True)
def same_store(store: Path, monkeypatch: pytest.MonkeyPatch, own_store: Path) -> None:
    monkeypatch.setenv("ARPGNET_STORE", str(store))


def ran(output: str) -> list[str]:
    return re.findall(r"Running stage '(\w+)'", output)


def test_metrics_have_the_promised_form(finished: Workspace) -> None:
    metrics = json.loads((finished.root / "reports/metrics.json").read_text())
    for name in ("war", "uar", "macro_f1"):
        assert set(metrics[name]) >= {"mean", "ci_low", "ci_high"}
        assert (
            0 <= metrics[name]["ci_low"] <= metrics[name]["mean"] <= metrics[name]["ci_high"] <= 1
        )
    assert 0.9 <= metrics["coverage"]["mean"] <= 1
    assert metrics["clips"] == 32
    assert len(metrics["recall"]) == 8
    shown = finished.dvc("metrics", "show", "--md").stdout
    assert "uar.mean" in shown


def test_second_repro_runs_nothing_but_the_listing(finished: Workspace) -> None:
    again = finished.dvc("repro")
    assert ran(again.stdout) == ["ingest"]


def test_page_is_self_contained_and_complete(finished: Workspace) -> None:
    page = (finished.root / "reports/index.html").read_text()
    assert not re.findall(r'(?:src|href)="(?!data:|#)', page)
    for heading in ("Confusion matrix", "Recall of each class", "Training curves", "Coverage"):
        assert heading in page
    assert page.count("<figure>") == 8
    assert "Rendered faces" in page


def test_other_heads_run_three_stages_and_a_diff_comes_out(finished: Workspace) -> None:
    before = finished.outs()
    done = finished.dvc("exp", "run", "-S", "fusion.heads=8")
    assert [stage for stage in ran(done.stdout) if stage != "ingest"] == [
        "train", "evaluate", "report",
    ]  # fmt: skip
    diff = json.loads(finished.dvc("metrics", "diff", "--all", "--json").stdout)
    both = diff["reports/metrics.json"]["uar.mean"]
    assert {type(both["old"]), type(both["new"])} == {float}
    # and back: everything comes from the caches, byte by byte what it was
    finished.run("git", "checkout", "--quiet", "params.yaml", "dvc.lock")
    back = finished.dvc("repro")
    assert set(ran(back.stdout)) <= {"ingest"}
    assert finished.outs() == before


def test_fine_tuning_is_one_parameter(finished: Workspace) -> None:
    tiny = ("finetune.subjects=4", "finetune.epochs=1", "train.epochs=1")
    done = finished.dvc(
        *("exp", "run", "-S", "finetune.enabled=true"), *(f"-S{setting}" for setting in tiny)
    )
    # landmarks do not depend on the appearance network
    assert [stage for stage in ran(done.stdout) if stage != "ingest"] == [
        "finetune", "appearance", "graph", "train", "evaluate", "report",
    ]  # fmt: skip
    facts = json.loads((finished.root / "artifacts/backbone/backbone.json").read_text())
    assert facts["enabled"]
    assert facts["train"] + facts["val"] == 96
    finished.run("git", "checkout", "--quiet", "params.yaml", "dvc.lock")
    assert set(ran(finished.dvc("repro").stdout)) <= {"ingest"}


def test_a_fresh_clone_gives_the_same_bytes(
    finished: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ARPGNET_STORE", str(tmp_path / "store"))
    other = Workspace(tmp_path / "other", TINY)
    other.dvc("repro")
    assert other.outs() == finished.outs()


def test_plots_come_out(finished: Workspace) -> None:
    shown = finished.dvc("plots", "show")
    assert "index.html" in shown.stdout


def test_experiments_run_in_a_folder_of_their_own(finished: Workspace) -> None:
    done = finished.dvc("exp", "run", "--temp", "-S", "train.epochs=2")
    assert [stage for stage in ran(done.stdout) if stage != "ingest"] == [
        "train", "evaluate", "report",
    ]  # fmt: skip


def test_misspelt_parameter_stops_the_run_with_one_line(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "project", TINY)
    params = workspace.root / "params.yaml"
    params.write_text(params.read_text().replace("  heads: 4", "  headz: 4"))
    done = workspace.stage("ingest")
    assert done.returncode == 1
    assert "did you mean 'relation.heads'?" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
