"""How the faces are seen, and scores by it: turned to the side, and how large.

The pose is computed from the stored landmarks, and the size from the stored boxes. A pose takes
0.07 ms, those of 2.6 million frames three minutes: what the same points gave is in the store.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from arpgnet.pipeline.common.params import EvaluateParams
from arpgnet.pipeline.evaluate.summary import rounded, score_model, spread
from arpgnet.pipeline.evaluate.traits import FEWEST_CLIPS, SHOWN
from arpgnet.pipeline.evaluate.units import Origin, interval_units
from arpgnet.pipeline.geometry.pose import head_angles
from arpgnet.pipeline.geometry.quality import face_px
from arpgnet.pipeline.store import Store, code_version, digest
from arpgnet.pipeline.tables.predictions import Predictions
from arpgnet.pipeline.tables.shards import INDEX, ShardReader, to_numpy

FOLDERS = ("frames", "faces", "landmarks", "graphs")
NAMESPACE = "yaw"
# limits of the bins that are scored: degrees to either side, and pixels; the last one is open
SIDEWAYS = (0.0, 10.0, 20.0, 30.0, 45.0)
SIZES = (0.0, 40.0, 80.0, 160.0, 320.0)
# limits of the bins that are counted
YAWS = np.arange(-90.0, 91.0, 5.0)
PIXELS = 2.0 ** np.arange(3.0, 12.1, 0.25)


@dataclass(frozen=True)
class Views:
    """All frames with a face, F of them, and what was masked.

    Attributes:
        clip_id: str [F].
        frame_index: int64 [F].
        yaw: float [F], degrees; NaN where it is not known.
        size: float [F], shorter side of the face's box in pixels.
        small, turned: frames masked by `align.min_face_px` and `graph.max_yaw`.
    """

    clip_id: np.ndarray
    frame_index: np.ndarray
    yaw: np.ndarray
    size: np.ndarray
    small: int
    turned: int


def read_views(root: Path) -> Views | None:
    """Read the outputs of the stages under `root`; None where not all are there."""
    folders = [root / "data" / name for name in FOLDERS]
    if not all((folder / INDEX).is_file() for folder in folders):
        return None
    frames, faces, landmarks, graphs = (ShardReader(folder) for folder in folders)
    clips = [clip for clip in faces.clip_ids if faces.entry(clip).ok and landmarks.entry(clip).ok]
    names: list[np.ndarray] = []
    found: dict[str, list[np.ndarray]] = {"frame_index": [], "size": []}
    small = turned = 0
    for clip in clips:
        face = faces.read(clip, ["frame_index", "valid", "det_score", "bbox"])
        valid = landmarks.read(clip, ["valid"])["valid"].to_numpy()
        names.append(np.full(int(valid.sum()), clip, object))
        found["frame_index"].append(face["frame_index"].to_numpy()[valid].astype(np.int64))
        found["size"].append(face_px(to_numpy(face["bbox"], (4,))[valid]))
        small += int((~face["valid"].to_numpy() & (face["det_score"].to_numpy() > 0)).sum())
        kept = graphs.read(clip, ["valid"])["valid"].to_numpy() if graphs.entry(clip).ok else False
        turned += int((valid & ~np.asarray(kept)).sum())
    empty = np.zeros(0)
    columns = {name: np.concatenate([empty, *parts]) for name, parts in found.items()}
    yaw = _yaw(clips, landmarks, frames).astype(np.float64)
    return Views(np.concatenate([empty.astype(object), *names]), **columns, yaw=yaw,
                 small=small, turned=turned)  # fmt: skip


def _yaw(clips: Sequence[str], landmarks: ShardReader, frames: ShardReader) -> np.ndarray:
    """Return the yaw of every located face of the clips, float32 [F].

    The key is the content of the points and sizes, not how they came about, and the code of the
    pose: whatever has changed them, what is found belongs to them.
    """
    scheme, content = str(landmarks.metadata["scheme"]), hashlib.sha256()
    for points, sides in _located(clips, landmarks, frames):
        for part in (np.array(points.shape), points, sides):
            content.update(np.ascontiguousarray(part).tobytes())
    store = Store()
    key = digest(content.hexdigest(), scheme, code_version("arpgnet.pipeline.geometry.pose"))
    cached = store.get_table(NAMESPACE, key)
    if cached is not None:
        return pa.concat_tables(cached)["yaw"].to_numpy()
    solved = [
        head_angles(points, scheme, sides)[:, 0]
        for points, sides in _located(clips, landmarks, frames)
    ]
    yaw = np.concatenate([np.zeros(0, np.float32), *solved])
    store.put_table(NAMESPACE, key, [pa.table({"yaw": yaw})])
    return yaw


def _located(
    clips: Sequence[str], landmarks: ShardReader, frames: ShardReader
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the points in the image [F, P, 2] and the image's width and height [F, 2] of a clip's
    located faces."""
    for clip in clips:
        located = landmarks.read(clip, ["valid", "points_image"])
        valid = located["valid"].to_numpy()
        sides = frames.read(clip, ["width", "height"])
        wh = np.stack([sides["width"].to_numpy(), sides["height"].to_numpy()], axis=1)
        yield to_numpy(located["points_image"], (landmarks.metadata["N"], 2))[valid], wh[valid]


def view_scores(
    rows: Predictions, views: Views, clips: Sequence[Origin], params: EvaluateParams
) -> dict[str, Any]:
    """Score one model's test predictions by how far a face is turned, and by its size.

    A clip counts by the median over its frames, a labeled frame by itself.

    Returns:
        `frames` with a face; `small` and `turned`, the masked ones; `fewest_clips` of a bin that is
        scored (of one known subject none is); `counts` of frames by `yaw` and `size`, each with
        the `limits` of its bins; and `tables`, each with `by`, `unknown` predictions and `rows`:
        `from`, `to` (null: no limit), `clips`, `subjects`, and where it is scored `uar`, `war`.
    """
    tables = []
    for by, values, limits in (
        ("yaw", np.abs(views.yaw), SIDEWAYS),
        ("size", views.size, SIZES),
    ):
        of_row = _values(rows, views, values)
        ends = [*limits[1:], np.inf]
        tables.append(
            {
                "by": by,
                "unknown": len(set(rows.clip_id[np.isnan(of_row)])),
                "rows": [
                    {"from": low, "to": None if np.isinf(high) else high}
                    | _score(rows.select((of_row >= low) & (of_row < high)), clips, params)
                    for low, high in zip(limits, ends, strict=True)
                ],
            }
        )
    counts = {
        name: {
            "limits": limits.tolist(),
            "frames": np.histogram(np.clip(known, limits[0], limits[-1]), limits)[0].tolist(),
        }
        for name, known, limits in (
            ("yaw", views.yaw[~np.isnan(views.yaw)], YAWS),
            ("size", views.size, PIXELS),
        )
    }
    return {
        "frames": len(views.clip_id),
        "small": views.small,
        "turned": views.turned,
        "fewest_clips": FEWEST_CLIPS,
        "counts": counts,
        "tables": rounded(tables),
    }


def _values(rows: Predictions, views: Views, values: np.ndarray) -> np.ndarray:
    """Return the value of what each row predicts, float [rows]; NaN where it is not known."""
    if (rows.frame_index >= 0).any():
        of_frame = dict(
            zip(zip(views.clip_id, views.frame_index, strict=True), values, strict=True)
        )
        keys = zip(rows.clip_id, rows.frame_index, strict=True)
        return np.array([of_frame.get(key, np.nan) for key in keys])
    known = ~np.isnan(values)
    if not known.any():
        return np.full(len(rows.clip_id), np.nan)
    # a clip's frames are neighbors
    names, first = np.unique(views.clip_id[known], return_index=True)
    order = np.argsort(first)
    parts = np.split(values[known], first[order][1:])
    of_clip = dict(zip(names[order], (float(np.median(part)) for part in parts), strict=True))
    return np.array([of_clip.get(clip, np.nan) for clip in rows.clip_id])


def _score(rows: Predictions, clips: Sequence[Origin], params: EvaluateParams) -> dict[str, Any]:
    tested = set(rows.clip_id)
    own = [clip for clip in clips if clip["clip_id"] in tested]
    subjects = {clip["subject"] for clip in own if clip["subject"]}
    counted: dict[str, Any] = {"clips": len(own), "subjects": len(subjects)}
    if len(own) < FEWEST_CLIPS or len(subjects) == 1:
        return counted
    if params.missing == "skip" and (rows.predicted < 0).all():
        return counted
    units = interval_units(own)
    scored = spread(score_model(rows, units, params), params, only=SHOWN)
    return counted | {"unit": units.name, **scored}
