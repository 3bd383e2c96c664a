"""Where a report comes from is said, and does not change from run to run."""

import subprocess
from pathlib import Path

import pytest

from arpgnet.pipeline.common.params import Params
from arpgnet.pipeline.report import provenance
from arpgnet.pipeline.report.page import gather, render
from helpers.report_outputs import EVIL, write_outputs


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with the report's code in it, as far as its version is concerned."""
    root = tmp_path / "project"
    code = root / "pipeline/report/provenance.py"
    code.parent.mkdir(parents=True)
    code.write_text("# code\n")
    (root / "params.yaml").write_text("{}\n")
    monkeypatch.setattr(provenance, "__file__", str(code))
    return root


def git(root: Path, *arguments: str) -> str:
    who = ("-c", "user.name=a", "-c", "user.email=a@example.org")
    done = subprocess.run(
        ["git", *who, *arguments], cwd=root, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


def committed(root: Path) -> None:
    git(root, "init", "--quiet")
    git(root, "add", ".")
    git(root, "commit", "--quiet", "-m", "start")


def test_the_commit_of_the_code_and_whether_it_was_changed(project: Path) -> None:
    committed(project)
    version = provenance.code_version()
    assert f"commit {git(project, 'rev-parse', '--short=10', 'HEAD')} of 20" in version
    assert "with changes" not in version
    # results and documents that are committed later are no other version of the code
    (project / "dvc.lock").write_text("x\n")
    git(project, "add", ".")
    git(project, "commit", "--quiet", "-m", "first run")
    (project / "notes.md").write_text("x\n")
    assert provenance.code_version() == version
    (project / "params.yaml").write_text("changed: 1\n")
    assert provenance.code_version() == f"{version}, with changes"


def test_code_outside_a_repository_or_inside_anothers_says_so(project: Path) -> None:
    assert "not from a Git repository" in provenance.code_version()
    # installed below another project's folder
    (project.parent / ".gitignore").write_text("project\n")
    committed(project.parent)
    assert "not from a Git repository" in provenance.code_version()


def test_the_page_names_data_versions_and_processor(tmp_path: Path) -> None:
    write_outputs(tmp_path)
    results = gather(Params(), tmp_path)
    said = {row["what"]: row["value"] for row in results.provenance}
    assert said["data set"].startswith("rml: ")
    assert "4 clips" in said["data version"]
    assert "torch " in said["libraries"]
    assert "numpy " in said["libraries"]
    assert said["Python"]
    assert said["processor"]
    page = render(results)
    assert said["libraries"] in page
    assert EVIL not in page
    assert gather(Params(), tmp_path).provenance == results.provenance
