"""Faces that the data set gives instead of a detector."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pytest

from arpgnet.pipeline.align.clip import AlignClip
from arpgnet.pipeline.align.provided import NOMINAL_BOX, face_of_points, nominal_face, whole_image
from arpgnet.pipeline.common.errors import ClipError
from arpgnet.pipeline.common.params import AlignParams
from arpgnet.pipeline.decode.clip import FRAMES_SCHEMA
from arpgnet.pipeline.geometry.alignment import ARCFACE_TEMPLATE, CROP_PX, apply, similarity, warp
from arpgnet.pipeline.geometry.quality import face_px
from arpgnet.pipeline.networks.packs import Pack, load_pack
from arpgnet.pipeline.tables.manifest import Clip
from arpgnet.pipeline.tables.shards import to_numpy
from arpgnet.pipeline.video.frames import decode_jpeg, encode_jpeg
from helpers import graphs
from helpers.outputs import OutputWriter
from helpers.synthetic_face import face_points


def make_image(seed: int, width: int, height: int) -> np.ndarray:
    """A smooth RGB image."""
    small = np.random.default_rng(seed).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC))


def faces(
    tmp_path: Path,
    images: list[np.ndarray],
    points: list[np.ndarray | None],
    min_face_px: int = 0,
    **of_clip: str,
) -> pa.Table:
    """What align makes of a clip of these images and landmarks."""
    count = len(images)
    columns = {
        "clip_id": ["c"] * count,
        "frame_index": list(range(count)),
        "time_s": [n / 25 for n in range(count)],
        "width": [image.shape[1] for image in images],
        "height": [image.shape[0] for image in images],
        "jpeg": [encode_jpeg(image, 95) for image in images],
        "decoder": ["images"] * count,
        "points": [None if one is None else one.ravel().tolist() for one in points],
    }
    with OutputWriter(tmp_path / "frames", FRAMES_SCHEMA, {}) as writer:
        writer.add("c", "0" * 64, [pa.table(columns, schema=FRAMES_SCHEMA)])
    align = AlignParams(min_face_px=min_face_px)
    work = AlignClip(tmp_path / "frames", small_pack(tmp_path), align, "cpu")
    return pa.concat_tables(work.run(Clip("c", "c", "", **of_clip)))


def small_pack(tmp_path: Path) -> Pack:
    return load_pack(str(graphs.small_pack(tmp_path / "pack")))


def crops(table: pa.Table) -> np.ndarray:
    data = b"".join(table.column("crop").to_pylist())
    return np.frombuffer(data, np.uint8).reshape(-1, CROP_PX, CROP_PX, 3)


def test_a_crop_of_our_size_stays_as_it_is(tmp_path: Path) -> None:
    table = faces(tmp_path, [make_image(0, 112, 112)], [None], faces="aligned")
    np.testing.assert_array_equal(to_numpy(table.column("matrix"), (2, 3))[0], np.eye(2, 3))
    stored = decode_jpeg(encode_jpeg(make_image(0, 112, 112), 95))
    np.testing.assert_array_equal(crops(table)[0], stored)
    np.testing.assert_allclose(to_numpy(table.column("kps"), (5, 2))[0], ARCFACE_TEMPLATE)
    np.testing.assert_allclose(to_numpy(table.column("bbox"), (4,))[0], NOMINAL_BOX)
    assert table.column("valid").to_pylist() == [True]
    assert table.column("det_score").to_pylist() == [1.0]


def test_a_crop_of_twice_our_size_is_averaged() -> None:
    image = make_image(1, 224, 224)
    means = image.reshape(112, 2, 112, 2, 3).astype(float).mean(axis=(1, 3))
    found = warp(image, whole_image(224, 224))
    np.testing.assert_allclose(found.astype(float), means, atol=1.0)


@pytest.mark.parametrize(("width", "height"), [(128, 128), (200, 100), (90, 160), (56, 56)])
def test_the_whole_image_lies_in_the_middle_of_the_crop(width: int, height: int) -> None:
    matrix = whole_image(width, height)
    corners = apply(matrix, [[-0.5, -0.5], [width - 0.5, height - 0.5]])
    assert np.ptp(corners, axis=0).max() == pytest.approx(CROP_PX)
    np.testing.assert_allclose(corners.sum(axis=0), CROP_PX - 1, atol=1e-4)
    box, kps = nominal_face(matrix)
    np.testing.assert_allclose(apply(matrix, kps), ARCFACE_TEMPLATE, atol=1e-3)
    np.testing.assert_allclose(apply(matrix, box.reshape(2, 2)).ravel(), NOMINAL_BOX, atol=1e-3)


def test_68_points_give_what_alignment_gives_for_their_five() -> None:
    turn = np.array([[0.6, -0.25, 80.0], [0.25, 0.6, 40.0]])
    points = apply(turn, face_points("68"))
    box, kps, matrix = face_of_points(points)
    eyes = [points[36:42].mean(axis=0), points[42:48].mean(axis=0)]
    np.testing.assert_allclose(kps, [*eyes, points[30], points[48], points[54]], rtol=1e-5)
    expected = similarity(kps)
    assert expected is not None
    np.testing.assert_array_equal(matrix, expected)
    low, high = points.min(axis=0), points.max(axis=0)
    np.testing.assert_allclose(box[2:], high)
    # above the brows is a forehead
    assert box[0] == pytest.approx(low[0])
    assert box[1] == pytest.approx(low[1] - 0.3 * (high[1] - low[1]))


def test_points_that_coincide_give_no_face() -> None:
    assert face_of_points(np.ones((68, 2)))[2] is None


def test_landmarks_place_the_face_in_every_frame_that_has_them(tmp_path: Path) -> None:
    images = [make_image(seed, 200, 180) for seed in range(4)]
    points = [face_points("68") + shift for shift in (20.0, 30.0)]
    table = faces(
        tmp_path, images, [points[0], None, np.ones((68, 2)), points[1]], faces="landmarks"
    )
    assert table.column("frame_index").to_pylist() == [0, 1, 2, 3]
    assert table.column("valid").to_pylist() == [True, False, False, True]
    assert table.column("track_id").to_pylist() == [0, -1, -1, 0]
    matrices = to_numpy(table.column("matrix"), (2, 3))
    for row, one, crop in zip((0, 3), points, crops(table), strict=True):
        matrix = face_of_points(one)[2]
        assert matrix is not None
        np.testing.assert_allclose(matrices[row], matrix, atol=1e-5)
        stored = decode_jpeg(encode_jpeg(images[row], 95))
        np.testing.assert_array_equal(crop, warp(stored, matrices[row]))


def test_of_a_face_that_shrinks_the_small_images_are_masked(tmp_path: Path) -> None:
    images = [make_image(seed, 200, 180) for seed in range(2)]
    points = [face_points("68") + 20.0, face_points("68") / 2 + 20.0]
    table = faces(tmp_path, images, points, min_face_px=60, faces="landmarks")
    assert table.column("valid").to_pylist() == [True, False]
    assert table.column("track_id").to_pylist() == [0, -1]
    assert [len(crop) > 0 for crop in table.column("crop").to_pylist()] == [True, False]
    # how many were found, and how large: for the report
    assert table.column("det_score").to_pylist() == [1.0, 1.0]
    sizes = face_px(to_numpy(table.column("bbox"), (4,)))
    assert sizes[1] == pytest.approx(sizes[0] / 2)


def test_a_clip_without_one_usable_landmark_is_quarantined(tmp_path: Path) -> None:
    with pytest.raises(ClipError, match=r"^no landmarks that give a face in any of 2 frames$"):
        faces(tmp_path, [make_image(0, 99, 99)] * 2, [None, np.ones((68, 2))], faces="landmarks")


def test_the_key_follows_where_the_face_comes_from(tmp_path: Path) -> None:
    with OutputWriter(tmp_path / "frames", FRAMES_SCHEMA, {}) as writer:
        writer.add_quarantined("c", "1" * 64, "x")
    work = AlignClip(tmp_path / "frames", small_pack(tmp_path), AlignParams(), "cpu")
    clips = [
        Clip("c", "c", ""),
        Clip("c", "c", "", faces="aligned"),
        Clip("c", "c", "", faces="landmarks"),
        Clip("c", "c", "", person="left"),
        Clip("c", "c", "", person="right"),
    ]
    assert len({work.key(clip) for clip in clips}) == len(clips)
