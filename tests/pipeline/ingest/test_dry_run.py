"""`arpgnet data check`: what lies there beside what the documentation says."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from arpgnet.pipeline.cli.main import app
from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.common.params import CorpusParams, DatasetParams
from arpgnet.pipeline.common.params_file import load_params
from arpgnet.pipeline.datasets.adapters import rml
from arpgnet.pipeline.datasets.base import Expected
from arpgnet.pipeline.ingest.dry_run import Findings, check
from arpgnet.pipeline.ingest.run import ingest
from helpers.dataset_trees import make_images, text, video

CODES = ("an", "di", "fe", "ha", "sa", "su")
DIVISIBLE = "dataset: {root: videos, name: folder, group_by: clip, exclude: [rare]}\n"
EIGHT = "Neutral,Anger,Disgust,Fear,Happiness,Sadness,Surprise,Other"


def test_rendering_the_demo_is_announced_with_its_folder(
    own_store: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def quick(root: Path, **_: object) -> None:
        video(root / "joy/a.mp4")
        text(root / "manifest.csv", "path,label,subject\njoy/a.mp4,joy,s1\n")

    monkeypatch.setattr("arpgnet.pipeline.demo.render_dataset", quick)
    for said in (f"rendering the demo, 288 clips, into {own_store}/demo/", ""):
        check(DatasetParams())
        err = capsys.readouterr().err
        assert err.startswith(said)
        assert ("rendering" in err) == bool(said)


def rml_tree(root: Path) -> Path:
    for speaker in (1, 2):
        for code in CODES:
            video(root / f"rml-1/s{speaker}/{code}1.avi")
    return root


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return rml_tree(tmp_path_factory.mktemp("rml"))


@pytest.fixture
def root(made: Path, tmp_path: Path) -> Path:
    return shutil.copytree(made, tmp_path / "RML")


@pytest.fixture
def documented(monkeypatch: pytest.MonkeyPatch) -> None:
    """A set of two speakers."""
    expected = Expected(12, 2, classes=dict.fromkeys(rml.CLASSES.values(), 2))
    monkeypatch.setattr(rml, "ABOUT", replace(rml.ABOUT, expected=expected))


def checked(root: Path, name: str = "rml", *, verify: bool = False, **more: object) -> Findings:
    faces = more.pop("faces", "detect")
    params = DatasetParams(**{"name": name, "root": str(root), **more})
    (findings,) = check(params, faces, verify=verify)
    return findings


def by_name(findings: Findings) -> dict[str, tuple[str, str, str]]:
    return {line.what: (line.expected, line.found, line.state) for line in findings.lines}


def test_a_part_of_the_set_differs(root: Path) -> None:
    findings = checked(root)
    lines = by_name(findings)
    assert not findings.ok
    assert lines["clips"] == ("720", "12", "differs")
    assert lines["subjects"] == ("8", "2", "differs")
    assert lines["clips of fear"] == ("120", "2", "differs")
    assert lines["missing files"] == ("0", "0", "ok")
    assert lines["unreadable files"] == ("0", "0", "ok")


@pytest.mark.usefixtures("documented")
def test_the_set_as_documented_is_right(root: Path) -> None:
    findings = checked(root)
    assert findings.ok
    assert {line.state for line in findings.lines} == {"ok"}


@pytest.mark.usefixtures("documented")
def test_files_that_cannot_be_used_are_named_and_copies_counted(root: Path) -> None:
    (root / "rml-1/s1/di1.avi").write_bytes(b"")
    shutil.copy(root / "rml-1/s1/an1.avi", root / "rml-1/s2/an1.avi")
    text(root / "readme.txt", "x")
    findings = checked(root)
    lines = by_name(findings)
    assert not findings.ok
    (unreadable,) = (line for line in findings.lines if line.what.startswith("unreadable"))
    assert unreadable.found == "1"
    assert unreadable.first == ["rml-1/s1/di1.avi"]
    assert lines["identical files"] == ("-", "2 in 1 group", "unknown")
    assert lines["near-duplicate clips"] == ("-", "2 in 1 group", "unknown")
    (near,) = (line for line in findings.lines if line.what == "near-duplicate clips")
    assert near.first == ["rml-1/s1/an1.avi = rml-1/s2/an1.avi"]
    assert lines["unused files"] == ("-", "1", "unknown")


@pytest.mark.usefixtures("documented")
def test_verify_finds_bytes_that_changed_behind_length_and_time(root: Path) -> None:
    assert checked(root, verify=True).ok
    path = root / "rml-1/s2/su1.avi"
    before, data = path.stat(), bytearray(path.read_bytes())
    data[-1] ^= 255
    path.write_bytes(data)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert checked(root).ok
    findings = checked(root, verify=True)
    assert not findings.ok
    changed = next(line for line in findings.lines if line.what.startswith("content changed"))
    assert changed.first == ["rml-1/s2/su1.avi"]
    # the new metadata is cached
    assert checked(root, verify=True).ok


def test_missing_files_of_a_list_and_a_start_beyond_the_end(root: Path) -> None:
    rows = ["path,label,split,start_s", "rml-1/s1/an1.avi,a,train,", "rml-1/s1/di1.avi,b,test,9"]
    text(root / "labels.csv", "\n".join([*rows, "gone.avi,a,train,"]))
    findings = checked(root, "csv", manifest="labels.csv")
    lines = by_name(findings)
    assert lines["missing files"] == ("0", "1", "differs")
    assert lines["unreadable: starts after the end of the file"] == ("0", "1", "differs")
    assert lines["clips"] == ("-", "3", "unknown")
    assert lines["subjects"] == ("-", "0", "unknown")
    assert lines["clips of train"] == ("-", "2", "unknown")
    assert next(line.first for line in findings.lines if line.what == "missing files") == [
        "gone.avi"
    ]


def test_frames_of_classes_and_lengths_of_labels(tmp_path: Path) -> None:
    root = tmp_path / "aw"
    for part, name, count in (("Train_Set", "1", 12), ("Validation_Set", "2", 14)):
        lines = [EIGHT, *(str(n % 8) for n in range(count))]
        text(root / f"EXPR_Set/{part}/{name}.txt", "\n".join(lines))
        video(root / f"{name}.mp4", 12)
    make_images(root / "cropped_aligned/1", range(1, 16))
    found = checked(root, "affwild2")
    lines = by_name(found)
    assert lines["clips of train"] == ("248", "1", "differs")
    assert lines["frames of neutral"] == ("-", "4", "unknown")
    assert lines["videos with more labels than frames"] == ("-", "1", "unknown")
    assert lines["videos with fewer labels than frames"] == ("-", "0", "ok")
    lines = by_name(checked(root, "affwild2", faces="aligned"))
    assert lines["videos with fewer labels than frames"] == ("-", "1", "unknown")


def test_another_variant_has_no_documented_counts(tmp_path: Path) -> None:
    for number in (1, 2):
        folder = make_images(tmp_path / f"cohn-kanade-images/S00{number}/001", range(1, 4))
        text(
            tmp_path / f"Emotion/S00{number}/001/{folder.parent.name}_001_3_emotion.txt",
            f"   {number}.0000000e+00",
        )
    default = by_name(checked(tmp_path, "ckplus"))
    assert default["clips"] == ("327", "2", "differs")
    six = by_name(checked(tmp_path, "ckplus", variant="six"))
    assert six["clips"] == ("-", "1", "unknown")
    assert six["left out: contempt (variant six)"] == ("-", "1", "unknown")


def test_each_data_set_of_several_is_checked_whole(root: Path, tmp_path: Path) -> None:
    other = shutil.copytree(root, tmp_path / "other")
    params = DatasetParams(
        name="cross",
        train_on=[CorpusParams(name="rml", root=str(root))],
        test_on=[CorpusParams(name="rml", root=str(other))],
    )
    found = check(params)
    assert [findings.title.split(":")[0] for findings in found] == ["rml1", "rml2"]
    assert all(by_name(findings)["clips"][1] == "12" for findings in found)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ("name: folder", "the clips have no subject: set dataset.group_by: clip"),
        ("name: folder, group_by: clip", "no training clip of class 'rare'"),
        (
            "name: folder, group_by: clip, folds: 40",
            "needs at least 40 clips, but there are only 12",
        ),
        ("name: folder, group_by: clip, map: {gone: x}", "no clip has the class 'gone'"),
    ],
)
def test_what_ingest_refuses_is_refused_before_with_the_same_line(
    made: Path, settings: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clips = sorted(made.rglob("*.avi"))
    for number, clip in enumerate(clips):
        name = "rare" if number == 0 else ("joy", "fear")[number % 2]
        (tmp_path / "videos" / name).mkdir(parents=True, exist_ok=True)
        shutil.copy(clip, tmp_path / f"videos/{name}/{number}.avi")
    text(tmp_path / "params.yaml", f"dataset: {{root: videos, {settings}}}\n")
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["data", "check"])
    assert isinstance(done.exception, UserError), done.output
    with pytest.raises(UserError) as refused:
        ingest(load_params().dataset)
    assert str(done.exception) == str(refused.value)
    assert said in str(refused.value)
    # the tables are printed in any case
    assert "clips of rare" in done.output
    text(tmp_path / "params.yaml", DIVISIBLE)
    done = CliRunner().invoke(app, ["data", "check"])
    assert "possible (11 clips of 2 classes, kfold with 4 folds" in done.output, done.exception


def test_a_wrong_root_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "Train_AFEW").mkdir()
    with pytest.raises(UserError, match=r"rml: no video .* this looks like dataset.name: afew"):
        checked(tmp_path)


def test_exit_status_and_table(root: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    text(root / "labels.csv", "path,label\nrml-1/s1/an1.avi,a\nrml-1/s1/di1.avi,b\n")
    command = ["data", "check", "csv", str(root), "--manifest", "labels.csv"]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    (root / "rml-1/s1/di1.avi").unlink()
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 1
    assert "missing files, first: rml-1/s1/di1.avi" in done.output
    assert "differs" in done.output
    # without a name: what params.yaml says
    text(tmp_path / "params.yaml", f"dataset: {{name: rml, root: {root}}}\n")
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["data", "check"])
    assert done.exit_code == 1
    assert "720" in done.output


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["rml"], "dataset.root must be set"),
        (["rmll", "x"], "did you mean 'rml'?"),
        (["rml", "/no/such/folder"], "does not exist"),
        (["--variant", "six"], "require NAME and ROOT"),
        (["--follow-links"], "require NAME and ROOT"),
    ],
)
def test_mistakes_are_one_line(arguments: list[str], said: str) -> None:
    done = CliRunner().invoke(app, ["data", "check", *arguments])
    assert isinstance(done.exception, UserError)
    assert said in str(done.exception)
    assert "\n" not in str(done.exception)


def test_doubtful_names_are_listed(root: Path) -> None:
    rows = ["path,label,subject", "rml-1/s1/an1.avi,Joy,S1", "rml-1/s1/di1.avi,joy,s1"]
    text(root / "labels.csv", "\n".join([*rows, "rml-1/s1/an2.avi,NA,s2"]))
    done = CliRunner().invoke(app, ["data", "check", "csv", str(root), "--manifest", "labels.csv"])
    assert done.exit_code == 1
    assert "class 'NA' (1 clip, first: line 4 of labels.csv) is read as a missing" in done.output
    assert "classes 'Joy' and 'joy' differ only by case" in done.output
    assert "subjects 'S1' and 's1' differ only by case" in done.output
