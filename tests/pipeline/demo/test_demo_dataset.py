"""The demo's folder: what is written, resuming, and independence of the worker count."""

from __future__ import annotations

import csv
from pathlib import Path

import av
import numpy as np
import pyarrow.parquet as pq
import pytest

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.demo import CLASSES, render_clip, render_dataset
from arpgnet.pipeline.demo.dataset import encode

SMALL = {"subjects": 1, "clips_per_class": 1, "frame_px": 32, "fps": 5.0, "seed": 3}


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("demo")
    render_dataset(root, workers=1, **SMALL)
    return root


def contents(root: Path) -> dict[str, bytes]:
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def test_the_manifest_lists_every_clip_and_nothing_else_is_left(rendered: Path) -> None:
    with (rendered / "manifest.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["label"] for row in rows] == list(CLASSES)
    assert {row["subject"] for row in rows} == {"s00"}
    expected = {"manifest.csv", "settings.json"}
    for row in rows:
        expected |= {row["path"], row["path"].replace(".mp4", ".truth.parquet")}
    assert set(contents(rendered)) == expected


def test_the_truth_has_a_row_for_every_decoded_frame(rendered: Path) -> None:
    video = rendered / "fear" / "s00_c0.mp4"
    with av.open(str(video)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        times = [frame.time for frame in container.decode(stream)]
    table = pq.read_table(video.with_name("s00_c0.truth.parquet"))
    np.testing.assert_allclose(table["time_s"].to_numpy(), times, atol=1e-6)
    assert table["frame_index"].to_pylist() == list(range(len(times)))
    assert table.schema.field("landmarks").type.list_size == 212
    angles = np.array(table["head_pose"].to_pylist())
    assert angles.shape == (len(times), 3)
    assert 0.5 < np.abs(angles).max() <= 20.0


def test_the_bytes_do_not_depend_on_the_number_of_workers(rendered: Path, tmp_path: Path) -> None:
    render_dataset(tmp_path, workers=2, **SMALL)
    assert contents(tmp_path) == contents(rendered)


def test_encoding_repeats_its_bytes() -> None:
    # x264's macroblock tree reads memory it has not written, at this size in most runs
    frames = render_clip(5, "sadness", 1, frame_px=96, fps=5.0)
    clutter = [np.full(50_000 + 7_000 * k, k, np.uint8) for k in range(40)]
    first = encode(frames, 5.0, 20)
    for _ in range(6):
        clutter.pop(0)
        assert encode(frames, 5.0, 20) == first


def test_an_interrupted_rendering_goes_on_with_the_missing_clips(
    rendered: Path, tmp_path: Path
) -> None:
    whole = contents(rendered)
    for name, data in whole.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(data)
    (tmp_path / "manifest.csv").unlink()
    # truth without a video is a clip that was cut off
    (tmp_path / "anger" / "s00_c0.mp4").unlink()
    kept = tmp_path / "sadness" / "s00_c0.mp4"
    before = kept.stat().st_mtime_ns
    seen: list[tuple[int, int]] = []
    render_dataset(tmp_path, workers=1, progress=lambda *now: seen.append(now), **SMALL)
    assert seen == [(8, 8)]
    assert kept.stat().st_mtime_ns == before
    assert contents(tmp_path) == whole


def test_a_folder_of_other_settings_is_refused(rendered: Path) -> None:
    before = contents(rendered)
    with pytest.raises(UserError, match="other settings"):
        render_dataset(rendered, workers=1, **{**SMALL, "seed": 4})
    assert contents(rendered) == before


@pytest.mark.parametrize("wrong", [{"subjects": 1001}, {"frame_px": 33}, {"fps": 0.0}])
def test_impossible_settings_are_the_users_mistake(tmp_path: Path, wrong: dict[str, float]) -> None:
    with pytest.raises(UserError):
        render_dataset(tmp_path, workers=1, **{**SMALL, **wrong})
    assert contents(tmp_path) == {}
