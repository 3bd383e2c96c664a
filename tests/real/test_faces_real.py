"""Detectors and alignment on real faces: YuNet of the `open` pack and SCRFD-2.5G."""

from dataclasses import replace
from pathlib import Path

import av
import cv2
import numpy as np
import pyarrow as pa
import pytest
from insightface.data import get_image

from arpgnet.pipeline.align.clip import AlignClip
from arpgnet.pipeline.common.params import AlignParams
from arpgnet.pipeline.geometry.alignment import ARCFACE_TEMPLATE, CROP_PX, apply
from arpgnet.pipeline.networks import packs
from arpgnet.pipeline.networks.detector import Detector, find_faces, iou, make_detector
from arpgnet.pipeline.store import file_sha256
from arpgnet.pipeline.tables.manifest import Clip
from arpgnet.pipeline.tables.shards import to_numpy
from helpers.outputs import OutputWriter

FRAMES_A_CLIP = 2


def read(path: Path, count: int) -> list[np.ndarray]:
    """`count` RGB frames, first and last among them."""
    with av.open(str(path)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    return [frames[i] for i in np.linspace(0, len(frames) - 1, count).astype(int)]


@pytest.fixture(scope="module")
def yunet(pack: packs.Pack) -> Detector:
    return make_detector(pack.models["detector"], det_px=None, thresh=0.5, device="cpu")


@pytest.fixture(scope="module")
def scrfd(assets: Path, pack: packs.Pack) -> Detector:
    path = assets / "weights" / "insightface" / "scrfd_2.5g_bnkps.onnx"
    spec = replace(pack.models["detector"], path=path, sha256=file_sha256(path), kind="scrfd")
    return make_detector(spec, det_px=None, thresh=0.5, device="cpu")


@pytest.fixture(scope="module", params=["asl/*.mkv", "ravdess/*.mp4"])
def frames(request: pytest.FixtureRequest, assets: Path) -> list[np.ndarray]:
    clips = sorted((assets / "clips").glob(request.param))
    assert clips
    return [frame for clip in clips for frame in read(clip, FRAMES_A_CLIP)]


def test_both_detectors_find_the_same_face_in_every_frame(
    frames: list[np.ndarray], yunet: Detector, scrfd: Detector
) -> None:
    errors = []
    for frame in frames:
        one, other = yunet.detect(frame), scrfd.detect(frame)
        assert len(one) >= 1
        assert len(other) >= 1
        assert iou(one.boxes[:1], other.boxes[:1])[0, 0] > 0.6
        eyes = np.linalg.norm(other.kps[0, 0] - other.kps[0, 1])
        apart = np.linalg.norm(one.kps[0][:, None] - other.kps[0][None], axis=2) / eyes
        # each point is nearest to its namesake: the order is the same
        assert (apart.argmin(axis=1) == np.arange(5)).all()
        # and it is the order of the image, not of the person
        assert other.kps[0, 0, 0] < other.kps[0, 1, 0]
        errors.append(np.diag(apart))
    # measured: 8 % of the interocular distance on asl, 5 % on ravdess
    assert np.median(errors) < 0.12


def test_group_photo(yunet: Detector, scrfd: Detector) -> None:
    image = np.ascontiguousarray(get_image("t1")[:, :, ::-1])
    assert len(yunet.detect(image)) == 6
    assert len(scrfd.detect(image)) == 6


def test_yunet_is_decoded_as_opencv_does(
    assets: Path, frames: list[np.ndarray], yunet: Detector
) -> None:
    path = str(assets / "weights" / "open" / "yunet_n_640_640.onnx")
    for frame in frames[::6]:
        height, width = frame.shape[:2]
        theirs = cv2.FaceDetectorYN.create(path, "", (width, height), 0.5, 0.4, 100)
        rows = theirs.detect(np.ascontiguousarray(frame[:, :, ::-1]))[1]
        ours = yunet.detect(frame)
        assert len(ours) == len(rows)
        x, y, w, h = rows[0, :4]
        np.testing.assert_allclose(ours.boxes[0], [x, y, x + w, y + h], atol=1e-3)
        np.testing.assert_allclose(ours.kps[0].ravel(), rows[0, 4:14], atol=1e-3)
        np.testing.assert_allclose(ours.scores[0], rows[0, 14], atol=1e-5)


def test_a_face_that_fills_the_frame_is_found_behind_a_border(
    frames: list[np.ndarray], scrfd: Detector
) -> None:
    """The face's own box as the whole 256 px image: missed as it is, found with a border."""
    missed, errors = 0, []
    for frame in frames[::4]:
        face = scrfd.detect(frame)
        x1, y1, x2, y2 = np.clip(face.boxes[0], 0, [*frame.shape[1::-1]] * 2).astype(int)
        close = cv2.resize(frame[y1:y2, x1:x2], (256, 256))
        truth = (face.kps[0] - [x1, y1]) * [256 / (x2 - x1), 256 / (y2 - y1)]
        missed += len(scrfd.detect(close)) == 0
        found = find_faces(scrfd, close, 0.5)
        assert len(found) == 1
        eyes = np.linalg.norm(truth[0] - truth[1])
        errors.append(np.linalg.norm(found.kps[0] - truth, axis=1).mean() / eyes)
    assert missed == len(errors)
    # measured: 3 % of the interocular distance
    assert np.median(errors) < 0.08


def test_a_clip_is_aligned_in_every_frame(assets: Path, pack: packs.Pack, tmp_path: Path) -> None:
    images = read(assets / "clips" / "asl" / "thanks.mkv", 8)
    count = len(images)
    jpegs = [cv2.imencode(".jpg", image[:, :, ::-1])[1].tobytes() for image in images]
    columns = {
        "frame_index": pa.array(range(count), pa.int32()),
        "time_s": np.arange(count) / 8,
        "width": pa.array([images[0].shape[1]] * count, pa.int32()),
        "height": pa.array([images[0].shape[0]] * count, pa.int32()),
        "jpeg": jpegs,
    }
    table = pa.table({"clip_id": ["thanks"] * count, **columns})
    with OutputWriter(tmp_path / "frames", table.schema, {}) as writer:
        writer.add("thanks", "0" * 64, [table])
    work = AlignClip(tmp_path / "frames", pack, AlignParams(), "cpu")
    faces = pa.concat_tables(work.run(Clip("thanks", "thanks.mkv", "0" * 64)))
    assert all(faces.column("valid").to_pylist())
    assert len(set(faces.column("track_id").to_pylist())) == 1
    kps, matrices = (to_numpy(faces.column(n), s) for n, s in (("kps", (5, 2)), ("matrix", (2, 3))))
    for points, matrix, crop in zip(kps, matrices, faces.column("crop").to_pylist(), strict=True):
        # a turned head does not fit the frontal template better than this
        off = np.linalg.norm(apply(matrix, points) - ARCFACE_TEMPLATE, axis=1).mean()
        assert off < 8
        assert len(crop) == CROP_PX * CROP_PX * 3
    again = pa.concat_tables(work.run(Clip("thanks", "thanks.mkv", "0" * 64)))
    assert again.equals(faces)
