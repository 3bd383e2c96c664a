"""The pack's figures on subjects it has never seen, through insightface's own classes.

Detector, landmarks and embedding are chained as a user chains them: crops come from the detected
box and keypoints, not from the truth. Images are BGR here, as insightface takes them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from insightface.app.common import Face
from insightface.model_zoo.landmark import Landmark
from insightface.model_zoo.scrfd import SCRFD
from numpy.typing import NDArray

from tools.demo_pack.detector import Scene, compose
from tools.demo_pack.embedding import ActionUnitHeads, aligned_crop
from tools.demo_pack.export import INPUT, session, with_output
from tools.demo_pack.loop import to_tensor
from tools.demo_pack.stills import Stills

Metrics = dict[str, float]
Detector = Callable[[NDArray[np.uint8]], tuple[NDArray[np.float32], NDArray[np.float32]]]

_IOU = 0.5
_FOLDS = 10


@dataclass(frozen=True)
class Found:
    """The best detection of one still: box `[4]`, keypoints `[5, 2]`, or None for both."""

    box: NDArray[np.float32] | None
    keypoints: NDArray[np.float32] | None


def open_detector(path: Path, pixels: int, *, score: float = 0.5) -> Detector:
    """insightface's SCRFD at `pixels` square: BGR image -> boxes `[G, 5]`, keypoints."""
    model = SCRFD(str(path), session(path))
    model.prepare(-1, input_size=(pixels, pixels), det_thresh=score)
    return model.detect


def iou(box: NDArray[np.floating], other: NDArray[np.floating]) -> float:
    """Intersection over union of two xyxy boxes `[4]`."""
    low, high = np.maximum(box[:2], other[:2]), np.minimum(box[2:], other[2:])
    overlap = float(np.prod(np.clip(high - low, 0, None)))
    areas = float(np.prod(box[2:] - box[:2]) + np.prod(other[2:] - other[:2]))
    return overlap / (areas - overlap)


def detect_stills(detect: Detector, stills: Stills) -> tuple[list[Found], Metrics]:
    """The best box of each still, and detection rate, false positives, keypoint NME.

    Raises:
        RuntimeError: no face was found at all, so that nothing further can be measured.
    """
    found, errors, false_positives = [], [], 0
    for image, box, keypoints in zip(stills.images, stills.boxes, stills.keypoints, strict=True):
        boxes, points = detect(np.ascontiguousarray(image[..., ::-1]))
        overlaps = [iou(candidate[:4], box) for candidate in boxes]
        best = int(np.argmax(overlaps)) if overlaps else -1
        if not overlaps or overlaps[best] < _IOU:
            false_positives += len(boxes)
            found.append(Found(None, None))
            continue
        false_positives += len(boxes) - 1
        found.append(Found(boxes[best, :4], points[best]))
        errors.append(_nme(points[best], keypoints, keypoints))
    if not errors:
        raise RuntimeError("the detector found no face: train it with more stills or effort")
    return found, {
        "detection_rate": len(errors) / len(stills),
        "false_positives_per_image": false_positives / len(stills),
        "keypoint_nme_percent_median": float(np.median(errors)),
    }


def detect_scenes(detect: Detector, stills: Stills, *, count: int, side: int) -> Metrics:
    """Recall and false positives on composed scenes, faces from 10 to 100 % of the frame."""
    rng = np.random.default_rng([count, side])
    hits = faces = false_positives = 0
    for _ in range(count):
        scene: Scene = compose(stills, side, rng)
        boxes, _points = detect(np.ascontiguousarray(scene.image[..., ::-1]))
        overlaps = np.array([[iou(b[:4], truth) for b in boxes] for truth in scene.boxes])
        overlaps = overlaps.reshape(len(scene.boxes), len(boxes))
        hits += int((overlaps.max(1, initial=0) >= _IOU).sum())
        faces += len(scene.boxes)
        false_positives += int((overlaps.max(0, initial=0) < _IOU).sum())
    return {"detection_rate": hits / faces, "false_positives_per_image": false_positives / count}


def landmark_error(path: Path, stills: Stills, found: list[Found]) -> Metrics:
    """NME of the 106 points, in % of the interocular distance, from the detected boxes."""
    model = Landmark(model_file=str(path), session=session(path))
    errors = []
    for image, truth, keypoints, one in zip(
        stills.images, stills.landmarks, stills.keypoints, found, strict=True
    ):
        if one.box is not None:
            bgr = np.ascontiguousarray(image[..., ::-1])
            points = model.get(bgr, Face(bbox=one.box))
            errors.append(_nme(points, truth, keypoints))
    return {
        "nme_percent_median": float(np.median(errors)),
        "nme_percent_mean": float(np.mean(errors)),
        "nme_percent_p95": float(np.percentile(errors, 95)),
    }


def _nme(
    points: NDArray[np.floating], truth: NDArray[np.floating], keypoints: NDArray[np.floating]
) -> float:
    interocular = np.linalg.norm(keypoints[0] - keypoints[1])
    return float(100 * np.linalg.norm(points - truth, axis=1).mean() / interocular)


def embed_stills(
    path: Path, map_tensor: str, stills: Stills, found: list[Found]
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int64]]:
    """Embeddings `[M, D]`, feature maps `[M, C, 7, 7]` and the indices `[M]` of found faces."""
    model = session(with_output(path, map_tensor))
    indices = np.array([i for i, one in enumerate(found) if one.keypoints is not None])
    embeddings, maps = [], []
    for start in range(0, len(indices), 64):
        crops = [
            aligned_crop(stills.images[i], keypoints)
            for i in indices[start : start + 64]
            if (keypoints := found[i].keypoints) is not None
        ]
        outputs = model.run(None, {INPUT: to_tensor(crops, std=127.5).contiguous().numpy()})
        embeddings.append(outputs[0])
        maps.append(outputs[1])
    return np.concatenate(embeddings), np.concatenate(maps), indices


def action_unit_correlation(
    heads: ActionUnitHeads,
    embeddings: NDArray[np.float32],
    maps: NDArray[np.float32],
    truth: NDArray[np.float32],
    names: tuple[str, ...],
) -> dict[str, float | dict[str, float]]:
    """Pearson correlation with the true action units: mean per reading, and each unit's.

    Units that never move in `truth` are left out.
    """
    with torch.no_grad():
        readings = heads(torch.from_numpy(embeddings), torch.from_numpy(maps))
    moving = [i for i in range(truth.shape[1]) if truth[:, i].std() > 1e-6]
    each = {
        reading: {names[i]: float(np.corrcoef(p[:, i], truth[:, i])[0, 1]) for i in moving}
        for reading, p in ((name, tensor.numpy()) for name, tensor in readings.items())
    }
    means: dict[str, float | dict[str, float]] = {
        f"{reading}_correlation_mean": float(np.mean(list(units.values())))
        for reading, units in each.items()
    }
    return {**means, "whole_map_correlation": each["whole_map"]}


def verification_accuracy(
    embeddings: NDArray[np.float32], subjects: NDArray[np.int64], *, pairs: int = 3000
) -> float:
    """Same-or-different accuracy over as many same as different pairs, by the LFW protocol.

    The threshold of each of ten folds comes from the other nine (Huang et al. 2007).
    """
    rng = np.random.default_rng(0)
    first, second = _pairs(subjects, pairs, rng)
    unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    similarity = (unit[first] * unit[second]).sum(1)
    same = subjects[first] == subjects[second]
    fold = rng.permutation(len(same)) % _FOLDS
    correct = 0
    for index in range(_FOLDS):
        held = fold == index
        thresholds = np.sort(similarity[~held])
        accuracy = [((similarity[~held] >= t) == same[~held]).mean() for t in thresholds[::10]]
        threshold = thresholds[::10][int(np.argmax(accuracy))]
        correct += int(((similarity[held] >= threshold) == same[held]).sum())
    return correct / len(same)


def _pairs(
    subjects: NDArray[np.int64], count: int, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """`count` pairs of one subject and `count` pairs of two, as indices."""
    every = np.arange(len(subjects))
    by_subject = {s: every[subjects == s] for s in np.unique(subjects)}
    repeated = [members for members in by_subject.values() if len(members) > 1]
    chosen = rng.integers(len(repeated), size=count)
    same = [rng.choice(repeated[i], 2, replace=False) for i in chosen]
    different: list[NDArray[np.int64]] = []
    while len(different) < count:
        pair = rng.choice(every, 2, replace=False)
        if subjects[pair[0]] != subjects[pair[1]]:
            different.append(pair)
    first, second = np.array(same + different).T
    return first, second
