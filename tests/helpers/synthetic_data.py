"""A small data set in the form that the stages before `train` leave behind."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from arpgnet.pipeline.common.params import Params
from arpgnet.pipeline.common.params_file import parse_params
from arpgnet.pipeline.tables.manifest import (
    FRAME_LABELS_SCHEMA,
    SPLITS_SCHEMA,
    Clip,
    write_manifest,
    write_table,
)
from arpgnet.pipeline.tables.shards import fixed
from helpers.outputs import OutputWriter

CLASSES = ["anger", "joy", "neutral"]
FRAMES, EMBEDDING, CHANNELS, SIDE = 4, 6, 5, 2
REGIONS = SIDE * SIDE
SUBJECTS, REPEATS, FOLDS = 8, 2, 2
MIRROR = [1, 0, 3, 2]
LOST = "s0-anger-0"  # quarantined in the appearance stage; a test clip of fold 0


def write_data(
    root: Path,
    *,
    signal: float = 3.0,
    shuffled: bool = False,
    per_frame_pooling: bool = False,
    short: Sequence[str] = (),
    frame_labels: bool = False,
    planted: int | None = None,
    parts: bool = False,
    seed: int = 0,
) -> None:
    """Write `data/` under `root`: each class adds `signal` to one map channel of one region.

    Args:
        signal: in standard deviations of the noise.
        shuffled: labels have nothing to do with the features.
        per_frame_pooling: the same pooling, but stored with every frame.
        short: clips that have half the frames.
        frame_labels: clips have no label; every frame has the clip's class, but the first one is
            left out by its makers (-1).
        parts: faces have a second view, with a signal in the cell after the first view's.
        planted: the only region that shows a signal, of every class; None: each class has its own.
    """
    rng = np.random.default_rng(seed)
    clips, true = [], {}
    for subject in range(SUBJECTS):
        for name in CLASSES:
            for repeat in range(REPEATS):
                clip = f"s{subject}-{name}-{repeat}"
                true[clip] = CLASSES.index(name)
                label = int(rng.integers(len(CLASSES))) if shuffled else true[clip]
                clips.append(
                    Clip(
                        clip,
                        f"{clip}.mp4",
                        "00",
                        label=None if frame_labels else CLASSES[label],
                        label_index=None if frame_labels else label,
                        subject=f"s{subject}",
                    )
                )
    write_manifest(clips, root / "data/manifest.parquet", classes=CLASSES, dataset="synthetic")
    write_splits(root, [clip.clip_id for clip in clips])
    labeled = [
        {"clip_id": clip, "frame_index": frame, "label_index": label if frame else -1}
        for clip, label in true.items()
        for frame in range(FRAMES if frame_labels else 0)
    ]
    table = pa.Table.from_pylist(labeled, FRAME_LABELS_SCHEMA)
    write_table(table, root / "data/frame_labels.parquet")
    pooling = np.eye(REGIONS)
    graph_metadata = {
        "regions": "grid",
        "names": [f"r{n}" for n in range(REGIONS)],
        "edges": [[0, 1], [1, 0], [2, 3], [3, 2], [0, 2], [2, 0], [1, 3], [3, 1]],
        "edge_types": ["symmetric"] * 4 + ["adjacent"] * 4,
        "mirror": MIRROR,
        "pooling": None if per_frame_pooling else pooling.tolist(),
        "map_shape": [CHANNELS, SIDE, SIDE],
    }
    appearance_metadata = {"embedding_dim": EMBEDDING, "map_shape": [CHANNELS, SIDE, SIDE]}
    if parts:
        appearance_metadata["views"] = ["face", "parts"]
    appearance_schema, graph_schema = schemas(per_frame_pooling, parts)
    with (
        OutputWriter(
            root / "data/appearance", appearance_schema, appearance_metadata
        ) as appearance,
        OutputWriter(root / "data/graphs", graph_schema, graph_metadata) as graphs,
    ):
        for clip in clips:
            frames = FRAMES // 2 if clip.clip_id in short else FRAMES
            maps = rng.normal(size=(frames, CHANNELS, REGIONS))
            region = true[clip.clip_id] if planted is None else planted
            maps[:, true[clip.clip_id], region] += signal
            valid = rng.random(frames) > 0.1
            valid[0] = True
            columns = {
                "clip_id": [clip.clip_id] * frames,
                "frame_index": np.arange(frames, dtype=np.int32),
                "valid": valid,
            }
            key = f"{clip.clip_id}-{signal}-{seed}"
            embedding = rng.normal(size=(frames, EMBEDDING)).astype(np.float16)
            seen = {"embedding": fixed(embedding), "map": fixed(maps.astype(np.float16))}
            if parts:
                seen["parts_embedding"] = fixed(embedding[:, ::-1].copy())
                seen["parts_map"] = fixed(np.roll(maps, 1, axis=2).astype(np.float16))
            if clip.clip_id == LOST:
                appearance.add_quarantined(clip.clip_id, key, "no face found")
                graphs.add_quarantined(clip.clip_id, key, "no face found")
                continue
            appearance.add(clip.clip_id, key, [pa.table(columns | seen, appearance_schema)])
            xy = np.tile(np.array([[0.25, 0.25], [0.75, 0.25], [0.25, 0.75], [0.75, 0.75]]), 1)
            graph = {
                "node_xy": fixed(np.tile(xy.astype(np.float32), (frames, 1, 1))),
                "visible": fixed(np.ones((frames, REGIONS), np.float32)),
            }
            if per_frame_pooling:
                graph["pooling"] = fixed(np.tile(pooling.astype(np.float16), (frames, 1, 1)))
            graphs.add(clip.clip_id, key, [pa.table(columns | graph, graph_schema)])


def schemas(per_frame_pooling: bool, parts: bool = False) -> tuple[pa.Schema, pa.Schema]:
    head = [("clip_id", pa.string()), ("frame_index", pa.int32()), ("valid", pa.bool_())]
    appearance = [
        ("embedding", pa.list_(pa.float16(), EMBEDDING)),
        ("map", pa.list_(pa.float16(), CHANNELS * REGIONS)),
    ]
    if parts:
        appearance += [(f"parts_{name}", kind) for name, kind in appearance]
    graph = [
        ("node_xy", pa.list_(pa.float32(), 2 * REGIONS)),
        ("visible", pa.list_(pa.float32(), REGIONS)),
    ]
    if per_frame_pooling:
        graph.append(("pooling", pa.list_(pa.float16(), REGIONS * REGIONS)))
    return pa.schema(head + appearance), pa.schema(head + graph)


def write_splits(root: Path, clip_ids: Sequence[str]) -> None:
    """Subject s tests in fold s % FOLDS; of the others the last ones validate."""
    rows = []
    for fold in range(FOLDS):
        for clip in clip_ids:
            subject = int(clip.split("-")[0][1:])
            held = subject % FOLDS == fold
            part = "test" if held else "val" if subject >= SUBJECTS - 2 else "train"
            rows.append({"clip_id": clip, "fold": fold, "split": part})
    write_table(pa.Table.from_pylist(rows, SPLITS_SCHEMA), root / "data/splits.parquet")


def small_params(*, workers: int = 1, **train: object) -> Params:
    """A network that fits the data set in a second; by itself in the process that trains it, for
    to start another takes longer."""
    return parse_params(
        {
            "engine": {"workers": workers},
            "relation": {"layers": 1, "heads": 2},
            "fusion": {"width": 16, "layers": 1, "heads": 2, "head_dropout": 0.1},
            "train": {
                "epochs": 12,
                "min_steps": 1,
                "batch": 8,
                "lr": 5e-3,
                "seeds": [0],
                "device": "cpu",
            }
            | train,
        }
    )
