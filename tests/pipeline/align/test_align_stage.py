"""The align stage from frames on disk to faces on disk, on graphs that find white squares."""

import pickle
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pytest

from arpgnet.pipeline.align.clip import FACES_SCHEMA, AlignClip
from arpgnet.pipeline.common.errors import ClipError, UserError
from arpgnet.pipeline.common.params import AlignParams, EngineParams
from arpgnet.pipeline.geometry.alignment import ARCFACE_TEMPLATE, CROP_PX, apply, similarity, warp
from arpgnet.pipeline.networks.listed import list_networks
from arpgnet.pipeline.networks.packs import load_pack
from arpgnet.pipeline.runner.engine import run_clips
from arpgnet.pipeline.tables.manifest import QUARANTINED, Clip, write_manifest
from arpgnet.pipeline.tables.shards import PIECE_ROWS, ShardReader, to_numpy
from arpgnet.pipeline.video.frames import decode_jpeg
from helpers import graphs, vit_packs
from helpers.outputs import OutputWriter

CELL = 64  # the detectors see 128 px of a 256 px image
FRAMES_SCHEMA = pa.schema(
    [
        ("clip_id", pa.string()),
        ("frame_index", pa.int32()),
        ("time_s", pa.float64()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("jpeg", pa.binary()),
    ]
)


def make_image(*cells: tuple[int, int]) -> np.ndarray:
    image = np.zeros((256, 256, 3), dtype=np.uint8)
    for column, row in cells:
        image[row * CELL : (row + 1) * CELL, column * CELL : (column + 1) * CELL] = 255
    return image


def frames_table(clip_id: str, images: list[np.ndarray]) -> pa.Table:
    jpegs = [cv2.imencode(".jpg", image[:, :, ::-1])[1].tobytes() for image in images]
    n = len(jpegs)
    columns = {
        "clip_id": [clip_id] * n,
        "frame_index": [5 * i for i in range(n)],
        "time_s": [0.2 * i for i in range(n)],
        "width": [256] * n,
        "height": [256] * n,
        "jpeg": jpegs,
    }
    return pa.table(columns, schema=FRAMES_SCHEMA)


CLIPS = {
    "still": [make_image((1, 1))] * 4,
    "hidden": [make_image((1, 1)), make_image(), make_image((1, 1)), make_image((1, 1))],
    "two": [make_image((1, 1), (3, 3)), make_image((1, 1), (3, 3)), make_image((3, 3))],
    "empty": [make_image()] * 3,
}


@pytest.fixture
def decoded(tmp_path: Path) -> Path:
    folder = tmp_path / "data" / "frames"
    with OutputWriter(folder, FRAMES_SCHEMA, {}) as writer:
        for number, (clip_id, images) in enumerate(CLIPS.items()):
            writer.add(clip_id, f"{number:064x}", [frames_table(clip_id, images)])
        writer.add_quarantined("broken", "", "zero bytes")
    return folder


@pytest.fixture(params=[graphs.small_pack, graphs.small_open_pack], ids=["scrfd", "yunet"])
def work(request: pytest.FixtureRequest, decoded: Path, tmp_path: Path) -> AlignClip:
    pack = load_pack(str(request.param(tmp_path / "p")))
    return AlignClip(decoded, pack, AlignParams(pad_retry=0.0), "cpu")


def clip(clip_id: str, **fields) -> Clip:
    return Clip(clip_id=clip_id, path=f"{clip_id}.mp4", sha256="0" * 64, **fields)


def rows(work: AlignClip, of: Clip) -> pa.Table:
    return pa.concat_tables(work.run(of))


def test_every_frame_is_a_row_and_the_face_lies_on_the_template(work: AlignClip) -> None:
    table = rows(work, clip("still"))
    assert table.num_rows == 4
    assert table.column("frame_index").to_pylist() == [0, 5, 10, 15]
    assert table.column("valid").to_pylist() == [True] * 4
    kps = to_numpy(table.column("kps"), (5, 2))
    matrix = to_numpy(table.column("matrix"), (2, 3))
    np.testing.assert_allclose(kps[0], (graphs.CELL_KPS + 1) * CELL, atol=0.1)
    np.testing.assert_allclose(
        to_numpy(table.column("bbox"), (4,))[0], [64, 64, 128, 128], atol=0.1
    )
    # the cell's layout is close to, but not, the template's
    np.testing.assert_allclose(apply(matrix[0], kps[0]), ARCFACE_TEMPLATE, atol=8)
    expected = similarity(kps[0])
    assert expected is not None
    np.testing.assert_array_equal(matrix[0], expected)


def test_the_crop_is_the_warped_frame_in_rgb(decoded: Path, tmp_path: Path) -> None:
    pack = load_pack(str(graphs.small_pack(tmp_path / "p")))
    work = AlignClip(decoded, pack, AlignParams(), "cpu")
    table = rows(work, clip("still"))
    crop = np.frombuffer(table.column("crop")[0].as_py(), np.uint8).reshape(CROP_PX, CROP_PX, 3)
    matrix = to_numpy(table.column("matrix"), (2, 3))[0]
    # JPEG rounds
    np.testing.assert_allclose(
        crop.astype(int), warp(make_image((1, 1)), matrix).astype(int), atol=12
    )


def test_a_network_that_takes_more_pixels_has_them_from_the_frame(
    decoded: Path, tmp_path: Path
) -> None:
    """Matrices, boxes and contexts are those of a pack whose network takes 112."""
    usual = load_pack(str(graphs.small_pack(tmp_path / "p")))
    larger = load_pack(str(vit_packs.vit_pack(tmp_path / "q")))
    works = [AlignClip(decoded, pack, AlignParams(), "cpu") for pack in (usual, larger)]
    small, large = (rows(work, clip("still")) for work in works)
    for name in set(small.schema.names) - {"crop"}:
        assert small.column(name).equals(large.column(name)), name
    frames = ShardReader(decoded).read("still").column("jpeg")
    matrix = to_numpy(small.column("matrix"), (2, 3))[0]
    expected = warp(decode_jpeg(frames[0].as_py()), matrix, 224)
    assert large.column("crop")[0].as_py() == expected.tobytes()
    assert [work.metadata()["crop_px"] for work in works] == [112, 224]
    assert works[0].key(clip("still")) != works[1].key(clip("still"))


def test_the_context_is_the_square_round_the_box(decoded: Path, tmp_path: Path) -> None:
    pack = load_pack(str(graphs.small_pack(tmp_path / "p")))
    table = rows(AlignClip(decoded, pack, AlignParams(), "cpu"), clip("still"))
    found = decode_jpeg(table.column("context")[0].as_py())
    # 64 px of white in a square of 96: the middle two thirds of 192
    assert found.shape == (192, 192, 3)
    assert found[40:152, 40:152].min() > 240
    assert found[:24].max() < 15
    assert found[:, 168:].max() < 15


def test_a_long_clip_comes_in_pieces_that_add_up(tmp_path: Path) -> None:
    folder = tmp_path / "frames"
    hidden = range(60, 70)  # on both sides of the first piece's end
    images = [make_image() if n in hidden else make_image((1, 2)) for n in range(150)]
    table = frames_table("long", images)
    pieces = [table.slice(start, PIECE_ROWS) for start in range(0, 150, PIECE_ROWS)]
    with OutputWriter(folder, FRAMES_SCHEMA, {}) as writer:
        writer.add("long", "0" * 64, pieces)
    pack = load_pack(str(graphs.small_pack(tmp_path / "p")))
    work = AlignClip(folder, pack, AlignParams(), "cpu")
    found = list(work.run(clip("long")))
    assert [piece.num_rows for piece in found] == [64, 64, 22]
    whole = pa.concat_tables(found)
    assert whole.column("frame_index").to_pylist() == [5 * n for n in range(150)]
    seen = [n not in hidden for n in range(150)]
    assert whole.column("valid").to_pylist() == seen
    assert [len(crop.as_py()) > 0 for crop in whole.column("crop")] == seen
    boxes = to_numpy(whole.column("bbox"), (4,))
    np.testing.assert_allclose(boxes[seen], [[64, 128, 128, 192]] * sum(seen), atol=0.1)


def test_colors_stay_in_order(tmp_path: Path) -> None:
    yellow = make_image((1, 1))
    yellow[:, :, 2] //= 2
    folder = tmp_path / "frames"
    with OutputWriter(folder, FRAMES_SCHEMA, {}) as writer:
        writer.add("yellow", "0" * 64, [frames_table("yellow", [yellow])])
    pack = load_pack(str(graphs.small_pack(tmp_path / "p")))
    table = rows(AlignClip(folder, pack, AlignParams(), "cpu"), clip("yellow"))
    crop = np.frombuffer(table.column("crop")[0].as_py(), np.uint8).reshape(CROP_PX, CROP_PX, 3)
    assert crop[60, 56, 0] > 240
    assert 110 < crop[60, 56, 2] < 145


def test_a_frame_without_the_face_is_an_invalid_row(work: AlignClip) -> None:
    table = rows(work, clip("hidden"))
    assert table.column("valid").to_pylist() == [True, False, True, True]
    assert table.column("track_id").to_pylist() == [0, -1, 0, 0]
    lost = table.slice(1, 1)
    assert lost.column("crop").to_pylist() == [b""]
    assert lost.column("context").to_pylist() == [b""]
    for name, width in (("bbox", 4), ("kps", 10), ("matrix", 6)):
        assert not to_numpy(lost.column(name), (width,)).any()
    assert lost.column("det_score").to_pylist() == [0.0]


def test_the_longest_track_is_followed(work: AlignClip) -> None:
    table = rows(work, clip("two"))
    boxes = to_numpy(table.column("bbox"), (4,))
    np.testing.assert_allclose(boxes, [[192, 192, 256, 256]] * 3, atol=0.1)
    assert len(set(table.column("track_id").to_pylist())) == 1


def test_of_two_people_the_one_who_is_asked_for_is_followed(work: AlignClip) -> None:
    # the other one is seen longer
    table = rows(work, clip("two", person="left"))
    assert table.column("valid").to_pylist() == [True, True, False]
    boxes = to_numpy(table.column("bbox"), (4,))
    np.testing.assert_allclose(boxes[:2], [[64, 64, 128, 128]] * 2, atol=0.1)
    with pytest.raises(ClipError, match=r"^no face found in any of 4 frames$"):
        rows(work, clip("still", person="right"))


def test_a_clip_without_a_face_is_quarantined(work: AlignClip) -> None:
    with pytest.raises(ClipError, match=r"^no face found in any of 3 frames$"):
        rows(work, clip("empty"))


def test_small_faces_are_masked(work: AlignClip) -> None:
    def gated(least: int) -> AlignClip:
        return replace(work, align=AlignParams(pad_retry=0.0, min_face_px=least))

    assert rows(gated(60), clip("still")).equals(rows(work, clip("still")))
    assert rows(gated(60), clip("still")).column("valid").to_pylist() == [True] * 4
    with pytest.raises(
        ClipError,
        match=r"^every face is smaller than align.min_face_px \(70\): the largest has 64 pixels$",
    ):
        rows(gated(70), clip("still"))
    with pytest.raises(ClipError, match=r"^no face found in any of 3 frames$"):
        rows(gated(70), clip("empty"))


def test_the_stage_writes_all_clips_with_reasons(work: AlignClip, tmp_path: Path) -> None:
    clips = [clip(name) for name in (*CLIPS, "broken")]
    out = tmp_path / "data" / "faces"
    summary = run_clips(work, clips, out, EngineParams(workers=1))
    assert (summary.done, summary.quarantined) == (3, 2)
    reader = ShardReader(out)
    assert reader.entry("empty").reason == "no face found in any of 3 frames"
    assert reader.entry("broken").reason == "zero bytes"
    assert reader.read("hidden").schema.names == FACES_SCHEMA.names
    assert set(reader.read("two").column("clip_id").to_pylist()) == {"two"}
    assert reader.metadata["crop_px"] == CROP_PX
    assert reader.metadata["pack"] == work.pack.name
    assert reader.metadata["detector_sha256"] == work.pack.models["detector"].sha256
    first = (out / "part-00000.parquet").read_bytes()
    again = run_clips(work, clips, out, EngineParams(workers=1))
    assert (again.done, again.reused) == (0, 3)
    assert (out / "part-00000.parquet").read_bytes() == first


def test_what_the_manifest_quarantined_stays_so(work: AlignClip) -> None:
    bad = clip("still", status=QUARANTINED, reason="not a video")
    assert work.upstream_failure(bad) == "not a video"
    assert work.upstream_failure(clip("broken")) == "zero bytes"
    assert work.upstream_failure(clip("still")) is None


def test_the_key_follows_what_matters(work: AlignClip, tmp_path: Path) -> None:
    def key(**changes) -> str:
        other = AlignClip(
            work.frames, changes.pop("pack", work.pack), AlignParams(**changes), "cpu"
        )
        return other.key(clip("still"))

    base = key(pad_retry=0.0)
    assert base == work.key(clip("still"))
    assert base != work.key(clip("two"))
    assert base != key(pad_retry=0.0, main_face="largest")
    assert base != key(pad_retry=0.0, det_thresh=0.6)
    assert base == work.key(clip("still", label="happy", subject="s1"))
    maker = (
        graphs.small_pack
        if work.pack.models["detector"].kind == "yunet"
        else graphs.small_open_pack
    )
    assert base != key(pad_retry=0.0, pack=load_pack(str(maker(tmp_path / "q"))))


def test_work_in_use_can_be_sent_to_a_worker(work: AlignClip) -> None:
    work.setup()
    before = rows(work, clip("two"))
    copy = pickle.loads(pickle.dumps(work))
    assert copy == work
    copy.setup()
    assert rows(copy, clip("two")).equals(before)


def test_main_reads_params_and_manifest(
    decoded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from arpgnet.stages import align

    folder = graphs.small_pack(tmp_path / "p")
    (tmp_path / "params.yaml").write_text(f"faces: {{pack: {folder}}}\n")
    monkeypatch.chdir(tmp_path)
    list_networks(str(folder))
    clips = [clip(name, label="a", label_index=0) for name in CLIPS]
    write_manifest(clips, classes=["a", "b"], dataset="csv")
    align.main()
    assert ShardReader(tmp_path / "data" / "faces").clip_ids == list(CLIPS)


def test_no_clip_with_a_face_ends_the_run(work: AlignClip, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"align: 1 of 1 clips are unusable: no face found in any"):
        run_clips(work, [clip("empty")], tmp_path / "faces", EngineParams(workers=1))
