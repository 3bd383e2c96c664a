"""`arpgnet predict` on made videos, with the demo pack and a network that has learned nothing."""

from __future__ import annotations

import shutil
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
from ruamel.yaml import YAML
from typer.testing import CliRunner

from arpgnet.pipeline.cli.main import app
from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.common.progress import Tracker
from arpgnet.pipeline.geometry.alignment import apply, similarity
from arpgnet.pipeline.geometry.parts import assemble_parts
from arpgnet.pipeline.predict.features import cut_out
from arpgnet.pipeline.predict.model import load_model
from arpgnet.pipeline.predict.predictor import PredictOptions, Predictor
from arpgnet.pipeline.predict.video import VideoPass
from arpgnet.pipeline.training.domain import Domain
from arpgnet.pipeline.video.frames import encode_jpeg
from arpgnet.pipeline.video.stream import plan, stream
from helpers.face_videos import film, images_of
from helpers.made_videos import cut, joined, sound_only
from helpers.two_people import compose
from helpers.untrained_run import CLASSES, write_run

DECODE = {"decode": {"frames": 4}}
PROBABILITIES = [f"p_{name}" for name in CLASSES]


@pytest.fixture(scope="module")
def faces() -> list[list[np.ndarray]]:
    """Two rendered people, 24 pictures of each."""
    return [images_of(person) for person in (1, 5)]


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("run"), DECODE)


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory, faces: list[list[np.ndarray]]) -> Path:
    """One person, 48 frames."""
    return film(tmp_path_factory.mktemp("video") / "one.mp4", [*faces[0], *faces[0][::-1]])


def table_of(workspace: Path, video: Path, out: Path, **options: object) -> pd.DataFrame:
    settings = {"form": "parquet", "out": out, "window_s": 0.6} | options
    predictor = Predictor(load_model(workspace), PredictOptions(**settings))  # type: ignore[arg-type]
    return pd.read_parquet(predictor.predict(video, out / "table.parquet").path)


def arpgnet(workspace: Path, *arguments: str | Path) -> tuple[int, str]:
    words = ["predict", "--model", str(workspace), "--window", "0.6", *map(str, arguments)]
    done = CliRunner().invoke(app, words)
    if isinstance(done.exception, UserError):
        return 1, str(done.exception)
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.output


def test_every_frame_of_a_face_has_a_row(workspace: Path, video: Path, tmp_path: Path) -> None:
    table = table_of(workspace, video, tmp_path, landmarks=True)
    assert table["frame"].tolist() == list(range(48))
    assert table["success"].all()
    assert set(table["face_id"]) == {0}
    assert np.allclose(table[PROBABILITIES].sum(axis=1), 1, atol=1e-5)
    # windows slide: the course changes
    assert table["p_anger"].nunique() > 4
    assert (table["coverage"] == 1).all()
    inside = table["x_0"].between(table["x1"] - 30, table["x2"] + 30)
    assert inside.all()
    assert sum(name.startswith("x_") for name in table) in (68, 98, 106)


def test_faces_that_are_unlike_the_training_clips_are_remarked_on(
    workspace: Path, video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load_model(workspace)
    features = model.info["features"]
    width = features["embedding_dim"] + features["map_shape"][0]
    draws = torch.Generator().manual_seed(0)
    # of what is far away, and of what includes everything
    for spread, shift, unlike in ((0.01, 50.0, True), (100.0, 0.0, False)):
        views = spread * torch.randn(40, width, generator=draws, dtype=torch.float64) + shift
        domain = Domain.of(views[:20], views[20:])
        monkeypatch.setattr("arpgnet.pipeline.predict.model.load_domain", lambda _, one=domain: one)
        out = tmp_path / str(unlike)
        code, said = arpgnet(workspace, video, "--out", out, "--format", "parquet", "--page")
        assert code == 0
        # no film: the page contains it
        assert [line for line in said.splitlines() if str(out) in line] == [
            f"{out / 'one.parquet'}: 48 frames, 1 face",
            f"{out / 'one.html'}: page, open it in a browser",
        ]
        assert ("warning: " in said and "unlike those that the network" in said) is unlike
        metadata = pq.read_metadata(out / "one.parquet").metadata
        assert ("unlike" in metadata[b"domain_warning"].decode()) is unlike
        assert float(metadata[b"domain_beyond"]) == unlike
        assert float(metadata[b"domain_percentile"]) == unlike
        assert ('id="unlike"' in (out / "one.html").read_text()) is unlike


def test_rows_tell_what_the_network_attends_to(workspace: Path, video: Path) -> None:
    predictor = Predictor(load_model(workspace), PredictOptions(window_s=0.6))
    expected = plan(video)
    one = VideoPass(
        predictor.networks,
        predictor.detector,
        stream(video, expected),
        expected,
        predictor.layout(expected),
        which="all",
        points=False,
        regions=True,
    )
    rows = list(one.rows(Tracker(48, "test", "frames", quiet=True)))
    assert len(rows) == 48
    for row in rows:
        assert row.regions is not None
        visible = row.regions.times_uniform > 0
        assert visible.sum() > 20
        # an untrained network attends to nothing much more than to anything else
        assert np.abs(np.log(row.regions.times_uniform[visible])).max() < np.log(3)
        # the crop reaches beyond the box on every side by less than half of it
        where = row.regions.where[visible]
        assert where.min() > -0.5
        assert where.max() < 1.5
        assert np.abs(where.mean(axis=0) - 0.5).max() < 0.25
    # they follow the frames that were shown to the network
    kinds = {row.regions.times_uniform.tobytes() for row in rows if row.regions}
    assert 4 <= len(kinds) < 48


def test_two_people_side_by_side(
    workspace: Path, faces: list[list[np.ndarray]], tmp_path: Path
) -> None:
    scene = compose(tmp_path / "two.mp4", (faces[0], faces[1]), swap=False, occluder=False)
    table = table_of(workspace, scene.path, tmp_path)
    seen = table[table["success"]]
    who = [
        scene.person(frame, (x1 + x2) / 2)
        for frame, x1, x2 in zip(seen["frame"], seen["x1"], seen["x2"], strict=True)
    ]
    assert len(set(zip(who, seen["face_id"], strict=True))) == 2
    assert np.bincount(who).min() >= 22
    main = table_of(workspace, scene.path, tmp_path, faces="main", window_s=2.0)
    assert set(main[main["success"]]["face_id"]) <= {0, 1}
    assert main["face_id"].nunique() == 1


def test_a_phone_held_upright_and_a_rate_that_varies(
    workspace: Path, faces: list[list[np.ndarray]], tmp_path: Path
) -> None:
    steps = [40, 20, 90, 40] * 6
    turned = [np.rot90(image, -1) for image in faces[0]]
    path = film(tmp_path / "phone.mp4", turned, rotation=90, step_ms=steps)
    upright = film(tmp_path / "upright.mp4", faces[0], step_ms=steps)
    one, other = (table_of(workspace, each, tmp_path) for each in (path, upright))
    assert one["success"].mean() > 0.9
    assert np.abs(one["x1"] - other["x1"]).max() < 6
    assert one["time_s"].tolist() == pytest.approx(np.cumsum([0, *steps[1:]]) / 1000, abs=1e-3)


def test_every_row_has_pose_and_quality_with_and_without_landmarks(
    workspace: Path, video: Path, tmp_path: Path
) -> None:
    measured = table_of(workspace, video, tmp_path / "a", landmarks=True)
    between = table_of(workspace, video, tmp_path / "b")
    angles = ["yaw", "pitch", "roll"]
    for table in (measured, between):
        assert table[[*angles, "quality", "sharpness", "exposure"]].notna().all(axis=None)
        assert table["quality"].between(0, 1).all()
    # linear between one frame in three or four
    assert (measured[angles] - between[angles]).abs().median().max() < 3
    sides = measured[["x2", "y2"]].to_numpy() - measured[["x1", "y1"]].to_numpy()
    np.testing.assert_allclose(measured["face_px"], sides.min(axis=1), rtol=1e-5)


@pytest.mark.parametrize(
    "gate", [{"align": {"min_face_px": 1000}}, {"graph": {"max_yaw": 0.001}}], ids=["size", "yaw"]
)
def test_what_training_masks_is_not_classified(
    video: Path, tmp_path: Path, gate: dict[str, dict[str, float]]
) -> None:
    table = table_of(write_run(tmp_path / "gated", DECODE | gate), video, tmp_path)
    assert table["success"].all()
    assert table["p_anger"].isna().all()
    assert table["label"].eq("").all()
    assert table["yaw"].notna().any() == ("graph" in gate)


def test_boxes_and_points_are_in_the_image_that_players_show(
    workspace: Path, faces: list[list[np.ndarray]], tmp_path: Path
) -> None:
    squeezed = [cv2.resize(image, (144, 192)) for image in faces[0]]
    mirrored = [np.rot90(image, -1)[:, ::-1] for image in faces[0]]
    mirrored = [cv2.resize(image, (192, 144)) for image in mirrored]
    film(tmp_path / "plain.mp4", faces[0])
    film(tmp_path / "squeezed.mp4", squeezed, pixel=Fraction(4, 3))
    film(tmp_path / "mirrored.mkv", mirrored, rotation=-90, mirrored=True, pixel=Fraction(3, 4))
    names = ["plain.mp4", "squeezed.mp4", "mirrored.mkv"]
    out = tmp_path / "out"
    status, said = arpgnet(
        workspace, *(tmp_path / name for name in names), "--landmarks", "--out", out
    )
    assert status == 0, said
    plain, *others = (pd.read_csv(out / f"{Path(name).stem}.csv") for name in names)
    columns = ["x1", "y1", "x2", "y2", "x_0", "y_0", "x_30", "y_30"]
    for other in others:
        assert other["success"].all()
        assert (other[columns] - plain[columns]).abs().median().max() < 3


def test_images_that_change_their_size_and_are_shrunk(
    faces: list[list[np.ndarray]], tmp_path: Path
) -> None:
    """Each frame's box is in its own pixels, whatever the next one's scale is."""
    small = write_run(tmp_path / "small", {"decode": {"frames": 4, "max_side": 128}})
    large = [cv2.resize(image, (384, 384)) for image in faces[0]]
    parts = [film(tmp_path / f"{n}.ts", each) for n, each in enumerate([faces[0], large])]
    table = table_of(small, joined(tmp_path / "a.ts", *parts), tmp_path)
    across = (table["x2"] - table["x1"]).to_numpy()
    assert len(across) == 48
    assert across[24:] / across[:24] == pytest.approx(2, abs=0.15)


def test_pictures_that_are_shrunk_have_boxes_in_the_videos_pixels(
    workspace: Path, video: Path, tmp_path: Path
) -> None:
    small = write_run(tmp_path / "small", {"decode": {"frames": 4, "max_side": 128}})
    one, other = (table_of(root, video, tmp_path) for root in (workspace, small))
    assert np.abs(one["x2"] - other["x2"]).max() < 12


def test_several_videos_get_a_summary(workspace: Path, video: Path, tmp_path: Path) -> None:
    other = shutil.copy(video, tmp_path / "summary.mp4")
    code, said = arpgnet(workspace, video, other, "--out", tmp_path / "out")
    assert code == 0, said
    # the video of that name goes elsewhere
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        *("one.csv", "summary-2.csv", "summary.csv"),
    }
    table = pd.read_csv(tmp_path / "out/summary.csv")
    assert table["video"].tolist() == [str(video), str(other)]
    rows = pd.read_csv(tmp_path / "out/one.csv")
    assert table["mean_anger"][0] == pytest.approx(rows["p_anger"].mean(), abs=1e-5)
    assert table["seconds"][0] == pytest.approx(len(rows) / 24, rel=0.1)
    assert table["label"][0] in said


def test_intervals(workspace: Path, video: Path, tmp_path: Path) -> None:
    code, said = arpgnet(workspace, video, "--format", "intervals", "--out", tmp_path)
    assert code == 0, said
    table = pd.read_csv(tmp_path / "one.intervals.csv")
    assert set(table["label"]) <= set(CLASSES)
    assert table["start_s"].iloc[0] == 0
    assert (table["duration_s"] > 0).all()


def test_a_network_of_rendered_faces_says_so_everywhere(
    workspace: Path, video: Path, tmp_path: Path
) -> None:
    model = load_model(workspace)
    model.info["origin"] = {"faces": "rendered", "sets": []}
    options = PredictOptions("parquet", tmp_path, window_s=0.6, overlay=True, page=True)
    done = Predictor(model, options).predict(video, tmp_path / "one.parquet")
    metadata = pq.read_metadata(done.path).metadata
    assert b"rendered faces only" in metadata[b"warning"]
    assert float(metadata[b"stride_s"]) <= 0.2
    assert "rendered faces only" in (tmp_path / "one.html").read_text()
    # the overlay's lower left corner is darker than the video's
    (shown, *_), (plain, *_) = (
        [one.image for one in stream(path, plan(path))]
        for path in (tmp_path / "one.overlay.mp4", video)
    )
    corner = (slice(plain.shape[0] - 12, plain.shape[0] - 8), slice(0, 4))
    assert shown[corner].mean() < 60
    # one that was trained on people does not
    model.info["origin"] = {"faces": "people", "sets": []}
    assert model.warning == ""


def test_a_network_of_frames(video: Path, tmp_path: Path) -> None:
    settings = {"decode": {"sampling": "fps", "fps": 12.5}, "train": {"window": 6, "stride": 3}}
    root = write_run(tmp_path / "run", settings, task="frame")
    table = table_of(root, video, tmp_path)
    assert table["frame"].tolist() == list(range(48))
    assert np.allclose(table[PROBABILITIES].sum(axis=1), 1, atol=1e-5)


def test_a_network_of_two_views_sees_the_parts_too(video: Path, tmp_path: Path) -> None:
    root = write_run(tmp_path, {**DECODE, "appearance": {"views": ["face", "parts"]}})
    predictor = Predictor(load_model(root), PredictOptions(window_s=0.6))
    image = next(stream(video, plan(video))).image
    found = predictor.detector.detect(image)
    cut = cut_out(image, found.boxes[0], found.kps[0])
    assert cut is not None
    features, _ = predictor.networks.describe([cut])
    points = apply(similarity(found.kps[0]), found.kps[0])[None]
    parts = assemble_parts(cut.crop[None], points)
    embedding, maps = predictor.networks.appearance.describe(parts)
    assert features.parts_embedding is not None
    assert features.parts_cells is not None
    np.testing.assert_allclose(features.parts_embedding, embedding, rtol=2e-3, atol=2e-3)
    cells = maps.reshape(*maps.shape[:2], -1).transpose(0, 2, 1)
    np.testing.assert_allclose(features.parts_cells, cells, rtol=2e-3, atol=2e-3)
    table = table_of(root, video, tmp_path / "out")
    assert np.allclose(table[PROBABILITIES].sum(axis=1), 1, atol=1e-5)


def test_of_a_damaged_video_the_sound_part_is_kept_and_marked(
    workspace: Path, video: Path, tmp_path: Path
) -> None:
    whole = tmp_path / "whole.mkv"
    with av.open(str(video)) as inner, av.open(str(whole), "w") as outer:
        stream = inner.streams.video[0]
        copy = outer.add_stream_from_template(stream)
        for packet in inner.demux(stream):
            if packet.dts is not None:
                packet.stream = copy
                outer.mux(packet)
    data = bytearray(whole.read_bytes())
    data[len(data) * 7 // 10 : len(data) * 7 // 10 + 400] = bytes(400)
    damaged = tmp_path / "damaged.mkv"
    damaged.write_bytes(data)
    status, said = arpgnet(workspace, damaged, "--out", tmp_path)
    assert status == 1
    assert "complete=false" in said
    table = pd.read_csv(tmp_path / "damaged.csv")
    assert 0 < len(table) < 48
    assert table["complete"].tolist() == [True] * (len(table) - 1) + [False]
    # a reader that knows nothing of the mark takes it for no row
    assert table["frame"].tolist() == list(range(len(table)))


def test_bad_videos_are_a_line_each_and_the_others_go_on(
    workspace: Path, video: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "videos"
    folder.mkdir()
    shutil.copy(video, folder / "good.mp4")
    film(folder / "faceless.mp4", [np.full((192, 192, 3), 120, np.uint8)] * 12)
    sound_only(folder / "sound.mp4")
    (folder / "empty.mp4").touch()
    (folder / "text.mkv").write_text("not a video")
    cut(video, folder / "header.mp4", 0.3)
    (folder / "picture.mp4").write_bytes(encode_jpeg(np.zeros((50, 50, 3), np.uint8), 90))
    status, said = arpgnet(workspace, folder, "--out", tmp_path / "out")
    assert status == 1
    lines = {
        Path(line.split(": ")[1]).name: line for line in said.splitlines() if "error: " in line
    }
    for name, words in {
        "faceless.mp4": "no face found in 12 frames",
        "sound.mp4": "sound only",
        "empty.mp4": "the file is empty",
        "text.mkv": "not a video",
        "header.mp4": "damaged",
        "picture.mp4": "an image, not a video",
    }.items():
        assert words in lines[name], lines
    assert "good.mp4" not in lines
    assert len(pd.read_csv(tmp_path / "out/good.csv")) == 48
    faceless = pd.read_csv(tmp_path / "out/faceless.csv")
    assert faceless["face_id"].tolist() == [-1] * 12


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"graph": {"regions": "landmark"}}, "another faces.pack, views or graph"),
        ({"appearance": {"views": ["face", "parts"]}}, "than params.yaml has now (views)"),
        ({"graph": {"neighborhood": 8}}, "(edges, edge_types)"),
        ({"faces": {"landmarks": "provided"}}, "faces.landmarks: pack"),
    ],
)
def test_settings_that_are_not_the_runs_are_refused(
    workspace: Path, video: Path, tmp_path: Path, settings: dict[str, object], said: str
) -> None:
    root = tmp_path / "other"
    shutil.copytree(workspace, root)
    with (root / "params.yaml").open("w") as file:
        YAML().dump(DECODE | settings, file)
    status, line = arpgnet(root, video)
    assert status == 1
    assert said in line


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["absent.mp4"], "absent.mp4 does not exist"),
        (["{empty}"], "contains no video"),
        (["{video}", "--run", "fold9-seed0"], "no run fold9-seed0"),
    ],
)
def test_what_is_not_there_is_said(
    workspace: Path, video: Path, tmp_path: Path, arguments: list[str], said: str
) -> None:
    filled = [word.format(empty=tmp_path, video=video) for word in arguments]
    status, line = arpgnet(workspace, *filled)
    assert status == 1
    assert said in line
