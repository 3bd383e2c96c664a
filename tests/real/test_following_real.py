"""Less work a frame against the work it replaces, on people who move and sign."""

from pathlib import Path

import numpy as np
import pytest

from arpgnet.pipeline.common.params import AlignParams, DecodeParams
from arpgnet.pipeline.decode.clip import sample_frames
from arpgnet.pipeline.geometry.alignment import context, similarity, warp
from arpgnet.pipeline.geometry.landmark_schemes import scheme_indices
from arpgnet.pipeline.networks.appearance import AppearanceNetwork
from arpgnet.pipeline.networks.detector import Detections, Detector, make_detector
from arpgnet.pipeline.networks.follower import Follower
from arpgnet.pipeline.networks.image_network import GraphNetwork
from arpgnet.pipeline.networks.landmarks import LandmarkNetwork
from arpgnet.pipeline.networks.packs import ModelSpec, Pack
from arpgnet.pipeline.store import file_sha256
from arpgnet.pipeline.video.frames import decode_jpeg

CLIPS = ("asl/book.mkv", "asl/hungry.mkv")
FRAMES = 40


@pytest.fixture(scope="module")
def scrfd(assets: Path) -> Detector:
    path = assets / "weights/insightface/scrfd_2.5g_bnkps.onnx"
    sha256 = file_sha256(path)
    spec = ModelSpec("detector", path, sha256, "scrfd", 640, "rgb", None, None, None, None, None)
    return make_detector(spec, det_px=None, thresh=0.5, device="cpu")


@pytest.fixture(scope="module")
def frames(assets: Path) -> list[list[tuple[float, np.ndarray]]]:
    """The first frames of each clip, with their times."""
    return [
        [
            (frame.time_s, decode_jpeg(frame.jpeg))
            for frame in sample_frames(
                assets / "clips" / clip, DecodeParams(sampling="all"), 0, 1.3
            )
        ][:FRAMES]
        for clip in CLIPS
    ]


def test_a_fixed_640_detector_takes_parts_of_any_sides(scrfd: Detector) -> None:
    assert scrfd.any_sides


def test_following_finds_what_full_looks_find(
    scrfd: Detector, frames: list[list[tuple[float, np.ndarray]]], pack: Pack
) -> None:
    settings = AlignParams()
    appearance = AppearanceNetwork(pack.models["embedding"], batch=16)
    landmarks = LandmarkNetwork(pack.models["landmark"])
    pupils = [scheme_indices("98")[f"pupil_{side}"][0] for side in ("left", "right")]
    cosines, away = [], []
    for clip in frames:
        follower = Follower(
            scrfd,
            settings.pad_retry,
            settings.full_every,
            settings.max_interpolation_s,
            settings.first_scale,
        )
        images = [image for _, image in clip]
        near = [found for _, found in follower.follow(clip)]
        full = [scrfd.detect(image) for image in images]
        assert [len(found) for found in near] == [len(found) for found in full] == [1] * len(clip)
        one, other = (appearance.describe(crops(images, found))[0] for found in (near, full))
        norms = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
        cosines += ((one * other).sum(axis=1) / norms).tolist()
        one, other = (points(landmarks, images, found) for found in (near, full))
        eyes = np.linalg.norm(other[:, pupils[0]] - other[:, pupils[1]], axis=1)
        away += (100 * np.linalg.norm(one - other, axis=2).mean(axis=1) / eyes).tolist()
    # 0.996, 0.97 and 1.1 % of the distance of the pupils
    assert np.median(cosines) > 0.99
    assert np.percentile(cosines, 5) > 0.95
    assert np.median(away) < 1.5


def crops(images: list[np.ndarray], found: list[Detections]) -> np.ndarray:
    matrices = [similarity(faces.kps[0]) for faces in found]
    assert all(matrix is not None for matrix in matrices)
    return np.stack([warp(*pair) for pair in zip(images, matrices, strict=True)])  # type: ignore[arg-type]


def points(network: LandmarkNetwork, images: list[np.ndarray], found: list[Detections]):
    boxes = np.stack([faces.boxes[0] for faces in found])
    contexts = np.stack([context(*pair) for pair in zip(images, boxes, strict=True)])
    return network.locate(contexts, boxes)


@pytest.mark.parametrize("role", ["landmark", "embedding"])
def test_networks_of_fixed_batch_take_several_images(pack: Pack, role: str) -> None:
    assert GraphNetwork(pack.models[role], batch=4).batch == 4


def test_bfloat16_embeddings_and_maps_are_nearly_those_of_the_graph(
    scrfd: Detector, frames: list[list[tuple[float, np.ndarray]]], pack: Pack
) -> None:
    """It is run in bfloat16 only after the import gave the graph's own numbers to 1e-4."""
    images = [image for _, image in frames[0]][:8]
    faces = crops(images, [scrfd.detect(image) for image in images])
    spec = pack.models["embedding"]
    exact = AppearanceNetwork(spec, batch=8).describe(faces)
    rounded = AppearanceNetwork(spec, batch=8, precision="bf16").describe(faces)
    for one, other in zip(exact, rounded, strict=True):
        flat, near = one.reshape(len(faces), -1), other.reshape(len(faces), -1)
        norms = np.linalg.norm(flat, axis=1) * np.linalg.norm(near, axis=1)
        cosine = (flat * near).sum(axis=1) / norms
        assert 0.995 < cosine.min() < 1 - 1e-6
