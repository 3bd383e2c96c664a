"""Faces of three people, one of whom is tested, stills, and a vision transformer that is tiny."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import pyarrow as pa
import pytest

from arpgnet.models.vit import VIT_SHAPES
from arpgnet.pipeline.common.params import Params
from arpgnet.pipeline.common.params_file import parse_params
from arpgnet.pipeline.networks.listed import list_networks
from arpgnet.pipeline.pretrain import fit
from arpgnet.pipeline.stills import crops
from arpgnet.pipeline.tables.manifest import SPLITS_SCHEMA, write_manifest, write_table
from helpers import faces_tables, graphs
from helpers.stills_project import in_process, still

PEOPLE = {"a1": "ann", "a2": "ann", "b1": "bob", "c1": "cy", "c2": "cy"}
ARCH = "vit_tiny_patch16_224"
ROUND = 4
INPUT_PX = 48


def make_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A network of two narrow blocks, rounds of four steps, and no worker processes."""
    monkeypatch.setitem(VIT_SHAPES, ARCH, replace(VIT_SHAPES[ARCH], dim=24, depth=2))
    monkeypatch.setattr(fit, "ROUND", ROUND)
    monkeypatch.setattr(fit, "SAVE_S", 0.0)
    monkeypatch.setattr(crops, "run_in_workers", in_process)


def write_project(folder: Path, *, tested: tuple[str, ...] = ("b1",), side: int = INPUT_PX) -> None:
    """Write what the stages before pretrain write."""
    list_networks(str(graphs.small_pack(folder / "pack")), folder / "data/networks")
    valid = {clip_id: [True, False, True] for clip_id in PEOPLE} | {"bad": []}
    tables = faces_tables.write_tables(folder / "data", valid, side)
    clips = [
        replace(clip, subject=PEOPLE.get(clip.clip_id, "ann"), sha256=f"{number:064x}")
        for number, clip in enumerate(tables)
    ]
    write_manifest(
        clips, folder / "data/manifest.parquet", classes=["x", "y"], dataset="test", notes={}
    )
    rows = [
        {"clip_id": clip_id, "fold": 0, "split": "test" if clip_id in tested else "train"}
        for clip_id in PEOPLE
    ]
    write_table(pa.Table.from_pylist(rows, SPLITS_SCHEMA), folder / "data/splits.parquet")


def write_stills(folder: Path, count: int, person: str = "dan") -> None:
    (folder / person).mkdir(parents=True, exist_ok=True)
    for number in range(count):
        cv2.imwrite(str(folder / person / f"{number}.png"), still("left", number)[..., ::-1])


def settings(folder: Path, steps: int = 8, **more: Any) -> Params:
    """Settings of a run of few steps, which `params.yaml` does not allow."""
    params = parse_params(
        {
            "faces": {"pack": str(folder / "pack"), "device": "cpu"},
            "engine": {"workers": 1},
            "pretrain": {
                "enabled": True,
                "arch": ARCH,
                "input_px": INPUT_PX,
                "decoder_width": 16,
                "decoder_layers": 1,
                "decoder_heads": 2,
                "batch": 4,
                "lr": 0.2,
                "device": "cpu",
                **more,
            },
        }
    )
    few = params.pretrain.model_copy(update={"steps": steps})
    return params.model_copy(update={"pretrain": few})
