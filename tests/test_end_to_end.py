"""The whole pipeline through DVC, as a user runs it, on a tiny demo."""

import importlib
import json
import pickle
import re
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from ruamel.yaml import YAML

from arpgnet.pipeline.common.params_file import load_params
from arpgnet.pipeline.datasets.corpora import dataset_roots
from arpgnet.pipeline.networks.sessions import make_session
from arpgnet.pipeline.runner.work import ClipWork
from arpgnet.pipeline.store.code import import_closure, left_out
from arpgnet.pipeline.tables.manifest import read_manifest
from arpgnet.pipeline.tables.predictions import NETWORK, PREDICTIONS, read_predictions
from arpgnet.pipeline.training.checkpoints import load_run
from helpers import in_process, store_entries
from helpers.killed_runs import LOG, PATIENCE_S, begin, kill, wait_for
from helpers.support import TINY, Workspace


@pytest.fixture(scope="module")
def finished_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("shared-store")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, finished_store: Path) -> Workspace:
    """A workspace after one `dvc repro`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ARPGNET_STORE", str(finished_store))
        workspace = Workspace(tmp_path_factory.mktemp("project"), TINY)
        workspace.dvc("repro")
        # what `dvc metrics diff` compares with
        workspace.run("git", "add", "dvc.lock")
        workspace.run("git", "commit", "--quiet", "--message", "first run")
    return workspace


@pytest.fixture(autouse=True)
def same_store(finished_store: Path, monkeypatch: pytest.MonkeyPatch, own_store: Path) -> None:
    monkeypatch.setenv("ARPGNET_STORE", str(finished_store))


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
    for heading in (
        *("Confusion matrix and recall per class", "Training curves", "Coverage"),
        *(
            "Calibration",
            "Results per subject",
            "Most confident mistakes",
            "What the network attends to",
            "What to do next",
            "What was run",
        ),
    ):
        assert heading in page
    assert page.count("<figure>") == 8
    assert "Rendered faces" in page


@pytest.mark.slow
def test_other_heads_run_what_follows_and_a_diff_comes_out(finished: Workspace) -> None:
    before = finished.outputs()
    done = finished.dvc("exp", "run", "-S", "fusion.heads=8")
    assert [stage for stage in ran(done.stdout) if stage != "ingest"] == [
        "train", "evaluate", "explain", "report",
    ]  # fmt: skip
    diff = json.loads(finished.dvc("metrics", "diff", "--all", "--json").stdout)
    both = diff["reports/metrics.json"]["uar.mean"]
    assert {type(both["old"]), type(both["new"])} == {float}
    # and back: everything comes from the caches, byte by byte what it was
    finished.run("git", "checkout", "--quiet", "params.yaml", "dvc.lock")
    back = finished.dvc("repro")
    assert set(ran(back.stdout)) <= {"ingest"}
    assert finished.outputs() == before


# tests/pipeline/finetune has the fast ones
@pytest.mark.slow
def test_fine_tuning_is_one_parameter(finished: Workspace) -> None:
    tiny = ("finetune.subjects=4", "finetune.epochs=1", "train.epochs=1")
    done = finished.dvc(
        *("exp", "run", "-S", "finetune.enabled=true"), *(f"-S{setting}" for setting in tiny)
    )
    # landmarks do not depend on the appearance network; pretrain, which is off, reads the same
    # list of stills
    assert [stage for stage in ran(done.stdout) if stage != "ingest"] == [
        "pretrain", "finetune", "appearance", "graph", "train", "evaluate", "explain", "report",
    ]  # fmt: skip
    metadata = json.loads((finished.root / "artifacts/backbone/backbone.json").read_text())
    assert metadata["enabled"]
    assert metadata["train"] + metadata["val"] == 96
    finished.run("git", "checkout", "--quiet", "params.yaml", "dvc.lock")
    assert set(ran(finished.dvc("repro").stdout)) <= {"ingest"}


# quick ones: a killed engine in tests/pipeline/runner, killed runs in tests/pipeline/train
@pytest.mark.slow
def test_a_fresh_clone_killed_on_the_way_gives_the_same_bytes(
    finished: Workspace, finished_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Run again, it goes on: no clip is computed twice. tests/faults/test_killed.py kills more."""
    store = tmp_path / "store"
    monkeypatch.setenv("ARPGNET_STORE", str(store))
    # the rendered clips, 10 s to make, are not what is tested
    shutil.copytree(finished_store / "demo", store / "demo")
    other = Workspace(tmp_path / "other", TINY)
    first = begin(other)
    wait_for(first, "appearance")
    time.sleep(0.5)
    kill(first, everything=True)
    assert first.returncode == -signal.SIGKILL
    before = store_entries.finished(store)
    assert {path.parts[-3] for path in before} >= {"decode", "align", "landmark"}
    assert begin(other).wait(PATIENCE_S) == 0, (other.root / LOG).read_text()[-2000:]
    after = store_entries.finished(store)
    assert {path for path in before if after.get(path) != before[path]} == set()
    assert other.outputs() == finished.outputs()


@pytest.mark.slow
def test_a_fresh_clone_gives_the_same_bytes(
    finished: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ARPGNET_STORE", str(tmp_path / "store"))
    other = Workspace(tmp_path / "other", TINY)
    other.dvc("repro")
    assert other.outputs() == finished.outputs()


# a clip, computed from a pickled work as a worker does; prints our modules that were loaded for it
LOADED = """
import pickle, sys
work, clip = pickle.load(open(sys.argv[1], "rb"))
work.setup()
assert sum(piece.num_rows for piece in work.run(clip))
print(*(name.removeprefix("arpgnet.") for name in sys.modules if name.startswith("arpgnet.")))
"""


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["decode", "align", "landmark", "appearance", "graph"])
def test_all_code_that_a_worker_loads_is_in_the_key(
    finished: Workspace, stage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What really runs, against what is read from the source files."""
    main = importlib.import_module(f"arpgnet.stages.{stage}")
    monkeypatch.chdir(finished.root)
    works: list[ClipWork] = []
    monkeypatch.setattr(main, "run_clips", lambda work, *_: works.append(work))
    main.main()
    (work,) = works
    (tmp_path / "work").write_bytes(pickle.dumps((work, read_manifest().clips[0])))
    done = finished.run("python", "-c", LOADED, str(tmp_path / "work"))
    loaded = {name for name in done.stdout.split() if not left_out(name)}
    closure = set(import_closure(finished.root, type(work).__module__))
    assert type(work).__module__.removeprefix("arpgnet.") in loaded
    assert loaded <= closure, sorted(loaded - closure)


def test_plots_come_out(finished: Workspace) -> None:
    shown = finished.dvc("plots", "show")
    assert "index.html" in shown.stdout
    assert "warn" not in (shown.stdout + shown.stderr).lower()
    page = (finished.root / "dvc_plots/index.html").read_text()
    wanted = YAML(typ="safe").load((finished.root / "dvc.yaml").read_text())["plots"]
    for title in (title for plot in wanted if not isinstance(plot, str) for title in plot):
        assert title in page
    # without a network the others are empty
    images = re.findall(r'<img src="([^"]+\.svg)"', page)
    assert len(images) == 7
    assert all((finished.root / "dvc_plots" / image).is_file() for image in images)


# tests/test_dag.py checks what is registered
@pytest.mark.slow
def test_a_registered_model_is_fetched_by_its_tag(finished: Workspace, tmp_path: Path) -> None:
    finished.run("git", "tag", "--annotate", "arpgnet@v1.0.0", "--message", "first")
    out = ("--out", str(tmp_path / "runs"))
    finished.dvc("artifacts", "get", str(finished.root), "arpgnet", "--rev", "v1.0.0", *out)
    assert load_run(tmp_path / "runs/fold0-seed0")[1]["fold"] == 0
    assert ran(finished.dvc("repro").stdout) == ["ingest"]


@pytest.mark.slow
def test_experiments_run_in_a_folder_of_their_own(finished: Workspace) -> None:
    done = finished.dvc("exp", "run", "--temp", "-S", "train.epochs=2")
    assert [stage for stage in ran(done.stdout) if stage != "ingest"] == [
        "train", "evaluate", "explain", "report",
    ]  # fmt: skip


def arpgnet(workspace: Workspace, *arguments: str, check: bool = True) -> str:
    done = in_process.arpgnet(*arguments, folder=workspace.root)
    assert not (check and done.returncode), done.stderr
    return done.stdout + done.stderr


def test_export_agrees_with_the_stored_predictions(finished: Workspace) -> None:
    assert "largest difference" in arpgnet(finished, "export", "--out", "there/model.onnx")
    checked = arpgnet(finished, "export", "--check", "there/model.onnx")
    assert "0 predicted differently" in checked
    metadata = make_session(finished.root / "there/model.onnx").get_modelmeta().custom_metadata_map
    assert len(json.loads(metadata["classes"])) == 8
    preprocessing = json.loads(metadata["preprocessing"])
    assert preprocessing["sampling"] == {"sampling": "uniform", "frames": 4, "fps": 5.0}
    assert preprocessing["appearance_network"]["color"] == "rgb"
    assert len(preprocessing["regions"]["pooling"]) == 49
    assert json.loads(metadata["license"])["features"] == "face pack demo: MIT"


def test_what_is_published_is_whole_and_can_be_used(finished: Workspace) -> None:
    said = arpgnet(finished, "publish", "given")
    given = finished.root / "given"
    files = {path.relative_to(given).as_posix() for path in given.rglob("*") if path.is_file()}
    assert files == {
        "README.md", "SHA256SUMS", "backbone/backbone.json", "classes.json", "model.onnx",
        "model.safetensors", "params.yaml", "predict.json",
    }  # fmt: skip
    assert "8 files" in said
    # all but the card, which its publisher may add to, and the sums themselves
    assert "6 listed in SHA256SUMS" in said
    assert "6 files listed" in arpgnet(finished, "publish", "--check", "given")
    _, info = load_run(given)
    assert json.loads((given / "classes.json").read_text()) == info["classes"]
    assert load_params(given / "params.yaml").fusion.width == TINY["fusion.width"]
    card = (given / "README.md").read_text()
    assert card.startswith("---\nlicense: mit\n")
    # the workspace's card, between what hubs read and what only this network is about
    top, sections = (finished.root / "artifacts/MODEL_CARD.md").read_text().split("\n## ", 1)
    assert f"\n---\n{top}\n## How to use" in card
    assert f"\n## {sections}\n## Contents of this folder" in card
    assert "from epoch" in card
    assert "Rendered faces" in card
    for path in given.rglob("*"):
        assert path.is_dir() or str(finished.root).encode() not in path.read_bytes()
    # a second time: the same bytes in another folder, and the first one is left alone
    arpgnet(finished, "publish", "again")
    sums = [(finished.root / name / "SHA256SUMS").read_text() for name in ("given", "again")]
    assert sums[0] == sums[1]
    assert (finished.root / "again/README.md").read_text() == card
    # it is all that predict needs
    (video,) = sorted(dataset_root_of(finished).rglob("*.mp4"))[:1]
    for model in (".", "given"):
        words = ("--model", model, "--out", f"by-{model.strip('.')}")
        arpgnet(finished, "predict", str(video), *words)
    tables = [
        (finished.root / f"by-{name}/{video.stem}.csv").read_bytes() for name in ("", "given")
    ]
    assert tables[0] == tables[1]
    refused = arpgnet(finished, "publish", "given", check=False)
    assert refused.startswith("error: given is not empty")
    assert len(refused.strip().splitlines()) == 1


def dataset_root_of(workspace: Workspace) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(workspace.root)
        return dataset_roots(load_params().dataset)["demo"]


def copy_videos(clips: list[str], paths: dict[str, Path], folder: Path) -> list[str]:
    """The clips' videos in a folder, by names that no two share: without their suffix."""
    folder.mkdir()
    names = [clip.replace("/", "-").removesuffix(".mp4") for clip in clips]
    for clip, name in zip(clips, names, strict=True):
        shutil.copy(paths[clip], folder / f"{name}.mp4")
    return names


def test_predict_gives_the_stored_probabilities(finished: Workspace, tmp_path: Path) -> None:
    """The skew test: the clips as mere videos give what the train stage wrote down of them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(finished.root)
        root = dataset_roots(load_params().dataset)["demo"]
        clips = {clip.clip_id: root / clip.path for clip in read_manifest().clips}
    stored = read_predictions(finished.root / PREDICTIONS)
    own = (stored.model == NETWORK) & (stored.fold == 1) & (stored.split == "test")
    stored = stored.select(own)
    names = copy_videos(stored.clip_id.tolist(), clips, tmp_path / "videos")
    arpgnet(
        *(finished, "predict", str(tmp_path / "videos"), "--run", "fold1-seed0"),
        *("--out", str(tmp_path), "--format", "parquet"),
    )
    assert len(names) == 16
    for name, expected in zip(names, stored.probabilities, strict=True):
        table = pd.read_parquet(tmp_path / f"{name}.parquet")
        assert table["frame"].tolist() == list(range(len(table)))
        assert set(table["face_id"]) == {0}
        found = table[[f"p_{name}" for name in stored.classes]].to_numpy()
        assert np.abs(found - expected).max() <= 1e-4
        assert set(table["label"]) == {stored.classes[int(expected.argmax())]}


@pytest.mark.slow
def test_ablations_stand_in_the_report_and_compare_finds_them(finished: Workspace) -> None:
    # a single fusion layer cannot alternate: mode-serial fails
    said = arpgnet(finished, "ablate", "--rows", "edges-none,mode-serial", "--jobs", "2")
    assert "edges-none: UAR" in said
    assert "mode-serial: failed: params.yaml: fusion.layers is 1; mode serial" in said
    kept = json.loads((finished.root / "comparisons/ablation.json").read_text())
    assert [(row["name"], row["status"]) for row in kept["rows"]] == [
        ("edges-none", "ok"), ("mode-serial", "failed"),
    ]  # fmt: skip
    page = (finished.root / "reports/index.html").read_text()
    assert "no edges: a region attends to itself only" in page
    assert "From another run" not in page
    assert set(ran(finished.dvc("repro").stdout)) == {"ingest"}
    # again: nothing is trained, and the row of the first call stays
    log = finished.root / ".dvc/tmp/ablate/edges-none.log"
    log.unlink()
    arpgnet(finished, "ablate", "--rows", "edges-none")
    assert not log.exists()
    again = json.loads((finished.root / "comparisons/ablation.json").read_text())
    assert again == kept
    # the row's experiment is one like any other
    both = ("compare", "HEAD", "ablation-edges-none", "--json", "-")
    result = json.loads(arpgnet(finished, *both))
    assert (result["clips"], result["interval_unit"], result["intervals_over"]) == (
        32, "subject", 4,
    )  # fmt: skip
    assert result["scores"]["uar"]["difference"] == kept["rows"][0]["difference"]["uar"]
    # the commit before the first run has no dvc.lock
    said = arpgnet(finished, "compare", "HEAD~1", "workspace", check=False)
    assert "the predictions of 'HEAD~1' are not available" in said
    assert "Traceback" not in said


def test_misspelled_parameter_stops_the_run_with_one_line(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "project", TINY)
    params = workspace.root / "params.yaml"
    params.write_text(params.read_text().replace("  heads: 4", "  headz: 4"))
    done = in_process.stage("ingest", workspace.root)
    assert done.returncode == 1
    assert "did you mean 'fusion.heads'?" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


# make test has the same on Aff-Wild2's layout
@pytest.mark.slow
def test_videos_whose_frames_are_labeled(
    finished: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The demo's clips, called neutral in their first third: per-frame training and scores."""
    monkeypatch.chdir(finished.root)
    rendered = dataset_roots(load_params().dataset)["demo"]
    videos = tmp_path / "videos"
    shutil.copytree(rendered, videos)
    rows = ["path,frame_labels,subject"]
    total = 0
    for clip in read_manifest().clips:
        assert clip.frames is not None
        names = ["neutral"] * (clip.frames // 3) + [clip.label or ""] * (clip.frames * 2 // 3)
        names[0] = "-1"
        total += len(names) - 1
        text = videos / (clip.clip_id.replace("/", "-") + ".txt")
        text.write_text("\n".join(names))
        rows.append(f"{clip.path},{text.name},{clip.subject}")
    (videos / "labels.csv").write_text("\n".join(rows))
    settings = {"dataset.name": "csv", "dataset.manifest": "labels.csv", "train.window": 3}
    own = {"dataset.root": str(videos), "train.stride": 2, "train.epochs": 2}
    workspace = Workspace(tmp_path / "project", TINY | settings | own)
    workspace.dvc("repro")
    metrics = json.loads((workspace.root / "reports/metrics.json").read_text())
    assert metrics["frames"] == total
    assert metrics["coverage"]["mean"] > 0.95
    assert f"{total} labeled frames" in (workspace.root / "reports/index.html").read_text()
    # and predict gives a labeled frame what the train stage gave it
    stored = read_predictions(workspace.root / PREDICTIONS)
    stored = stored.select(
        (stored.model == NETWORK) & (stored.fold == 0) & (stored.split == "test")
    )
    clips = sorted(set(stored.clip_id))[:3]
    paths = {clip.clip_id: videos / clip.path for clip in read_manifest().clips}
    names = copy_videos(clips, paths, tmp_path / "copies")
    out = ("--run", "fold0-seed0", "--out", str(tmp_path / "out"), "--format", "jsonl")
    arpgnet(workspace, "predict", str(tmp_path / "copies"), *out)
    for clip, name in zip(clips, names, strict=True):
        own = stored.select(stored.clip_id == clip)
        table = pd.read_json(tmp_path / f"out/{name}.jsonl", lines=True)
        found = table[[f"p_{label}" for label in stored.classes]].to_numpy()[own.frame_index]
        assert np.abs(found - own.probabilities).max() <= 1e-4
