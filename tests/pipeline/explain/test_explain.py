"""Attention adds up, hidden regions get none, and a planted region is found by both maps."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from arpgnet.models.arpgnet import ARPGNet
from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.common.params import Params
from arpgnet.pipeline.common.params_file import parse_params
from arpgnet.pipeline.explain import job, run
from arpgnet.pipeline.explain.agreement import agreement, spearman
from arpgnet.pipeline.explain.choose import choose, confused, confused_clips
from arpgnet.pipeline.explain.occlusion import can_hide, drops, run_network, without
from arpgnet.pipeline.explain.plots import write_tables
from arpgnet.pipeline.explain.relevance import relevance
from arpgnet.pipeline.explain.run import EXPLANATIONS, explain
from arpgnet.pipeline.runner.workers import Crashed
from arpgnet.pipeline.store import Store
from arpgnet.pipeline.tables.manifest import read_manifest
from arpgnet.pipeline.tables.predictions import Predictions
from arpgnet.pipeline.train.run import train
from arpgnet.pipeline.training.attention import (
    attends_to_regions,
    edge_kinds,
    frame_attention,
    region_attention,
    time_attention,
)
from arpgnet.pipeline.training.data import Dataset, load
from arpgnet.pipeline.training.features import Batch
from arpgnet.pipeline.training.network import build_network, network_config
from arpgnet.pipeline.training.state import read_tensors, write_tensors
from helpers.synthetic_data import LOST, REGIONS, small_params, write_data
from helpers.synthetic_targets import task_params, with_targets

ORDER = torch.arange(8)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    root = tmp_path_factory.mktemp("data")
    write_data(root)
    return load(read_manifest(root / "data/manifest.parquet"), root)[0]


def settings(**changed: dict[str, Any]) -> Params:
    plain = small_params().model_dump()
    return parse_params({name: plain[name] | changed.get(name, {}) for name in plain})


def network_of(dataset: Dataset, **changed: dict[str, Any]) -> ARPGNet:
    torch.manual_seed(0)
    return build_network(
        network_config(settings(**changed), dataset.metadata, 3, 4), dataset.metadata
    ).eval()


def batch_of(dataset: Dataset, clips: int = 6) -> Batch:
    rows = np.stack([dataset.rows(np.array([clip])) for clip in range(clips)])
    return dataset.features.take(torch.from_numpy(rows), torch.from_numpy(dataset.label[:clips]))


@pytest.mark.parametrize("readout", ["mean", "attention", "flatten"])
@pytest.mark.parametrize("layers", [0, 2])
def test_attention_over_regions_sums_to_one_and_hidden_ones_get_none(
    dataset: Dataset, readout: str, layers: int
) -> None:
    network = network_of(dataset, relation={"readout": readout, "layers": layers})
    batch = batch_of(dataset)
    batch.visible[:, :, 2] = False
    kinds = edge_kinds(network.config, dataset.metadata)
    with torch.inference_mode():
        found = region_attention(network, run_network(network, batch, attention=True), batch, kinds)
    for name in ("attention", "uniform"):
        np.testing.assert_allclose(found[name].sum(1), 1, atol=1e-6)
        assert (found[name][:, 2] == 0).all()
    assert ("edges" in found) == (layers > 0)
    if layers:
        assert list(kinds) == ["self", "adjacent", "symmetric"]
        np.testing.assert_allclose(found["edges"].sum(1), 1, atol=1e-6)
        np.testing.assert_allclose(found["uniform_edges"].sum(1), 1, atol=1e-6)


@pytest.mark.parametrize("conv", ["TransformerConv", "GATv2Conv", "GINConv"])
def test_attention_of_a_torch_geometric_layer_is_shown_where_it_has_some(
    dataset: Dataset, conv: str
) -> None:
    network = network_of(dataset, relation={"readout": "mean", "conv": conv})
    attends = conv != "GINConv"
    assert attends_to_regions(network) == attends
    if not attends:
        return
    batch = batch_of(dataset)
    # both neighbors of a region: it is left with itself
    batch.visible[:, :, 1:3] = False
    kinds = edge_kinds(network.config, dataset.metadata)
    with torch.inference_mode():
        outputs = run_network(network, batch, attention=True)
        found = region_attention(network, outputs, batch, kinds)
        for name in ("attention", "uniform", "edges", "uniform_edges"):
            np.testing.assert_allclose(found[name].sum(1), 1, atol=1e-6)
        assert (found["attention"][:, 1:3] == 0).all()
        batch.visible[:] = True
        outputs = run_network(network, batch, attention=True)
        found = region_attention(network, outputs, batch, kinds)
    own = list(kinds).index("self")
    # TransformerConv weighs a region's own features by a matrix, not by attention
    for name in ("edges", "uniform_edges"):
        assert (found[name][:, own] == 0).all() == (conv == "TransformerConv")


@pytest.mark.parametrize("readout", ["mean", "attention"])
def test_attention_of_single_frames_averages_to_that_of_the_clip(
    dataset: Dataset, readout: str
) -> None:
    network = network_of(dataset, relation={"readout": readout})
    batch = batch_of(dataset)
    batch = replace(batch, valid=torch.ones_like(batch.valid))
    batch.visible[:, :, 2] = False
    kinds = edge_kinds(network.config, dataset.metadata)
    with torch.inference_mode():
        found = region_attention(network, run_network(network, batch, attention=True), batch, kinds)
        frames, uniform = frame_attention(network, batch)
    # frames that show no region count nowhere
    count = (uniform.sum(-1) > 0).sum(1)[:, None]
    np.testing.assert_allclose(frames.sum(1) / count, found["attention"], atol=1e-6)
    np.testing.assert_allclose(uniform.sum(1) / count, found["uniform"], atol=1e-6)


def test_kinds_of_edge_are_those_that_the_network_has(dataset: Dataset) -> None:
    network = network_of(dataset, relation={"edges": ["symmetric"]})
    kinds = edge_kinds(network.config, dataset.metadata)
    assert list(kinds) == ["self", "symmetric"]
    metadata = dataset.metadata | {
        "edges": [[0, 1], [0, 1]],
        "edge_types": ["adjacent", "symmetric"],
    }
    both = edge_kinds(network_of(dataset).config, metadata)
    assert list(both) == ["self", "adjacent and symmetric"]
    assert both["adjacent and symmetric"].nonzero().tolist() == [[1, 0]]


@pytest.mark.parametrize(
    ("mode", "streams", "sources"),
    [
        ("parallel", 2, [0.5, 0.5]), ("cross", 2, [0, 1]), ("serial", 2, [0.5, 0.5]),
        ("appearance", 1, [1, 0]), ("relation", 1, [1, 0]), ("concat", 0, []), ("add", 0, []),
    ],
)  # fmt: skip
def test_attention_over_time_adds_up_in_every_mode(
    dataset: Dataset, mode: str, streams: int, sources: list[float]
) -> None:
    network = network_of(dataset, fusion={"mode": mode, "layers": 2, "window": None})
    batch = batch_of(dataset)
    batch = replace(batch, valid=torch.ones_like(batch.valid))
    batch.valid[0, 2:] = False
    with torch.inference_mode():
        out = run_network(network, batch, attention=True)
        found = time_attention(network.config.fusion, out, batch.valid)
    assert len(found) == streams
    for values in found.values():
        for prefix in ("", "uniform_"):
            shares = values[f"{prefix}shares"]
            np.testing.assert_allclose(shares.sum(1), 1, atol=1e-6)
            # all frames are within OFFSETS of each other
            np.testing.assert_allclose(values[f"{prefix}offsets"].sum(-1), shares, atol=1e-6)
            np.testing.assert_allclose(
                values[f"{prefix}parts"].sum(1), batch.valid.sum(1), atol=1e-5
            )
        np.testing.assert_allclose(values["uniform_shares"][1], sources, atol=0.1)
        assert (values["shares"][:, np.array(sources) == 0] == 0).all()


def test_hiding_what_is_not_used_changes_nothing(dataset: Dataset) -> None:
    network = network_of(dataset, relation={"edges": []}, appearance={"vector": "embedding"})
    width = network.config.width
    with torch.no_grad():
        network.relation.out.weight[:, 3 * width :] = 0  # flatten: the last region is not read
    batch = batch_of(dataset)
    hidden: dict[str, Any] = {"mean": torch.zeros(REGIONS, 5), "branches": ["relation"]}
    named = torch.zeros(len(batch), dtype=torch.int64)
    with torch.inference_mode():
        found = drops(network, batch, named, regions=[0, 3], **hidden)
        assert (found[:, 3] == 0).all()
        assert (found[:, 0] != 0).all()
        assert np.isnan(found[:, 1:3]).all()
        batch.visible[..., 1] = False
        assert (drops(network, batch, named, regions=[1], **hidden)[:, 1] == 0).all()
        assert np.isnan(drops(network, batch, named, regions=[1], mean=hidden["mean"],
                              branches=[])).all()  # fmt: skip


def test_a_region_is_taken_out_of_the_mean_map_where_regions_divide_it(dataset: Dataset) -> None:
    batch = batch_of(dataset)
    even = np.eye(REGIONS).tolist()
    of_map, of_both = network_of(dataset), network_of(dataset, appearance={"vector": "both"})
    assert can_hide(of_map, even) == ["relation", "appearance"]
    assert can_hide(of_map, None) == ["relation"]
    assert can_hide(of_map, [[1.0, 0, 0, 0]] * 2) == ["relation"]
    assert can_hide(of_both, even) == ["relation"]
    assert can_hide(network_of(dataset, fusion={"mode": "appearance"}), even) == ["appearance"]
    hidden = without(batch, 1, torch.zeros(REGIONS, 5), ["appearance"])
    rest = batch.nodes.float()[:, :, [0, 2, 3]].sum(2) / REGIONS
    torch.testing.assert_close(hidden.map_vector, rest, atol=2e-3, rtol=0)
    assert torch.equal(hidden.visible, batch.visible)


@pytest.mark.parametrize("layers", [0, 2])
@pytest.mark.parametrize("readout", ["mean", "attention", "flatten"])
def test_relevance_estimates_the_effect_of_hiding(
    dataset: Dataset, readout: str, layers: int
) -> None:
    relation = {"readout": readout, "layers": layers}
    network = network_of(dataset, relation=relation, appearance={"vector": "map"})
    batch = batch_of(dataset)
    batch.visible[0, :, 3] = False
    named = torch.zeros(len(batch), dtype=torch.int64)
    mean, both = torch.zeros(REGIONS, 5), ["relation", "appearance"]
    branches: list[str]
    for branches in ([both[0]], [both[1]], both):
        estimate = relevance(network, batch, named, mean=mean, branches=branches)
        with torch.no_grad():
            measured = drops(
                network, batch, named, mean=mean, regions=range(REGIONS), branches=branches
            )
        assert np.corrcoef(estimate.ravel(), measured.ravel())[0, 1] > 0.6
    hidden = relevance(network, batch, named, mean=mean, branches=["relation"])
    np.testing.assert_allclose(hidden[0, 3], 0, atol=1e-12)
    assert np.isnan(relevance(network, batch, named, mean=mean, branches=[])).all()


def planted(root: Path, **changed: dict[str, Any]) -> dict[str, Any]:
    """Explanations of networks trained on data whose classes differ in region 2 alone."""
    write_data(root, planted=2)
    train(settings(**changed), root=root)
    explain(root)
    loaded: dict[str, Any] = json.loads((root / EXPLANATIONS).read_text())
    return loaded


@pytest.mark.slow
def test_a_planted_region_is_found_by_both_maps(tmp_path: Path) -> None:
    relation = {"readout": "attention", "edges": []}
    found = planted(
        tmp_path, relation=relation, appearance={"vector": "embedding"}, train={"min_steps": 100}
    )
    whole = found["all"]
    assert np.argmax(whole["attention"]) == 2
    assert np.argmax(whole["drop"]) == 2
    assert np.argmax(whole["relevance"]) == 2
    gain = whole["relevance_gain"]
    assert whole["shown"] == ("relevance" if gain["mean"] > 0 else "attention")
    assert gain["ci_low"] <= gain["mean"] <= gain["ci_high"]
    each = whole["relevance_agreement"]["each"]["mean"], whole["agreement"]["each"]["mean"]
    assert each[0] - each[1] == pytest.approx(gain["mean"])
    assert whole["drop"][2] > 3 * max(whole["drop"][n] for n in (0, 1, 3))
    assert whole["views"] == 47  # of 48, LOST has no features; at most 16 a class
    assert LOST not in whole["clips"]
    assert found["networks"] == ["fold0-seed0", "fold1-seed0"]
    before = (tmp_path / EXPLANATIONS).read_bytes()
    explain(tmp_path, store=Store(tmp_path / "another-store"))
    assert (tmp_path / EXPLANATIONS).read_bytes() == before
    # what was explained is not explained again
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "explanations", lambda *_: pytest.fail("explained again"))
        (tmp_path / EXPLANATIONS).unlink()
        explain(tmp_path)
    assert (tmp_path / EXPLANATIONS).read_bytes() == before
    explain(tmp_path, most=2)
    assert json.loads((tmp_path / EXPLANATIONS).read_text())["all"]["views"] == 6


@pytest.mark.parametrize("mode", ["appearance", "relation", "concat"])
def test_networks_without_a_branch_or_without_fusion_are_explained(
    tmp_path: Path, mode: str
) -> None:
    found = planted(tmp_path, fusion={"mode": mode}, train={"epochs": 1})
    assert (found["all"]["attention"] is None) == (mode == "appearance")
    assert (found["all"]["edges"] is None) == (mode == "appearance")
    assert set(found["all"]["time"]) == ({mode} if mode != "concat" else set())
    assert found["all"]["drop"][2] is not None
    assert found["all"]["relevance_agreement"]["each"]["mean"] > 0.7


def test_windows_of_labeled_frames_are_explained(tmp_path: Path) -> None:
    write_data(tmp_path, frame_labels=True)
    train(small_params(window=3, stride=1, epochs=1), root=tmp_path)
    explain(tmp_path, most=4)
    found = json.loads((tmp_path / EXPLANATIONS).read_text())
    assert found["unit"] == "windows"
    assert 4 <= found["all"]["views"] <= 24


def test_each_action_unit_has_its_own_region(tmp_path: Path) -> None:
    # au_1 changes a channel of region 0, au_4 one of region 2
    with_targets(tmp_path, frames=True)
    train(task_params("action_units", train={"epochs": 8}), root=tmp_path)
    explain(tmp_path)
    found = json.loads((tmp_path / EXPLANATIONS).read_text())
    assert (found["unit"], found["kind"]) == ("windows", "action_units")
    assert found["all"]["views"] == 47  # one for each clip; LOST has no features
    assert min(found["all"]["drop"]) > 0
    each = {group["label"]: group for group in found["by_class"]}
    for name, region in (("au_1", 0), ("au_4", 2)):
        assert np.argmax(each[name]["drop"]) == region
        assert np.argmax(each[name]["relevance"]) == region
        # the views that show it
        assert 0 <= each[name]["correct"] <= each[name]["views"] <= 16
    # at most 8 clips, and of each fold 4 windows; present is what the run's thresholds say
    for path in (tmp_path / "artifacts/runs").glob("*/model.safetensors"):
        tensors, info = read_tensors(path)
        write_tensors(path, tensors, info | {"thresholds": [0.0, 0.5, 1.5]})
    explain(tmp_path, most=2, store=Store(tmp_path / "another-store"))
    found = json.loads((tmp_path / EXPLANATIONS).read_text())
    assert found["all"]["views"] == 6
    for group in found["by_class"]:
        if group["label"] != "au_2":
            assert group["correct"] == (group["views"] if group["label"] == "au_1" else 0)


@pytest.mark.slow
def test_valence_changes_and_abrnet_has_no_relevance(tmp_path: Path) -> None:
    with_targets(tmp_path, frames=False)
    train(task_params("valence_arousal", train={"epochs": 1}), root=tmp_path)
    explain(tmp_path)
    found = json.loads((tmp_path / EXPLANATIONS).read_text())
    valence = found["by_class"][0]
    assert (valence["label"], valence["correct"], valence["views"]) == ("valence", None, 47)
    assert min(valence["drop"]) >= 0
    with_targets(tmp_path, frames=True)
    plain = task_params("action_units", train={"epochs": 1}).model_dump()
    plain["relation"]["head"] = "abrnet"
    train(parse_params(plain), root=tmp_path)
    explain(tmp_path)
    whole = json.loads((tmp_path / EXPLANATIONS).read_text())["all"]
    assert whole["relevance_agreement"] is None
    assert whole["agreement"] is not None
    assert min(whole["drop"]) > 0


def test_without_a_trained_network_one_line_says_so(tmp_path: Path) -> None:
    write_data(tmp_path)
    with pytest.raises(UserError, match="run `dvc repro train` first"):
        explain(tmp_path)


def test_agreement_needs_more_than_the_shape_of_the_graph() -> None:
    rng = np.random.default_rng(0)
    drop = np.linspace(0, 1, 20) + rng.normal(0, 0.01, (10, 20))
    seen, rising, noise = np.ones(20), np.linspace(0, 1, 20), rng.random(20)

    def of_each(values: np.ndarray) -> np.ndarray:
        return np.tile(values, (10, 1))

    assert agreement(of_each(rising), drop, seen, noise)["agree"]
    assert not agreement(of_each(noise), drop, seen, rising)["agree"]
    uniform_does_it_too = agreement(of_each(rising), drop, seen, rising)
    assert uniform_does_it_too["rho"] > 0.9
    assert not uniform_does_it_too["agree"]
    # regions that are hardly seen, or were not hidden, are not compared
    seen[:5], drop[:, 19] = 0.2, np.nan
    assert agreement(of_each(rising), drop, seen, noise)["regions"] == 14
    constant = agreement(of_each(np.ones(20)), drop, seen, noise)
    assert (constant["rho"], constant["agree"]) == (None, False)


def test_clips_are_drawn_the_same_every_time_and_at_most_so_many_a_class() -> None:
    labels = {f"c{n}": n % 3 for n in range(30)}
    chosen = choose(list(labels), labels, 4)
    assert chosen == choose(list(labels), labels, 4)
    assert chosen == [clip for clip in labels if clip in chosen]
    assert sorted(labels[clip] for clip in chosen) == [0] * 4 + [1] * 4 + [2] * 4


def test_pairs_come_from_the_whole_confusion_matrix() -> None:
    """Clip b is confused by the explained network of its fold, c by another seed alone."""
    clips, seeds = ["a", "a", "b", "b", "c", "c", "d", "d"], [0, 1] * 4
    label, named = [0, 0, 1, 1, 1, 1, 2, 2], [0, 0, 2, 2, 1, 2, 0, -1]
    probabilities = np.array([np.eye(3)[n] if n >= 0 else [np.nan] * 3 for n in named])
    rows = Predictions(
        ["x", "y", "z"], np.array(clips, object), np.full(8, -1), np.array(["network"] * 8, object),
        np.zeros(8, int), np.array(seeds), np.array(["test"] * 8, object), np.array(label),
        probabilities,
    )  # fmt: skip
    assert confused(rows, 3) == {(1, 2): 3, (2, 0): 1}
    assert confused(rows, 1) == {(1, 2): 3}
    folds = dict.fromkeys("abcd", 0)
    assert confused_clips(rows, [(1, 2)], folds, 5) == {"b"}
    assert confused_clips(rows, [(1, 2), (2, 0)], folds, 5) == {"b", "d"}
    assert confused_clips(rows, [(1, 2)], folds, 0) == set()


def test_each_class_has_its_own_attention(tmp_path: Path) -> None:
    found = planted(tmp_path, train={"epochs": 1})
    assert [group["label"] for group in found["by_class"]] == found["classes"]
    assert sum(group["views"] for group in found["by_class"]) == found["all"]["views"]
    for group in [found["all"], *found["by_class"], *found["pairs"]]:
        assert sum(row["attention"] for row in group["edges"]) == pytest.approx(1, abs=1e-4)
        assert group["time"]
    assert found["pairs"]
    for pair in found["pairs"]:
        assert pair["predictions"] >= pair["views"] >= 1


def test_the_tables_of_dvc_plots_say_what_the_json_says(tmp_path: Path) -> None:
    group = {
        "attention": [0.75, 0.25], "uniform": [0.5, 0.5], "drop": [0.2, None],
        "edges": [{"kind": "self", "attention": 0.5, "uniform": 0.25}],
        "time": {"relation": {"parts": [0.5, None]}},
    }  # fmt: skip
    bare = {**group, "attention": None, "uniform": None, "edges": None, "time": {}}
    found = {"regions": {"names": ["brow, left", "chin"]}, "all": group}
    write_tables({**found, "by_class": [{**group, "label": "joy"}]}, tmp_path)
    tables = {path.stem: path.read_text().splitlines()[1:] for path in tmp_path.iterdir()}
    assert tables == {
        "regions": ['"brow, left",1.500000,0.200000', "chin,0.500000,"],
        "edges": ["all classes: self,all classes,self,2.000000", "joy: self,joy,self,2.000000"],
        "time": ["1,relation,0.500000"],
    }
    write_tables({**found, "all": bare, "by_class": []}, tmp_path)
    assert (tmp_path / "regions.csv").read_text().splitlines()[2] == "chin,,"
    assert len((tmp_path / "edges.csv").read_text().splitlines()) == 1


def test_rank_correlation_equals_scipy() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        # few different values: many share a rank
        first, second = rng.integers(0, rng.integers(2, 60), (2, 40)) / 7
        assert spearman(first, second) == pytest.approx(spearmanr(first, second).statistic)


@pytest.mark.slow
def test_workers_explain_as_one_process_does(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_data(tmp_path)
    train(small_params(epochs=2), root=tmp_path)
    # passes of 2 clips, so that there are some for every worker
    monkeypatch.setattr(job, "FRAMES", 8)
    monkeypatch.setattr("arpgnet.pipeline.common.progress._PLAIN_EVERY_S", 0.0)
    monkeypatch.setattr("arpgnet.pipeline.common.progress._QUIET_S", 0.0)
    found = []
    for workers in (1, 2):
        explain(tmp_path, workers=workers, store=Store(tmp_path / f"store{workers}"))
        found.append((tmp_path / EXPLANATIONS).read_bytes())
        count = json.loads(found[-1])["all"]["views"]
        assert f"explain: {count}/" in capfd.readouterr().err
    assert found[0] == found[1]
    died = [(None, Crashed(-9))]
    monkeypatch.setattr(job, "run_in_workers", lambda *_: iter(died))
    with pytest.raises(UserError, match=r"died twice \(exit code -9\)"):
        explain(tmp_path, workers=2, store=Store(tmp_path / "store"))
