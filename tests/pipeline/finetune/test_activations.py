"""The frozen part is run once on each still, and what it gave is found again."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.common.params import Params
from arpgnet.pipeline.common.params_file import parse_params
from arpgnet.pipeline.finetune import tune
from arpgnet.pipeline.finetune.inputs import FrozenRun
from arpgnet.pipeline.finetune.network import build_trainee, split
from arpgnet.pipeline.finetune.run import BACKBONE, finetune
from arpgnet.pipeline.networks import image_network
from arpgnet.pipeline.networks.appearance import AppearanceNetwork
from arpgnet.pipeline.networks.packs import load_pack
from arpgnet.pipeline.networks.tuned import tuned
from arpgnet.pipeline.stills import crops
from arpgnet.pipeline.store import Store
from helpers.stills_project import add_still, in_process, still, write_project


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Target data and 24 stills for the demo pack."""
    monkeypatch.setattr(crops, "run_in_workers", in_process)
    write_project(tmp_path, "demo")
    return tmp_path


def settings(project: Path, **more: Any) -> Params:
    chosen = {"epochs": 3, "batch": 8, "lr": 0.001, "flip": 0.0, "device": "cpu", **more}
    place = {"enabled": True, "dataset": "folder", "root": str(project / "stills")}
    return parse_params(
        {
            "faces": {"pack": "demo", "device": "cpu"},
            "engine": {"workers": 1},
            "finetune": {**place, **chosen},
        }
    )


def run(project: Path, store: Store | None = None, **more: Any) -> dict[str, bytes]:
    finetune(settings(project, **more), root=project, store=store)
    return {path.name: path.read_bytes() for path in sorted((project / BACKBONE).iterdir())}


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """The stills, by their sha256, on which the frozen part is run, and the views of each."""
    seen: list[tuple[str, int]] = []
    compute = FrozenRun._compute

    def counted(self: FrozenRun, crop: np.ndarray, name: str, views: int) -> np.ndarray:
        seen.append((name, views))
        return compute(self, crop, name, views)

    monkeypatch.setattr(FrozenRun, "_compute", counted)
    return seen


@pytest.mark.slow
def test_the_last_blocks_are_tuned_and_appearance_runs_them(project: Path) -> None:
    said = finetune(settings(project, epochs=10), root=project)
    found = json.loads((project / BACKBONE / "backbone.json").read_text())
    assert found["history"][found["best"]]["val_uar"] == 1.0
    assert found["settings"]["layers"] == "last-3"
    assert "trained: last-3 (" in said
    weights = load_file(project / BACKBONE / "backbone.safetensors")
    assert found["trained_weights"] == sum(array.size for array in weights.values())
    spec = load_pack("demo").models["embedding"]
    whole = dict(build_trainee(spec, "both", 2, train_norms=False).backbone.named_parameters())
    assert 0 < len(weights) < len(whole)
    unseen = np.stack([still("left", 50), still("right", 60)])
    before, _ = AppearanceNetwork(spec, batch=2).describe(unseen)
    after, _ = AppearanceNetwork(tuned(spec, project / BACKBONE), batch=2).describe(unseen)
    assert np.abs(after - before).max() > 1e-3


@pytest.mark.slow
def test_what_was_computed_is_found_again(
    project: Path, computed: list[tuple[str, int]], tmp_path: Path
) -> None:
    first = run(project)
    assert sorted(views for _, views in computed) == [0] * 4 + [3] * 20
    assert len({name for name, _ in computed}) == 24
    computed.clear()
    # other settings of the training, the same stills
    other = run(project, epochs=2, lr=0.01, batch=12, heads="map")
    assert other["backbone.safetensors"] != first["backbone.safetensors"]
    assert not computed
    # another seed draws other stills for validation; the others' views are the same
    run(project, seed=1)
    assert 0 < len(computed) <= 8
    computed.clear()
    add_still(project, "left", 12)
    run(project)
    # it may change who validates as well
    assert 1 <= len(computed) <= 5
    computed.clear()
    run(project, Store(tmp_path / "empty"))
    assert len(computed) == 25


@pytest.mark.slow
def test_what_changes_activations_changes_their_key(
    project: Path, computed: list[tuple[str, int]]
) -> None:
    run(project, epochs=1)
    for change in (
        {"layers": "last-2"},
        {"views": 2},
        {"crop": 0.1},
        {"color": 0.0},
        {"erase": 0.0},
        {"flip": 0.5},
        {"precision": "32-true"},
    ):
        computed.clear()
        run(project, epochs=1, **change)
        assert len([name for name, views in computed if views]) == 20, change


def test_without_augmentation_plain_stills_train(
    project: Path, computed: list[tuple[str, int]]
) -> None:
    off = {"flip": 0.0, "crop": 0.0, "color": 0.0, "erase": 0.0}
    run(project, **off)
    assert [views for _, views in computed] == [0] * 24


@pytest.mark.slow
def test_equal_settings_give_equal_bytes(project: Path, tmp_path: Path) -> None:
    first = run(project, Store(tmp_path / "one"))
    assert run(project, Store(tmp_path / "two")) == first
    # half of the activations from the store
    store = Store(tmp_path / "three")
    run(project, store, seed=1)
    assert run(project, store) == first


@pytest.mark.slow
def test_a_run_killed_anywhere_goes_on_to_the_same_bytes(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = run(project, Store(tmp_path / "undisturbed"))
    count = 0
    compute, save = FrozenRun._compute, tune.CachedTuning.save_checkpoint

    def killed_in_activations(self: FrozenRun, *arguments: Any) -> np.ndarray:
        nonlocal count
        count += 1
        if count == 10:
            raise KeyboardInterrupt
        return compute(self, *arguments)

    def killed_in_training(self: tune.CachedTuning, state: Any) -> None:
        save(self, state)
        if len(state.history) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(FrozenRun, "_compute", killed_in_activations)
    monkeypatch.setattr(tune.CachedTuning, "save_checkpoint", killed_in_training)
    for _ in "12":
        with pytest.raises(KeyboardInterrupt):
            run(project)
    # 10 in the first attempt, one of them lost, and what was left in the second
    assert count == 25
    assert run(project) == expected
    assert count == 25


def test_a_still_s_views_do_not_depend_on_the_others(project: Path) -> None:
    spec = load_pack("demo").models["embedding"]
    params = settings(project).finetune
    frozen = split(build_trainee(spec, "both", 2, train_norms=False), "last-3", "x")
    assert frozen is not None
    images = np.stack([still("left", 1), still("right", 2), still("left", 3)])
    first = FrozenRun(frozen, spec, params, torch.device("cpu"), Store())
    one = dict(first(images, np.array([2, 0, 1]), 4))
    second = FrozenRun(frozen, spec, params, torch.device("cpu"), Store(project / "other"))
    other = dict(second(images, np.array([2]), 4))
    assert np.array_equal(one[2], other[2])
    assert one[2].shape == (4, 14, 14, 64)
    assert not np.array_equal(one[2][0], one[2][1])  # views differ


def test_bfloat16_is_used_where_the_processor_has_it(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = load_pack("demo").models["embedding"]
    frozen = split(build_trainee(spec, "both", 2, train_norms=False), "last-3", "x")
    assert frozen is not None
    images = still("left", 1)[None]
    found = {}
    for has, precision in ((True, "auto"), (False, "auto"), (True, "32-true")):
        monkeypatch.setattr(image_network, "_cpu_has_bf16", lambda has=has: has)
        params = settings(project, precision=precision).finetune
        made = FrozenRun(frozen, spec, params, torch.device("cpu"), Store())
        ((_, values),) = made(images, np.array([0]), 0)
        numbers = torch.from_numpy(values.copy())
        if precision == "auto":
            numbers = numbers.view(torch.bfloat16)
        found[has, precision] = numbers.float()
    exact = found[True, "32-true"]
    assert not torch.equal(found[True, "auto"], found[False, "auto"])
    for other in (found[True, "auto"], found[False, "auto"]):
        assert (other - exact).abs().max() < 0.03 * exact.abs().max()


def test_too_many_blocks_are_refused(project: Path) -> None:
    with pytest.raises(UserError, match=r"^finetune\.layers: last-9: arc_demo\.onnx has 6 blocks"):
        run(project, layers="last-9")
