"""Fine-tuning from stills on disk to the features of the appearance stage, on a tiny network."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
import torch
from safetensors import safe_open

from arpgnet.pipeline.appearance.clip import AppearanceClip
from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.common.params import Params
from arpgnet.pipeline.common.params_file import parse_params
from arpgnet.pipeline.finetune import tune
from arpgnet.pipeline.finetune.augment import augment
from arpgnet.pipeline.finetune.network import build_trainee, tuned_weights
from arpgnet.pipeline.finetune.run import BACKBONE, finetune
from arpgnet.pipeline.finetune.tune import Tuner
from arpgnet.pipeline.networks.appearance import AppearanceNetwork
from arpgnet.pipeline.networks.packs import ModelSpec, load_pack
from arpgnet.pipeline.networks.sessions import load_graph, make_session
from arpgnet.pipeline.networks.tuned import tuned, unshared, with_weights
from arpgnet.pipeline.runner.workers import Crashed, Limits
from arpgnet.pipeline.stills import crops
from arpgnet.pipeline.stills.crops import CropJob
from arpgnet.pipeline.stills.stills import Still
from arpgnet.pipeline.store import Store
from helpers import faces_tables, graphs
from helpers.stills_project import CLASSES, in_process, still, write_project


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Target data, a pack, and 24 stills of two classes with a few that cannot be learned from."""
    monkeypatch.setattr(crops, "run_in_workers", in_process)
    write_project(tmp_path, str(graphs.small_pack(tmp_path / "pack")))
    folder = tmp_path / "stills" / CLASSES[-1]
    cv2.imwrite(str(folder / "target.png"), faces_tables.crop(0, 1)[..., ::-1])
    (folder / "broken.png").write_bytes(b"no image")
    return tmp_path


def settings(project: Path, **more: Any) -> Params:
    return parse_params(
        {
            "faces": {"pack": str(project / "pack"), "device": "cpu"},
            "engine": {"workers": 1},
            "finetune": {
                "enabled": True,
                "dataset": "folder",
                "root": str(project / "stills"),
                "layers": "all",
                "epochs": 3,
                "batch": 8,
                "lr": 0.001,
                "flip": 0.0,
                "device": "cpu",
                **more,
            },
        }
    )


def files(project: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((project / BACKBONE).iterdir())}


def metadata(project: Path) -> dict[str, Any]:
    return json.loads((project / BACKBONE / "backbone.json").read_text())


def spec_of(project: Path) -> ModelSpec:
    return load_pack(str(project / "pack")).models["embedding"]


def test_switched_off_it_says_so_and_changes_nothing(tmp_path: Path) -> None:
    said = finetune(Params(), root=tmp_path)
    assert said == "finetune: off (finetune.enabled: false)"
    assert files(tmp_path) == {"backbone.json": b'{\n  "enabled": false\n}\n'}
    graphs.small_pack(tmp_path / "pack")
    spec = spec_of(tmp_path)
    assert tuned(spec, tmp_path / BACKBONE) is spec
    assert spec.identity["weights_sha256"] is None


def test_stills_become_a_backbone_that_appearance_runs(project: Path) -> None:
    said = finetune(settings(project), root=project)
    found = metadata(project)
    assert found["left_out"] == {"a face of the target data": 1, "not a readable image": 1}
    assert found["train"] + found["val"] == 24
    assert found["history"][found["best"]]["val_uar"] == 1.0
    assert "20 stills to train on, 4 to select with, 2 classes; validation UAR 1.000" in said
    assert "left out: 1 a face of the target data; 1 not a readable image" in said
    spec = spec_of(project)
    other = tuned(spec, project / BACKBONE)
    assert other.identity == spec.identity | {"weights_sha256": found["weights_sha256"]}
    unseen = np.stack([still("left", 50), still("right", 60)])
    before, _ = AppearanceNetwork(spec, batch=2).describe(unseen)
    after, maps = AppearanceNetwork(other, batch=2).describe(unseen)
    assert np.abs(after - before).max() > 1e-3
    rounded, rounded_maps = AppearanceNetwork(other, batch=2, precision="bf16").describe(unseen)
    assert np.abs(rounded - after).max() < 0.03 * np.abs(after).max()
    assert np.abs(rounded_maps - maps).max() < 0.03 * np.abs(maps).max()
    clip = AppearanceClip(project / "data/faces", other, "pack", 2)
    plain = AppearanceClip(project / "data/faces", spec, "pack", 2)
    assert clip.metadata()["tuned_sha256"] == found["weights_sha256"]
    assert "tuned_sha256" not in plain.metadata()


def test_stills_are_cut_in_worker_processes_and_found_again(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """White squares that cover a cell of the detector's grid are faces to it."""
    frame = np.zeros((128, 128, 3), np.uint8)
    frame[32:64, 32:64] = 255
    stills = []
    for name, image in (("face", frame), ("none", np.zeros_like(frame))):
        cv2.imwrite(str(project / f"{name}.png"), image)
        stills.append(Still(name, "x", path=project / f"{name}.png"))
    stills += [
        Still("absent", "x", path=project / "absent.png"),
        Still("gray", "x", gray=bytes(49)),
    ]
    detector = load_pack(str(project / "pack")).models["detector"]
    job = CropJob(detector, Params().align, "no", "cpu", Store().root)
    monkeypatch.undo()
    monkeypatch.setenv("ARPGNET_STORE", str(job.store))
    (found,) = crops.make_crops(job, stills, 1, Limits())
    assert [crop.reason for crop in found[1]] == [
        None, "no face found", "not a readable image", "no face found",
    ]  # fmt: skip
    assert len(found[1][0].crop or b"") == 112 * 112 * 3
    monkeypatch.setattr(crops, "run_in_workers", in_process)
    monkeypatch.setattr(CropJob, "_crop", lambda *a: pytest.fail("cut again"))
    assert list(crops.make_crops(job, stills, 1, Limits())) == [found]
    died = [(item, Crashed(9)) for item in [(0, stills)]]
    monkeypatch.setattr(crops, "run_in_workers", lambda *a: iter(died))
    ((_, lost),) = crops.make_crops(job, stills, 1, Limits())
    assert {crop.reason for crop in lost} == {"crashed or hung the reader"}


def test_equal_settings_give_equal_bytes_and_finished_runs_are_kept(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    finetune(settings(project), root=project)
    first = files(project)
    monkeypatch.setattr(tune, "_train", lambda *a, **k: pytest.fail("trained again"))
    finetune(settings(project), root=project)
    assert files(project) == first
    monkeypatch.undo()
    finetune(settings(project), root=project, store=Store(tmp_path / "another"))
    assert files(project) == first
    finetune(settings(project, seed=1), root=project)
    assert files(project)["backbone.safetensors"] != first["backbone.safetensors"]


def test_bfloat16_gives_weights_in_float32(project: Path) -> None:
    finetune(settings(project, precision="bf16-mixed", epochs=2), root=project)
    assert metadata(project)["history"][-1]["val_uar"] == 1.0
    with safe_open(project / BACKBONE / "backbone.safetensors", framework="np") as file:
        types = {file.get_tensor(name).dtype for name in file.keys()}  # noqa: SIM118
    assert types == {np.dtype(np.float32)}


def test_a_killed_run_goes_on_to_the_same_bytes(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    finetune(settings(project), root=project, store=Store(tmp_path / "undisturbed"))
    expected = files(project)
    epochs: list[int] = []
    save = tune.CachedTuning.save_checkpoint

    def killed(self: tune.CachedTuning, state: Any) -> None:
        save(self, state)
        epochs.append(len(state.history))
        if len(epochs) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(tune.CachedTuning, "save_checkpoint", killed)
    with pytest.raises(KeyboardInterrupt):
        finetune(settings(project), root=project)
    assert files(project) == expected  # what was there before is not touched
    finetune(settings(project), root=project)
    assert epochs == [1, 2]
    assert files(project) == expected
    assert not list(Store().root.glob("finetune-checkpoint/*/*"))


def test_mistakes_are_one_line(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Tuner, "_train", lambda *a: float("nan"))
    with pytest.raises(UserError, match=r"fine-tuning diverged in epoch 0: lower finetune\.lr"):
        finetune(settings(project), root=project)
    for path in (project / "stills/left").iterdir():
        path.write_bytes(b"no image")
    with pytest.raises(UserError, match=r"no still of class 'left' to train on \(left out: 1 a"):
        finetune(settings(project), root=project)
    with pytest.raises(UserError, match=r"finetune\.device: cuda, but torch sees no CUDA device"):
        tune.resolve_device(settings(project, device="cuda").finetune)


def test_a_graph_that_cannot_be_trained_stays_as_it_is(project: Path) -> None:
    models = {
        "detector": ("scrfd", graphs.scrfd()),
        "landmark": ("2d106", graphs.landmark_2d106()),
        "embedding": ("arcface", graphs.with_softsign(graphs.arcface_iresnet())),
    }
    graphs.write_pack(project / "odd", models, detector__input_px=128)
    spec = load_pack(str(project / "odd")).models["embedding"]
    with pytest.raises(UserError, match=r"embedding\.onnx holds a node of type Softsign, which"):
        build_trainee(spec, "both", 2, train_norms=False)


def test_a_backbone_of_another_network_or_a_damaged_one_is_refused(project: Path) -> None:
    finetune(settings(project, epochs=1), root=project)
    folder = project / BACKBONE
    models = {
        "detector": ("scrfd", graphs.scrfd()),
        "landmark": ("2d106", graphs.landmark_2d106()),
        "embedding": ("arcface", graphs.arcface_iresnet(seed=1)),
    }
    graphs.write_pack(project / "other", models, detector__input_px=128)
    other = load_pack(str(project / "other")).models["embedding"]
    with pytest.raises(UserError, match="was tuned from another network: run `dvc repro finetune`"):
        tuned(other, folder)
    path = folder / "backbone.safetensors"
    path.write_bytes(path.read_bytes()[:-4] + b"....")
    with pytest.raises(UserError, match="is absent or damaged: run `dvc repro --force finetune`"):
        tuned(spec_of(project), folder)
    (folder / "backbone.json").unlink()
    with pytest.raises(UserError, match="cannot be read: run `dvc repro finetune`"):
        tuned(spec_of(project), folder)


def test_the_trainee_starts_as_the_graph_and_keeps_its_statistics(project: Path) -> None:
    spec = spec_of(project)
    torch.manual_seed(0)
    trainee = build_trainee(spec, "both", 2, train_norms=False)
    graph = load_graph(spec.path)
    same = with_weights(graph, tuned_weights(trainee))
    crop = np.random.default_rng(0).standard_normal((1, 3, 112, 112)).astype(np.float32)
    before, after = (
        make_session(model.SerializeToString()).run(None, {"input.1": crop})[0]
        for model in (graph, same)
    )
    assert np.array_equal(before, after)
    names = trainee.backbone.meta["initializers"]
    trained = {names[place] for place, _ in trainee.backbone.named_parameters()}
    assert trained == {"features.w", "features.b", "fc.w", "fc.b"}
    with_norms = build_trainee(spec, "map", 2, train_norms=True)
    trained = {names[place] for place, _ in with_norms.backbone.named_parameters()}
    assert {"bn2.gamma", "683.beta"} <= trained
    assert not {"bn2.mean", "683.var"} & trained
    assert list(with_norms.heads) == ["map"]
    trainee.train()
    statistics = {name: value.clone() for name, value in trainee.backbone.named_buffers()}
    logits = trainee(torch.rand(4, 3, 112, 112) * 255)
    torch.stack(logits).square().sum().backward()
    assert all(torch.equal(value, statistics[n]) for n, value in trainee.backbone.named_buffers())
    assert all(parameter.grad is not None for parameter in trainee.parameters())


def test_a_constant_that_stands_in_two_places_is_trained_in_each() -> None:
    model = graphs.arcface_iresnet()
    for node in model.graph.node:
        if node.op_type == "BatchNormalization" and node.output[0] == "bn2":
            node.input[2] = "features.b"  # both all zeros, as exporters merge them
        if node.op_type == "Gemm":
            node.input[2] = "alias"
    alias = onnx.helper.make_node("Identity", ["fc.b"], ["alias"])
    model.graph.node.insert(0, alias)
    own = unshared(model)
    assert "Identity" not in {node.op_type for node in own.graph.node}
    uses = [name for node in own.graph.node for name in node.input]
    places = [item.name for item in own.graph.initializer]
    assert all(uses.count(name) <= 1 for name in places)
    assert "features.b#2" in places
    crop = np.random.default_rng(0).standard_normal((1, 3, 112, 112)).astype(np.float32)
    results = [
        make_session(m.SerializeToString()).run(None, {"input.1": crop})[0] for m in (model, own)
    ]
    assert np.array_equal(*results)
    with pytest.raises(UserError, match=r"tuned weights do not fit the graph at fc\.w"):
        with_weights(model, {"fc.w": np.zeros(3, np.float32)})


def test_augmentation_keeps_shape_and_range_and_can_be_switched_off() -> None:
    crops = torch.rand(6, 3, 32, 32) * 255
    off = Params().finetune.model_copy(
        update={"flip": 0.0, "crop": 0.0, "color": 0.0, "erase": 0.0}
    )
    draws = torch.Generator().manual_seed(0)
    assert (augment(crops, off, draws) - crops).abs().max() < 0.01
    mirrored = augment(crops, off.model_copy(update={"flip": 0.999999}), draws)
    assert (mirrored - crops.flip(3)).abs().max() < 0.01
    full = off.model_copy(update={"crop": 0.2, "color": 0.5, "erase": 0.99, "flip": 0.5})
    one, two = (augment(crops, full, torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(one, two)
    assert one.shape == crops.shape
    assert one.min() >= 0
    assert one.max() <= 255
    assert (one == 127.5).any(dim=(1, 2, 3)).sum() >= 5
