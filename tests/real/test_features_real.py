"""Landmarks, appearance and regions on real faces: the `open` pack behind SCRFD's detections."""

from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from arpgnet.pipeline.common.params import DecodeParams
from arpgnet.pipeline.decode.clip import sample_frames
from arpgnet.pipeline.geometry.alignment import apply, context, similarity, warp
from arpgnet.pipeline.geometry.grid import grid_visible
from arpgnet.pipeline.geometry.landmark_regions import landmark_visible
from arpgnet.pipeline.geometry.landmark_schemes import SCHEMES, scheme_indices
from arpgnet.pipeline.networks.appearance import AppearanceNetwork, Centers, centers, layout
from arpgnet.pipeline.networks.detector import find_faces, make_detector
from arpgnet.pipeline.networks.landmarks import LandmarkNetwork
from arpgnet.pipeline.networks.packs import ModelSpec, Pack
from arpgnet.pipeline.store import file_sha256
from arpgnet.pipeline.video.frames import decode_jpeg

# who signs in which clip, by eye; the last is RAVDESS's actor
PEOPLE = {
    "one": ("asl/again.mkv", "asl/help.mkv", "asl/no.mkv", "asl/yes.mkv"),
    "two": ("asl/bird.mkv", "asl/milk.mkv", "asl/please.mkv", "asl/thanks.mkv"),
    "three": ("asl/book.mkv", "asl/learn.mkv", "asl/school.mkv", "asl/walk.mkv"),
    "four": ("asl/eat.mkv", "asl/night.mkv", "asl/sister.mkv"),
    "five": ("asl/hungry.mkv", "asl/want.mkv"),
    "actor": ("ravdess/01-01-01-01-01-01-01.mp4", "ravdess/02-01-08-02-02-02-01.mp4"),
}
FRAMES = 2


@dataclass(frozen=True)
class Faces:
    """T faces: who, the frame, SCRFD's box and keypoints."""

    who: list[str]
    frames: list[np.ndarray]
    boxes: np.ndarray
    kps: np.ndarray

    @property
    def eye_distance(self) -> np.ndarray:
        return np.linalg.norm(self.kps[:, 0] - self.kps[:, 1], axis=1)


@pytest.fixture(scope="module")
def faces(assets: Path) -> Faces:
    path = assets / "weights/insightface/scrfd_2.5g_bnkps.onnx"
    sha256 = file_sha256(path)
    spec = ModelSpec("detector", path, sha256, "scrfd", 640, "rgb", None, None, None, None, None)
    detector = make_detector(spec, det_px=None, thresh=0.5, device="cpu")
    rows = []
    for who, clips in PEOPLE.items():
        for clip in clips:
            for kept in sample_frames(assets / "clips" / clip, DecodeParams(frames=FRAMES)):
                frame = decode_jpeg(kept.jpeg)
                found = find_faces(detector, frame, pad_retry=0.5)
                if len(found):
                    rows.append((who, frame, found.boxes[0], found.kps[0]))
    assert len(rows) > 34
    people, frames, boxes, kps = zip(*rows, strict=True)
    return Faces(list(people), list(frames), np.stack(boxes), np.stack(kps))


def locate(pack: Pack, frames: list[np.ndarray], boxes: np.ndarray) -> np.ndarray:
    contexts = np.stack([context(*pair) for pair in zip(frames, boxes, strict=True)])
    return LandmarkNetwork(pack.models["landmark"]).locate(contexts, boxes)


@pytest.fixture(scope="module")
def points(faces: Faces, pack: Pack) -> np.ndarray:
    return locate(pack, faces.frames, faces.boxes)


def test_landmarks_lie_where_the_detector_sees_them(faces: Faces, points: np.ndarray) -> None:
    part = scheme_indices("98")
    names = ("eye_left", "eye_right", "nose_tip", "mouth_corner_left", "mouth_corner_right")
    five = np.stack([points[:, list(part[name])].mean(axis=1) for name in names], axis=1)
    off = 100 * np.linalg.norm(five - faces.kps, axis=2) / faces.eye_distance[:, None]
    # 3.6 for the eyes, 4.7 for all five, 95 % below 11
    assert np.median(off[:, :2]) < 5
    assert np.median(off) < 6.5
    assert np.percentile(off, 95) < 15


def test_landmarks_of_the_mirrored_image_are_mirrored(
    faces: Faces, points: np.ndarray, pack: Pack
) -> None:
    """Wrong partners in the mirror permutation would be off by the distance between them."""
    width = np.array([frame.shape[1] for frame in faces.frames])
    boxes = faces.boxes.copy()
    boxes[:, [0, 2]] = width[:, None] - 1 - faces.boxes[:, [2, 0]]
    flipped = [np.ascontiguousarray(frame[:, ::-1]) for frame in faces.frames]
    back = locate(pack, flipped, boxes)
    back[..., 0] = width[:, None] - 1 - back[..., 0]
    back = back[:, list(SCHEMES["98"].mirror)]
    off = 100 * np.linalg.norm(back - points, axis=2) / faces.eye_distance[:, None]
    # 8.0 for the worst point, a contour one
    assert np.median(off, axis=0).max() < 12


def test_embeddings_tell_people_apart(faces: Faces, pack: Pack) -> None:
    network = AppearanceNetwork(pack.models["embedding"], batch=16)
    matrices = [similarity(kps) for kps in faces.kps]
    crops = np.stack([warp(f, m) for f, m in zip(faces.frames, matrices, strict=True)])
    embeddings, maps = network.describe(crops)
    assert embeddings.shape[1] == 128
    assert maps.shape[1:] == layout(pack.models["embedding"]).map_shape == (512, 7, 7)
    assert maps.max() > 0.5
    unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    same, different = [], []
    for i, j in combinations(range(len(unit)), 2):
        (same if faces.who[i] == faces.who[j] else different).append(unit[i] @ unit[j])
    assert np.median(same) > np.percentile(different, 99)
    assert np.percentile(same, 5) > np.median(different)


def test_mobilefacenet_s_cells_look_at_multiples_of_sixteen(pack: Pack) -> None:
    assert centers(pack.models["embedding"]) == Centers(0.0, 16.0)


def test_regions_of_real_faces_are_visible(faces: Faces, points: np.ndarray) -> None:
    matrices = np.stack([similarity(kps) for kps in faces.kps])
    in_crop = np.stack([apply(m, p) for m, p in zip(matrices, points, strict=True)])
    frame_wh = np.array([frame.shape[1::-1] for frame in faces.frames])
    cells = grid_visible(7, in_crop, matrices, frame_wh, "98").reshape(-1, 7, 7)
    assert (cells[:, 2:6, 2:5].mean(axis=(1, 2)) > 0.9).all()  # eyes to mouth
    assert cells[:, 6, [0, 6]].mean() < 0.1  # beside the chin
    named = landmark_visible(in_crop, matrices, frame_wh, "98")
    assert named.mean() > 0.95
