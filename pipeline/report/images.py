"""Images for the page, read from the stages' shards and encoded as data URIs.

An aligned face with its landmarks, and again with its region graph: drawn together they would hide
the face, and whether a landmark sits right could not be seen.
"""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from arpgnet.pipeline.common.wording import plural
from arpgnet.pipeline.geometry.alignment import CROP_PX
from arpgnet.pipeline.geometry.topology import SYMMETRIC
from arpgnet.pipeline.tables.manifest import Clip
from arpgnet.pipeline.tables.shards import ShardReader, to_numpy
from arpgnet.pipeline.video.frames import decode_jpeg, encode_jpeg

# Okabe & Ito's palette, distinguishable with any color vision (jfly.uni-koeln.de/color), RGB
BLUE = (0, 114, 178)
ORANGE = (230, 159, 0)
YELLOW = (240, 228, 66)
WHITE = (255, 255, 255)
BLACK = (0, 0, 0)
SHIFT = 4  # OpenCV draws in 1/16 pixel
BOW = 0.12  # a symmetric edge bends by this fraction of its length, around the nodes in between

Image = npt.NDArray[np.uint8]


# of the crop of 112 pixels, whatever the network takes
ENLARGED = 3
USUAL_REGIONS = 49  # of the grid of 7 x 7


def draw_landmarks(crop_rgb: Image, points: np.ndarray, *, scale: int = ENLARGED) -> Image:
    """Draw landmarks as small dots with a thin dark rim on the enlarged face.

    Args:
        crop_rgb: uint8 [S, S, 3], the aligned crop.
        points: landmarks [P, 2] in pixels of a crop of 112.
        scale: enlargement of such a crop.

    Returns:
        uint8 [112 * scale, 112 * scale, 3], RGB.
    """
    image = _enlarged(crop_rgb, scale)
    for point in (points + 0.5) * scale:
        _disc(image, point, scale / 3 + 0.5, BLACK)
        _disc(image, point, scale / 3, YELLOW)
    return image


def draw_graph(
    crop_rgb: Image,
    node_xy: np.ndarray,
    edges: Sequence[Sequence[int]],
    edge_types: Sequence[str],
    visible: np.ndarray,
    *,
    scale: int = ENLARGED,
) -> Image:
    """Draw adjacent edges blue, symmetric ones orange and bowed, and nodes as disks.

    Args:
        crop_rgb: uint8 [S, S, 3], the aligned crop.
        node_xy: region centers [N, 2] in crop coordinates from 0 to 1.
        edges: pairs of node numbers; of an edge's two directions one is drawn.
        edge_types: `"adjacent"` or `"symmetric"` for each edge.
        visible: [N]; nodes that are 0 are drawn hollow (white in a blue ring) and their
            edges thin.
        scale: enlargement of a crop of 112 pixels.

    Returns:
        uint8 [112 * scale, 112 * scale, 3], RGB.
    """
    image = _enlarged(crop_rgb, scale)
    nodes = node_xy * len(image)
    # four times as many edges at full strength hide the face
    fade = min(1.0, USUAL_REGIONS / len(nodes))
    for kind, color in ((SYMMETRIC, ORANGE), ("adjacent", BLUE)):
        drawn = np.zeros_like(image)
        for (start, end), edge_type in zip(edges, edge_types, strict=True):
            if edge_type == kind and start < end:
                seen = bool(visible[start] and visible[end])
                curve = _bowed(nodes[start], nodes[end], BOW if kind == SYMMETRIC else 0.0)
                width = max(1, round(scale / 2)) if seen else 1
                cv2.polylines(drawn, [curve], False, WHITE, width, cv2.LINE_AA, SHIFT)
        strength = 0.8 * (fade if kind == SYMMETRIC else fade**0.5) * drawn[..., :1] / 255.0
        blended = image * (1 - strength) + np.array(color) * strength
        image = np.asarray(blended.round(), dtype=np.uint8)
    for node, seen in zip(nodes, visible, strict=True):
        outer, inner = (WHITE, BLUE) if seen else (BLUE, WHITE)
        _disc(image, node, scale + 1.0, outer)
        _disc(image, node, scale - 0.25, inner)
    return image


def _enlarged(crop_rgb: Image, scale: int) -> Image:
    side = CROP_PX * scale
    resized = cv2.resize(crop_rgb, (side, side), interpolation=cv2.INTER_CUBIC)
    return np.asarray(resized, dtype=np.uint8)


def _disc(image: Image, center: np.ndarray, radius: float, color: tuple[int, int, int]) -> None:
    x, y, r = _fixed(np.append(center, radius + 0.5)).tolist()
    cv2.circle(image, (x, y), r, color, -1, cv2.LINE_AA, SHIFT)


def _fixed(position: np.ndarray) -> npt.NDArray[np.int32]:
    """Positions between pixel edges as OpenCV's fixed-point positions of pixel centers."""
    return np.round((position - 0.5) * (1 << SHIFT)).astype(np.int32)


def _bowed(start: np.ndarray, end: np.ndarray, bow: float) -> npt.NDArray[np.int32]:
    """A quadratic Bezier curve that leaves the straight line downwards by `bow` of its length."""
    across = (end - start)[::-1] * (-1.0, 1.0)
    across = across if across[1] >= 0 else -across
    middle = (start + end) / 2 + 2 * bow * across
    t = np.linspace(0.0, 1.0, 17)[:, None]
    return _fixed((1 - t) ** 2 * start + 2 * t * (1 - t) * middle + t**2 * end)


THUMB_PX = 112
JPEG_QUALITY = 85
COLUMNS = 8
MOST_ROWS = 4  # of videos that show several classes each
GOLDEN = 0.618034  # its multiples fill an interval evenly, however many are taken


@dataclass(frozen=True)
class Sheet:
    """Thumbnails in a table.

    Attributes:
        columns: subjects; empty if there are more than fit, and each cell names its own.
        rows: `name` of the class and `cells`: image and subject, or None.
        note: what is shown of how many.
    """

    columns: list[str]
    rows: list[dict[str, Any]]
    note: str


def data_uri(image_rgb: np.ndarray) -> str:
    """Encode uint8[H,W,3] RGB as a JPEG data URI; the same image gives the same text."""
    data = encode_jpeg(image_rgb, JPEG_QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(data).decode("ascii")


def clip_sheet(clips: Sequence[Clip], classes: Sequence[str], frames: ShardReader) -> Sheet:
    """Show the middle sampled frame of clips of every class and of as many subjects as fit."""
    usable = [clip for clip in clips if frames.entry(clip.clip_id).ok]
    subjects = sorted({clip.subject for clip in usable if clip.subject})
    labeled = any(clip.label for clip in usable)
    aligned = labeled and len(subjects) <= COLUMNS and all(clip.subject for clip in usable)
    rows: list[tuple[str, Sequence[Clip | None]]]
    if not labeled:
        chosen = spread_clips(usable, [None], COLUMNS * MOST_ROWS)[None]
        rows = [("videos", chosen[n : n + COLUMNS]) for n in range(0, len(chosen), COLUMNS)]
    elif aligned:
        rows = [(name, _by_subject(usable, name, subjects)) for name in classes]
    else:
        rows = [(name or "", row) for name, row in spread_clips(usable, classes, COLUMNS).items()]
    # a class whose clips were all lost has nothing to show
    rows = [(name, row) for name, row in rows if any(row)]
    return Sheet(
        columns=subjects if aligned else [],
        rows=[{"name": name, "cells": [_cell(clip, frames) for clip in row]} for name, row in rows],
        note=_counted(rows, len(subjects), len(classes) if labeled else 0),
    )


def _by_subject(clips: Sequence[Clip], name: str, subjects: Sequence[str]) -> list[Clip | None]:
    first: dict[str | None, Clip] = {}
    for clip in clips:
        if clip.label == name:
            first.setdefault(clip.subject, clip)
    return [first.get(subject) for subject in subjects]


def _counted(rows: Sequence[tuple[str, Sequence[Clip | None]]], people: int, classes: int) -> str:
    shown = [clip for _, row in rows for clip in row if clip]
    said = plural(len(shown), "clip")
    if people:
        seen = {clip.subject for clip in shown if clip.subject}
        said += f" of {len(seen)} of {plural(people, 'subject')}"
    if classes > len(rows):
        said += f"; no usable clip of {plural(classes - len(rows), 'class', 'classes')}"
    return said


def _cell(clip: Clip | None, frames: ShardReader) -> dict[str, str] | None:
    if clip is None:
        return None
    return {"image": _middle_frame(clip, frames), "subject": _person(clip)}


def face_tiles(
    clips: Sequence[Clip],
    classes: Sequence[str],
    count: int,
    *,
    faces: ShardReader,
    landmarks: ShardReader,
    graphs: ShardReader,
) -> list[dict[str, str]]:
    """Draw aligned faces of every class and of as many subjects as fit, each of them twice.

    Returns:
        `landmarks` and `graph` (images), `label` and `clip` of each face.
    """
    usable = [clip for clip in clips if graphs.entry(clip.clip_id).ok]
    names = classes if any(clip.label for clip in usable) else [None]
    chosen = spread_clips(usable, names, -(-count // len(names)))
    # one of each class after another: the first ones show every class
    turns = [clip for turn in zip_longest(*chosen.values()) for clip in turn if clip]
    tiles = []
    for clip in turns[:count]:
        row = _middle_valid(clip.clip_id, faces)
        if row is None:
            continue
        points, graph = _draw(clip.clip_id, row, faces, landmarks, graphs)
        tiles.append(
            {
                "landmarks": data_uri(points),
                "graph": data_uri(graph),
                "label": clip.label or "",
                "clip": clip.clip_id,
            }
        )
    return tiles


def spread_clips(
    clips: Sequence[Clip], classes: Sequence[str | None], most: int
) -> dict[str | None, list[Clip]]:
    """Choose at most `most` clips of each class, of as many subjects as possible.

    Each time the subject who was chosen least often so far; of several, the next one in an order
    that leaves no part of the list of subjects out. The class None is that of clips without a
    label, which show several classes.
    """
    people = sorted({_person(clip) for clip in clips})
    place = {person: (number * GOLDEN) % 1 for number, person in enumerate(people)}
    left: dict[str | None, dict[str, list[Clip]]] = {name: {} for name in classes}
    for clip in reversed(clips):
        if clip.label in left:
            left[clip.label].setdefault(_person(clip), []).append(clip)
    used: Counter[str] = Counter()
    chosen: dict[str | None, list[Clip]] = {name: [] for name in classes}
    for _ in range(most):
        for name, theirs in left.items():
            if not theirs:
                continue
            mine = Counter(_person(clip) for clip in chosen[name])
            rank = {who: (mine[who], used[who], place[who]) for who in theirs}
            best = min(rank, key=rank.__getitem__)
            used[best] += 1
            chosen[name].append(theirs[best].pop())
            if not theirs[best]:
                del theirs[best]
    return chosen


def _person(clip: Clip) -> str:
    """Return the clip's subject; of an unknown one the clip, which stands for itself."""
    return clip.subject or clip.clip_id


def plain_face(clip_id: str, faces: ShardReader, frame_index: int | None = None) -> str | None:
    """Return the aligned face in the middle of a clip, or nearest to a frame; None: no face."""
    if faces.entry(clip_id).status != "ok":
        return None
    row = _middle_valid(clip_id, faces)
    if frame_index is not None:
        row = _nearest_valid(clip_id, frame_index, faces)
    return None if row is None else data_uri(_crop(clip_id, row, faces))


def mean_face(clip_ids: Sequence[str], faces: ShardReader) -> np.ndarray | None:
    """Average the aligned faces in the middle of some clips, uint8[S,S,3]; None: no face."""
    rows = [(clip, _middle_valid(clip, faces)) for clip in clip_ids if faces.entry(clip).ok]
    crops = [_crop(clip, row, faces) for clip, row in rows if row is not None]
    if not crops:
        return None
    mean: np.ndarray = np.mean(crops, axis=0).round().astype(np.uint8)
    return mean


def _middle_frame(clip: Clip, frames: ShardReader) -> str:
    middle = frames.entry(clip.clip_id).rows // 2
    image = decode_jpeg(frames.row(clip.clip_id, middle, ["jpeg"]).column("jpeg")[0].as_py())
    scale = THUMB_PX / min(image.shape[:2])
    return data_uri(cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA))


def _middle_valid(clip_id: str, faces: ShardReader) -> int | None:
    valid = faces.read(clip_id, columns=["valid"]).column("valid").to_numpy()
    rows = np.flatnonzero(valid)
    return int(rows[len(rows) // 2]) if len(rows) else None


def _nearest_valid(clip_id: str, frame_index: int, faces: ShardReader) -> int | None:
    seen = faces.read(clip_id, columns=["valid", "frame_index"])
    rows = np.flatnonzero(seen.column("valid").to_numpy())
    if not len(rows):
        return None
    away = np.abs(seen.column("frame_index").to_numpy()[rows] - frame_index)
    return int(rows[away.argmin()])


def _crop(clip_id: str, row: int, faces: ShardReader) -> np.ndarray:
    """uint8[S,S,3] RGB."""
    side = int(faces.metadata["crop_px"])
    crop_bytes = faces.row(clip_id, row, ["crop"]).column("crop")[0].as_py()
    return np.frombuffer(crop_bytes, np.uint8).reshape(side, side, 3)


def _draw(
    clip_id: str, row: int, faces: ShardReader, landmarks: ShardReader, graphs: ShardReader
) -> tuple[Image, Image]:
    crop = _crop(clip_id, row, faces)
    points = _pairs(landmarks.row(clip_id, row, ["points_crop"]).column("points_crop"))[0]
    graph = graphs.row(clip_id, row, ["node_xy", "visible"])
    nodes = _pairs(graph.column("node_xy"))[0]
    edges, edge_types = graphs.metadata["edges"], graphs.metadata["edge_types"]
    visible = to_numpy(graph.column("visible"), (len(nodes),))[0]
    return draw_landmarks(crop, points), draw_graph(crop, nodes, edges, edge_types, visible)


def _pairs(column: pa.ChunkedArray) -> np.ndarray:
    """Lists of 2n numbers as [rows, n, 2]."""
    return to_numpy(column, (column.type.list_size // 2, 2))
