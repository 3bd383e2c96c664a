"""Fine-tuning on frames of real clips runs through, and what the target shows is refused."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from arpgnet.pipeline.align.clip import AlignClip
from arpgnet.pipeline.appearance.clip import AppearanceClip
from arpgnet.pipeline.common.params import DecodeParams, EngineParams, Params
from arpgnet.pipeline.common.params_file import parse_params
from arpgnet.pipeline.decode.clip import DecodeClip, sample_frames
from arpgnet.pipeline.finetune.run import BACKBONE, finetune
from arpgnet.pipeline.networks.listed import list_networks
from arpgnet.pipeline.networks.packs import Pack
from arpgnet.pipeline.networks.tuned import tuned
from arpgnet.pipeline.runner.engine import run_clips
from arpgnet.pipeline.store import file_sha256
from arpgnet.pipeline.tables.manifest import Clip, read_manifest, write_manifest
from arpgnet.pipeline.tables.shards import ShardReader, to_numpy
from arpgnet.pipeline.video.frames import decode_jpeg

ENGINE = EngineParams(workers=1)
TARGET = ("asl/again.mkv", "asl/bird.mkv")
# one actor, calm or surprised
STILLS = {
    "neutral": ("01-01-01-01-01-01-01", "02-01-01-01-02-02-01"),
    "surprise": ("01-01-08-01-01-02-01", "02-01-08-02-01-01-01"),
}


def save(folder: Path, name: str, frame: np.ndarray, scale: float = 1.0) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    small = cv2.resize(frame, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    cv2.imwrite(str(folder / f"{name}.jpg"), cv2.cvtColor(small, cv2.COLOR_RGB2BGR))


@pytest.fixture
def project(
    assets: Path, pack: Pack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[Path, Params]:
    monkeypatch.setenv("ARPGNET_MODELS", str(assets / "weights"))
    list_networks("open", tmp_path / "data/networks")
    clips = [Clip(name[4:-4], name, file_sha256(assets / "clips" / name)) for name in TARGET]
    write_manifest(clips, tmp_path / "data/manifest.parquet", classes=["x", "y"], dataset="asl")
    params = parse_params(
        {
            "faces": {"pack": "open", "device": "cpu"},
            "align": {"det_px": 320},
            "engine": {"workers": 1},
            "finetune": {
                "enabled": True,
                "dataset": "folder",
                "root": str(tmp_path / "stills"),
                "val_fraction": 0.3,
                "epochs": 1,
                "batch": 8,
                "device": "cpu",
            },
        }
    )
    frames, faces = tmp_path / "data/frames", tmp_path / "data/faces"
    run_clips(DecodeClip({"": assets / "clips"}, DecodeParams(frames=4)), clips, frames, ENGINE)
    run_clips(AlignClip(frames, pack, params.align, "cpu"), clips, faces, ENGINE)
    for label, names in STILLS.items():
        for name in names:
            kept = sample_frames(assets / "clips/ravdess" / f"{name}.mp4", DecodeParams(frames=5))
            for number, frame in enumerate(kept):
                save(tmp_path / "stills" / label, f"{name}_{number}", decode_jpeg(frame.jpeg))
    # cut from the target data, one of them whole, one round the face
    frame = decode_jpeg(ShardReader(frames).row("again", 1).column("jpeg")[0].as_py())
    save(tmp_path / "stills/neutral", "whole", frame, 0.5)
    x1, y1, x2, y2 = to_numpy(ShardReader(faces).read("again").column("bbox"), (4,))[1].astype(int)
    side = max(x2 - x1, y2 - y1) // 2
    cut = frame[max(0, y1 - side) : y2 + side, max(0, x1 - side) : x2 + side]
    save(tmp_path / "stills/neutral", "cut", cut)
    return tmp_path, params


def test_a_run_on_real_frames_goes_through(project: tuple[Path, Params], pack: Pack) -> None:
    root, params = project
    said = finetune(params, root=root)
    metadata = json.loads((root / BACKBONE / "backbone.json").read_text())
    refused = {reason for reason in metadata["left_out"] if "target data" in reason}
    assert refused == {"an image of the target data", "a face of the target data"}
    assert sum(metadata["left_out"][reason] for reason in refused) == 2
    assert metadata["train"] + metadata["val"] >= 17
    assert "validation UAR" in said
    spec = tuned(pack.models["embedding"], root / BACKBONE)
    work = AppearanceClip(root / "data/faces", spec, "open", 16)
    clips = read_manifest(root / "data/manifest.parquet").clips
    run_clips(work, clips, root / "data/appearance", ENGINE)
    plain = AppearanceClip(root / "data/faces", pack.models["embedding"], "open", 16)
    run_clips(plain, clips, root / "data/frozen", ENGINE)
    for clip in clips:
        maps = [
            to_numpy(ShardReader(root / out).read(clip.clip_id).column("map"), (512, 7, 7))
            for out in ("data/appearance", "data/frozen")
        ]
        assert np.isfinite(maps[0]).all()
        assert 0.001 < np.abs(maps[0] - maps[1]).max() < 6.5  # of maps that end in ReLU6
