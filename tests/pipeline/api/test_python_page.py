"""docs/python.md, block by block, in a folder that is not the project's."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch_geometric.loader import DataLoader

import arpgnet
from arpgnet.pipeline.common.errors import ClipError, UserError
from arpgnet.pipeline.tables.manifest import Clip, write_manifest
from arpgnet.pipeline.tables.predictions import read_predictions
from arpgnet.pipeline.tables.targets import read_targets
from arpgnet.pipeline.video.stream import plan, stream
from helpers.face_videos import film_of_a_face
from helpers.in_process import arpgnet as run_arpgnet
from helpers.own_predictions import perfect, write_arpgnet
from helpers.synthetic_data import CLASSES, LOST, write_data
from helpers.synthetic_targets import with_targets
from helpers.untrained_run import CLASSES as OF_RUN
from helpers.untrained_run import publish_untrained, write_run

PAGE = Path(__file__).resolve().parents[3] / "docs/python.md"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    here = tmp_path_factory.mktemp("elsewhere")
    source = write_run(tmp_path_factory.mktemp("run"), {"decode": {"frames": 4}})
    clips = [Clip("one", "one.mp4", "00", label="anger", label_index=0, duration_s=0.5)]
    write_manifest(clips, source / "data/manifest.parquet", classes=OF_RUN, dataset="synthetic")
    publish_untrained(source, here / "released")
    write_data(here / "workspace")
    (here / "workspace/params.yaml").write_text("fusion:\n  heads: 4\n")
    write_arpgnet(here / "workspace")
    (here / "workspace/reports").mkdir()
    (here / "workspace/reports/metrics.json").write_text(json.dumps({"uar": {"mean": 0.5}}))
    for name in ("talk.mp4", "lunch.mp4"):
        film_of_a_face(here / name, 12)
    return here


@pytest.fixture
def model(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.chdir(folder)
    return arpgnet.load("released")


def test_the_page_runs_as_it_is_written(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert len(blocks) >= 8
    names: dict[str, Any] = {"__name__": "page"}
    for block in blocks:
        with pytest.warns(UserWarning, match="no face found") if "np.zeros" in block else _none():
            exec(compile(block, str(PAGE), "exec"), names)
    assert names["settings"].fusion.heads == 8
    assert names["found"].numbers["clips"] == 24
    assert set(names["found"].scores.index) == {"uar", "war", "macro_f1"}
    assert set(names["by_video"]["video"]) == {"talk.mp4", "lunch.mp4"}


class _none:  # noqa: N801 - a context without an effect
    def __enter__(self) -> None: ...
    def __exit__(self, *_: object) -> None: ...


def test_a_video_s_table_has_a_row_per_face_and_frame(model: Any) -> None:
    table = model.predict("talk.mp4")
    assert isinstance(table, pd.DataFrame)
    assert table["frame"].tolist() == list(range(12))
    assert table["success"].all()
    assert [name for name in table if name.startswith("p_")] == [f"p_{n}" for n in model.classes]
    assert np.allclose(table.filter(like="p_").sum(axis=1), 1, atol=1e-5)
    known = {"model": model.name, "classes": model.classes, "complete": True}
    known |= {"kind": "expression", "scale": ""}
    # a network that was not trained has no training clips
    assert table.attrs == known | {"domain_percentile": None, "domain_beyond": None}


def test_frames_in_memory_give_what_their_file_gives(model: Any) -> None:
    video = Path("talk.mp4")
    of_file = model.predict(video)
    images = np.stack([shown.image for shown in stream(video, plan(video))])
    table = model.predict(images, fps=1 / of_file["time_s"][1])
    pd.testing.assert_frame_equal(
        table.drop(columns="video"), of_file.drop(columns="video"), check_exact=False, rtol=1e-6
    )


@pytest.mark.parametrize(
    ("frames", "fps", "line"),
    [
        (np.zeros((3, 8, 8), np.uint8), 25, r"uint8 \[T, H, W, 3\], not uint8 \[3, 8, 8\]"),
        (np.zeros((3, 8, 8, 3)), 25, "not float64"),
        (np.zeros((0, 8, 8, 3), np.uint8), 25, r"\[0, 8, 8, 3\]"),
        (np.zeros((3, 8, 8, 3), np.uint8), None, "pass fps=25"),
        (np.zeros((3, 8, 8, 3), np.uint8), 0, "fps must be above 0"),
    ],
)
def test_what_is_not_frames_is_refused(model: Any, frames: Any, fps: Any, line: str) -> None:
    with pytest.raises(UserError, match=line):
        model.predict(frames, fps=fps)


def test_a_bad_video_is_left_out_with_a_warning(model: Any, tmp_path: Path) -> None:
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(b"no video at all")
    with pytest.raises(ClipError):
        model.predict(bad)
    with pytest.warns(UserWarning, match=r"bad\.mp4"):
        table = model.predict_many([bad, "talk.mp4"])
    assert table["video"].unique().tolist() == ["talk.mp4"]
    with pytest.warns(match=r"bad\.mp4"), pytest.raises(UserError, match="no video could be read"):
        model.predict_many([bad])


def test_graphs_are_the_valid_frames_of_a_split(folder: Path) -> None:
    cached = arpgnet.features(folder / "workspace")
    graphs = arpgnet.region_graphs(folder / "workspace")
    assert len(graphs) == cached.frames["valid"].sum()
    assert graphs.num_classes == len(CLASSES)
    one = graphs[0]
    row = cached.frames.index[cached.frames["valid"]][0]
    assert np.array_equal(one.x.numpy(), cached.nodes[row].astype(np.float32))
    assert one.clip == cached.frames["clip"][row] != LOST
    assert one.edge_index.max() < one.num_nodes
    parts = {
        name: {graph.subject for graph in arpgnet.region_graphs(folder / "workspace", split=name)}
        for name in ("train", "val", "test")
    }
    assert not parts["train"] & parts["test"]
    assert not parts["val"] & parts["test"]
    for fold in (0, 1):
        read, part = (
            arpgnet.region_graphs(folder / "workspace", split="test", fold=fold),
            graphs.part("test", fold),
        )
        assert [one.clip for one in part] == [one.clip for one in read]
        assert {one.split for one in part} == {"test"}
        assert torch.equal(part[3].x, read[3].x)
    with pytest.raises(UserError, match="there is no fold 7"):
        graphs.part("test", 7)
    batch = next(iter(DataLoader(graphs, batch_size=5)))
    assert batch.num_graphs == 5
    assert len(batch.clip) == 5


def test_labels_of_frames_are_each_frame_s(tmp_path: Path) -> None:
    write_data(tmp_path, frame_labels=True)
    frames = arpgnet.features(tmp_path).frames
    assert (frames["y"][frames["frame_index"] == 0] == -1).all()
    assert (frames["label"] == frames["clip"].str.split("-").str[1])[frames["y"] >= 0].all()


def test_predictions_of_one_s_own_are_compared(folder: Path, tmp_path: Path) -> None:
    root = folder / "workspace"
    mine = arpgnet.save_predictions(perfect(root), tmp_path / "mine.parquet", root)
    found = arpgnet.compare("workspace", mine, root)
    assert found.scores.loc["uar", "b"] == 1
    assert found.scores.loc["uar", "ci_low"] > 0
    assert "B is better than A in UAR." in str(found)
    assert "\n" not in str(found)
    # the same numbers as the command's
    done = run_arpgnet("compare", "workspace", str(mine), "--json", "-", folder=root)
    assert json.loads(done.stdout)["scores"] == found.numbers["scores"]
    # a clip that is not in the table has no prediction, and counts as wrong
    fewer = perfect(root).drop(index=perfect(root).index[0])
    rows = read_predictions(arpgnet.save_predictions(fewer, tmp_path / "fewer.parquet", root))
    assert (rows.predicted < 0).sum() == 1
    assert len(rows.label) == found.numbers["clips"]
    found = arpgnet.compare("workspace", tmp_path / "fewer.parquet", root)
    assert found.scores.loc["war", "b"] == pytest.approx(1 - 1 / len(rows.label), abs=1e-6)
    arpgnet.save_predictions(perfect(root).query("fold == 0"), mine, root)
    with pytest.raises(UserError, match="different test clips: 24 only in"):
        arpgnet.compare("workspace", mine, root)


def test_predictions_of_frames_are_of_each_labeled_one(tmp_path: Path) -> None:
    write_data(tmp_path, frame_labels=True)
    frames = arpgnet.features(tmp_path, fold=1).frames.query("split == 'test'")
    table = frames[["clip", "frame_index"]].assign(fold=1, p_anger=0.5, p_joy=0.25, p_neutral=0.25)
    rows = read_predictions(arpgnet.save_predictions(table, tmp_path / "mine.parquet", tmp_path))
    # the first frame of each clip is left out by the makers
    assert set(rows.frame_index) == {1, 2, 3}
    assert (rows.predicted == 0).all()
    assert (rows.label >= 0).all()


def test_predictions_of_action_units_are_compared(tmp_path: Path) -> None:
    with_targets(tmp_path, frames=True)
    (tmp_path / "params.yaml").write_text("task:\n  kind: action_units\n")
    folder = tmp_path / "artifacts"
    folder.mkdir()
    units = ["au_1", "au_2", "au_4"]
    known = read_targets(tmp_path / "data/targets.parquet")
    truth = pd.DataFrame(known.values, columns=units).fillna(0.0)
    truth = truth.assign(clip=known.clip_id, frame_index=known.frame_index)
    tested = truth[truth["clip"].str[1].astype(int) % 2 == 0]
    mine = arpgnet.save_predictions(tested, folder / "a.parquet", tmp_path)
    inverse = tested.assign(**{name: 1 - tested[name] for name in units})
    other = arpgnet.save_predictions(inverse, folder / "b.parquet", tmp_path)
    found = arpgnet.compare(other, mine, tmp_path)
    assert (found.scores.loc["f1", "a"], found.scores.loc["f1", "b"]) == (0, 1)
    assert found.scores.loc["f1", "p"] < 0.05
    with pytest.raises(UserError, match="the values of au_1, au_2, au_4 must be from 0 to 1"):
        arpgnet.save_predictions(tested.assign(au_4=5.0), folder / "c.parquet", tmp_path)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (lambda table: table.drop(columns="p_joy"), "no column p_joy: it needs clip, p_anger"),
        (lambda table: table.rename(columns={"clip": "name"}), "no column clip"),
        (lambda table: table.assign(p_joy=3.0), "apply a softmax to logits"),
        (lambda table: table.assign(p_joy="high"), "values that are not numbers"),
        (lambda table: table.assign(fold=7), "no fold 7 with test clips"),
        (lambda table: table.assign(fold="first"), "column fold of the table has a value"),
        (lambda table: table.assign(fold=1 - table["fold"]), "not in the test part of fold 0"),
        (lambda table: pd.concat([table, table]), "is listed twice in fold 0"),
        (lambda table: table.iloc[:0], "has no rows"),
    ],
)
def test_a_table_that_cannot_be_compared_is_refused(
    folder: Path, tmp_path: Path, change: Any, line: str
) -> None:
    target = tmp_path / "mine.parquet"
    with pytest.raises(UserError, match=line):
        arpgnet.save_predictions(
            change(perfect(folder / "workspace")), target, folder / "workspace"
        )
    assert not target.exists()


def test_what_is_not_there_is_said_in_one_line(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no fold 7"):
        arpgnet.features(folder / "workspace", fold=7)
    with pytest.raises(UserError, match="split 'tset'"):
        arpgnet.region_graphs(folder / "workspace", split="tset")
    with pytest.raises(UserError, match=r"metrics\.json not found"):
        arpgnet.metrics(tmp_path)
    with pytest.raises(UserError, match="did you mean"):
        arpgnet.params(folder / "workspace", fusion={"head": 8})
    with pytest.raises(AttributeError, match="no attribute 'prediction'"):
        _ = arpgnet.prediction
