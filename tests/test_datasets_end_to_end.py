"""Whole runs on data sets in their true layout whose clips are rendered faces.

Each ends in the set's own metric by its own protocol. The stages are called one after the other,
as DVC would (tests/test_end_to_end.py), in this process: to start eleven takes 20 s more.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from arpgnet.pipeline.datasets.presets import read_preset
from arpgnet.pipeline.geometry.alignment import apply
from arpgnet.pipeline.tables.manifest import MANIFEST, read_manifest
from arpgnet.pipeline.tables.predictions import NETWORK, PREDICTIONS, read_predictions
from arpgnet.pipeline.tables.shards import ShardReader, to_numpy
from arpgnet.pipeline.train.smooth import LENGTHS
from arpgnet.pipeline.training.checkpoints import load_run
from helpers import rendered_trees
from helpers.support import Workspace
from helpers.whole_runs import SETTINGS, STAGES, in_order, reproduce, results, sides

Run = Callable[..., Workspace]
pytestmark = pytest.mark.usefixtures("module_store")


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A workspace after all stages, or those up to one, with the given settings."""

    def whole(settings: dict[str, Any], last: str = STAGES[-1]) -> Workspace:
        return reproduce(Workspace(tmp_path / "project", SETTINGS | settings), last)

    return whole


@pytest.fixture(scope="module")
def ckplus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return rendered_trees.write_ckplus(tmp_path_factory.mktemp("ckplus"))


@pytest.mark.slow
def test_rml_leaves_one_speaker_out_and_pools_all_clips(run: Run, tmp_path: Path) -> None:
    root = rendered_trees.write_rml(tmp_path / "rml")
    workspace = run({"dataset.name": "rml", "dataset.root": str(root)})
    metrics, details, page, manifest = results(workspace)
    assert manifest.classes == ["anger", "disgust", "fear", "happiness", "sadness", "surprise"]
    assert {clip.subject for clip in manifest.clips} == {f"s{number}" for number in range(1, 9)}
    official = details["official"]
    assert (official["metric"], official["denominator"], official["unit"]) == ("war", 48, "clips")
    assert official["words"] == "leave one of 8 speakers out, all clips pooled"
    assert official["score"] == metrics["official"]
    assert in_order(metrics["official"])
    assert metrics["official"]["mean"] == metrics["war"]["mean"]
    assert (metrics["clips"], metrics["folds"], metrics["coverage"]["mean"]) == (48, 8, 1.0)
    assert (details["interval_unit"], details["intervals_over"]) == ("subject", 8)
    subject_of = {clip.clip_id: clip.subject for clip in manifest.clips}
    tested = []
    for of_fold in sides(workspace).values():
        people = {
            side: {subject_of[clip] for clip, other in of_fold.items() if other == side}
            for side in ("train", "val", "test")
        }
        assert len(people["test"]) == 1
        assert not people["test"] & (people["train"] | people["val"])
        assert not people["train"] & people["val"]
        tested += people["test"]
    assert sorted(tested) == [f"s{number}" for number in range(1, 9)]
    assert "By the data set's official protocol (leave one of 8 speakers out" in page
    assert "of 48 clips per seed" in page


# Aff-Wild2 is in make test
@pytest.mark.slow
def test_afew_counts_every_clip_of_val(run: Run, tmp_path: Path) -> None:
    root = rendered_trees.write_afew(tmp_path / "afew")
    own = {"dataset.name": "afew", "dataset.root": str(root), "faces.source": "aligned"}
    workspace = run(own)
    metrics, details, page, manifest = results(workspace)
    clips = {clip.clip_id: clip for clip in manifest.clips}
    assert len(clips) == 4 * 7 + 2 * 7 + 1
    lost = rendered_trees.AFEW_WITHOUT_FACE
    # without provided faces the video itself is looked through
    found = [name for name, clip in clips.items() if clip.faces == "detect"]
    assert found == [rendered_trees.AFEW_WITHOUT_FACES, lost]
    assert [name for name, clip in clips.items() if not clip.image_sequence] == found
    faces = ShardReader(workspace.root / "data/faces")
    assert {name for name in clips if not faces.entry(name).ok} == {lost}
    assert faces.entry(lost).reason == "no face found in any of 4 frames"
    # what is cut out already is seen as it is: at 128 pixels a change of size, middle on middle
    name = next(name for name in clips if name not in found)
    matrix = to_numpy(faces.read(name).column("matrix"), (2, 3))
    np.testing.assert_allclose(
        matrix, [[[0.875, 0, -1 / 16], [0, 0.875, -1 / 16]]] * len(matrix), atol=1e-6
    )
    official = details["official"]
    assert (official["metric"], official["denominator"], official["unit"]) == ("war", 15, "clips")
    assert "all clips of Val" in official["words"]
    assert official["score"] == metrics["official"]
    assert metrics["folds"] == 1
    assert metrics["coverage"]["mean"] == pytest.approx(14 / 15)
    # the clip without a face is one of the fifteen, and wrong
    rows = read_predictions(workspace.root / PREDICTIONS)
    rows = rows.select((rows.model == NETWORK) & (rows.split == "test"))
    right = int((rows.predicted == rows.label).sum())
    assert metrics["official"]["mean"] == pytest.approx(right / 15, abs=1e-6)
    assert set(rows.clip_id[rows.predicted < 0]) == {lost}
    (of_fold,) = sides(workspace).values()
    assert {name for name, side in of_fold.items() if side == "test"} == {
        name for name, clip in clips.items() if clip.split == "val"
    }
    assert {"train", "val"} <= set(of_fold.values())
    assert "of 15 clips per seed" in page
    assert "no face found in any of 4 frames: 1" in page
    assert "2 clips without provided faces: faces are detected instead" in page


@pytest.mark.slow
def test_affwild2_scores_every_labeled_frame(run: Run, tmp_path: Path) -> None:
    root = tmp_path / "affwild2"
    labeled = rendered_trees.write_affwild2(root)
    own = {"dataset.name": "affwild2", "dataset.root": str(root), "faces.source": "aligned"}
    frames = {"decode.sampling": "fps", "decode.fps": 8.0, "train.window": 8, "train.stride": 8}
    workspace = run(own | frames)
    metrics, details, page, manifest = results(workspace)
    assert manifest.classes == [
        *("neutral", "anger", "disgust", "fear", "happiness", "sadness", "surprise", "other"),
    ]
    assert len(manifest.clips) == 7
    assert all(clip.first_image == 1 and clip.faces == "aligned" for clip in manifest.clips)
    # frames count from 0 as the labels do: image 00002 is frame 1
    decoded = ShardReader(workspace.root / "data/frames")
    for clip in manifest.clips:
        numbers = decoded.read(clip.clip_id).column("frame_index").to_numpy() + 1
        pictures = {int(path.stem) for path in (root / clip.path).iterdir()}
        assert set(numbers.tolist()) <= pictures
        assert clip.frames == max(pictures)
    official = details["official"]
    assert (official["metric"], official["unit"]) == ("macro_f1", "frames")
    assert official["denominator"] == labeled == metrics["frames"]
    assert "every labeled frame of Validation_Set" in official["words"]
    assert metrics["official"] == official["score"]
    assert metrics["official"]["mean"] == metrics["macro_f1"]["mean"]
    assert (metrics["clips"], metrics["folds"]) == (3, 1)
    # every line of every label file stands beside its frame, where there is an image or none
    rows = read_predictions(workspace.root / PREDICTIONS)
    rows = rows.select((rows.model == NETWORK) & (rows.split == "test"))
    scored: dict[str, dict[int, int]] = {}
    for name, frame, label in zip(rows.clip_id, rows.frame_index, rows.label, strict=True):
        scored.setdefault(name.split("/")[1], {})[int(frame)] = int(label)
    files = sorted(root.glob("Annotations/*/Validation_Set/*.txt"))
    assert scored == {
        path.stem: {
            frame: int(code)
            for frame, code in enumerate(path.read_text().splitlines()[1:])
            if code != "-1"
        }
        for path in files
    }
    (of_fold,) = sides(workspace).values()
    assert {name for name, side in of_fold.items() if side == "test"} == {
        f"cropped_aligned/{name}"
        for name in ("video5", rendered_trees.TWO_PEOPLE, f"{rendered_trees.TWO_PEOPLE}_right")
    }
    groups = {clip.group for clip in manifest.clips if rendered_trees.TWO_PEOPLE in clip.clip_id}
    assert groups == {rendered_trees.TWO_PEOPLE}
    assert f"of {labeled} frames per seed" in page


@pytest.mark.slow
def test_emae_s_preset_ends_in_the_metric_of_affwild2(run: Run, tmp_path: Path) -> None:
    root = tmp_path / "affwild2"
    labeled = rendered_trees.write_affwild2(root)
    preset = {".".join(key): value for key, value in read_preset("emae-affwild2").items()}
    own = {"dataset.root": str(root), "faces.pack": "demo", "decode.fps": 8.0}
    workspace = run(preset | own | {"train.window": 8, "train.stride": 8})
    metrics, details, page, _ = results(workspace)
    official = details["official"]
    assert (official["metric"], official["denominator"]) == ("macro_f1", labeled)
    assert in_order(metrics["official"])
    # both views were described, and fused without a region graph
    seen = ShardReader(workspace.root / "data/appearance")
    assert seen.metadata["views"] == ["face", "parts"]
    network, info = load_run(workspace.root / "artifacts/runs/fold0-seed0")
    assert (network.config.views, network.config.fusion.mode) == ("attention", "appearance")
    # what validation chose is said everywhere, and is in what was scored
    chosen = info["smoothing"]
    assert chosen == details["training"]["fold0-seed0"]["smoothing"]
    assert chosen["length"] in LENGTHS
    assert chosen["score"] >= chosen["before"]
    assert metrics["smoothing"]["frames"]["mean"] == chosen["length"]
    gain = chosen["score"] - chosen["before"]
    assert metrics["smoothing"]["val_macro_f1_gain"]["mean"] == pytest.approx(gain, abs=1e-6)
    card = (workspace.root / "artifacts/MODEL_CARD.md").read_text()
    said = f"are smoothed over {chosen['length']} video frames"
    assert said in page
    assert said in " ".join(card.split())
    assert "views.fusion" in card
    assert "appearance branch reads an embedding of the whole face, or two views of it" in page


@pytest.mark.slow
def test_trained_on_ckplus_and_scored_on_ravdess(run: Run, ckplus: Path, tmp_path: Path) -> None:
    ravdess = rendered_trees.write_ravdess(tmp_path / "ravdess")
    own = {
        "dataset.name": "cross",
        "dataset.train_on": [{"name": "ckplus", "root": str(ckplus)}],
        "dataset.test_on": [{"name": "ravdess", "root": str(ravdess), "variant": "speech_once"}],
        "dataset.map": {"contempt": None, "neutral": None, "calm": None},
        "faces.source": "aligned",
    }
    workspace = run(own)
    metrics, details, page, manifest = results(workspace)
    assert manifest.classes == ["anger", "disgust", "fear", "happiness", "sadness", "surprise"]
    clips = {clip.clip_id: clip for clip in manifest.clips}
    assert {(clip.corpus, clip.faces) for clip in clips.values()} == {
        ("ckplus", "landmarks"), ("ravdess", "detect"),
    }  # fmt: skip
    (of_fold,) = sides(workspace).values()
    assert {clips[name].corpus for name, side in of_fold.items() if side == "test"} == {"ravdess"}
    assert {clips[name].corpus for name, side in of_fold.items() if side != "test"} == {"ckplus"}
    assert set(of_fold.values()) == {"train", "val", "test"}
    rows = read_predictions(workspace.root / PREDICTIONS)
    tested = rows.select((rows.split == "test") & (rows.model == NETWORK))
    assert {name.split("/")[0] for name in tested.clip_id} == {"ravdess"}
    assert (metrics["clips"], metrics["folds"]) == (18, 1)
    for name in ("war", "uar", "macro_f1"):
        assert in_order(metrics[name])
    # nobody's own protocol
    assert "official" not in metrics
    assert details["official"] is None
    for line in (
        "<h1>ARPGNet on ravdess, trained on ckplus</h1>",
        "Protocol: cross-corpus, 1 fold, 1 seed.",
        "4 left out: class contempt is mapped to null",
        "3 left out: class neutral is mapped to null",
        "3 left out: class calm is mapped to null",
        "4 left out: ckplus: sequence without an emotion",
        "1 left out: ravdess: sound without images (03)",
        "1 left out: ravdess: with sound (01), beside the same without (02)",
    ):
        assert line in page


@pytest.mark.slow
def test_ckplus_gives_its_own_landmarks(run: Run, ckplus: Path) -> None:
    own = {"dataset.name": "ckplus", "dataset.root": str(ckplus), "graph.regions": "landmark"}
    given = {"faces.source": "aligned", "faces.landmarks": "provided"}
    workspace = run(own | given, "graph")
    manifest = read_manifest(workspace.root / MANIFEST)
    assert len(manifest.clips) == 4 * 7
    data = workspace.root / "data"
    frames, faces = ShardReader(data / "frames"), ShardReader(data / "faces")
    landmarks, graphs = ShardReader(data / "landmarks"), ShardReader(data / "graphs")
    assert (landmarks.metadata["scheme"], landmarks.metadata["model_sha256"]) == ("68", None)
    for clip in manifest.clips:
        files = sorted((ckplus / str(clip.landmarks)).iterdir())
        shown = frames.read(clip.clip_id).column("frame_index").to_pylist()
        expected = np.stack([np.loadtxt(files[index]) for index in shown])
        found = landmarks.read(clip.clip_id)
        assert found.column("valid").to_pylist() == [True] * len(shown)
        in_image = to_numpy(found.column("points_image"), (68, 2))
        np.testing.assert_allclose(in_image, expected, atol=1e-4)
        matrices = to_numpy(faces.read(clip.clip_id).column("matrix"), (2, 3))
        in_crop = [apply(*pair) for pair in zip(matrices, expected, strict=True)]
        np.testing.assert_allclose(
            to_numpy(found.column("points_crop"), (68, 2)), in_crop, atol=1e-3
        )
        assert all(graphs.read(clip.clip_id).column("valid").to_pylist())
