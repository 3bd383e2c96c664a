"""A network's file is parsed once by whatever opens it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest

from arpgnet.pipeline.finetune.network import build_trainee
from arpgnet.pipeline.networks.appearance import AppearanceNetwork, centers, layout
from arpgnet.pipeline.networks.detector import make_detector
from arpgnet.pipeline.networks.landmarks import LandmarkNetwork
from arpgnet.pipeline.networks.packs import ModelSpec, Pack, load_pack
from helpers import graphs


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The files that were parsed, by us or by a library, in their order."""
    found: list[bytes] = []
    load, load_from_string = onnx.load, onnx.load_from_string

    def of_file(path: Any, *more: Any, **options: Any) -> onnx.ModelProto:
        found.append(Path(path).read_bytes())
        return load(path, *more, **options)

    def of_bytes(data: bytes, *more: Any, **options: Any) -> onnx.ModelProto:
        found.append(data)
        return load_from_string(data, *more, **options)

    for name in ("load", "load_model"):
        monkeypatch.setattr(onnx, name, of_file)
    for name in ("load_from_string", "load_model_from_string"):
        monkeypatch.setattr(onnx, name, of_bytes)
    return found


def fixed(folder: Path) -> Pack:
    """Every network takes one image of one size, so that its graph is changed and tried."""
    models = {
        "detector": ("scrfd", graphs.scrfd(px=128)),
        "landmark": ("pfld98", graphs.landmark_pfld98()),
        "embedding": ("arcface", graphs.arcface_mobilefacenet(batch=1)),
    }
    return load_pack(str(graphs.write_pack(folder, models, detector__input_px=128)))


def describe_first(spec: ModelSpec) -> None:
    layout(spec)
    centers(spec)


USES: dict[str, tuple[str, Callable[[ModelSpec], object]]] = {
    "align": (
        "detector",
        lambda spec: make_detector(spec, det_px=None, thresh=0.5, device="cpu"),
    ),
    "landmark": ("landmark", LandmarkNetwork),
    "appearance": ("embedding", lambda spec: AppearanceNetwork(spec, batch=4)),
    "appearance, bf16": (
        "embedding",
        lambda spec: AppearanceNetwork(spec, batch=4, precision="bf16"),
    ),
    "appearance's metadata": ("embedding", describe_first),
    "finetune": ("embedding", lambda spec: build_trainee(spec, "both", 2, train_norms=False)),
}


@pytest.mark.parametrize("form", ["small", "open", "fixed"])
@pytest.mark.parametrize("use", USES)
def test_a_file_is_parsed_once(tmp_path: Path, parsed: list[bytes], use: str, form: str) -> None:
    make = {"small": graphs.small_pack, "open": graphs.small_open_pack}
    pack = load_pack(str(make[form](tmp_path))) if form in make else fixed(tmp_path)
    role, open_network = USES[use]
    spec = pack.models[role]  # type: ignore[index]
    data = spec.path.read_bytes()
    open_network(spec)
    # a detector whose shapes are dynamic is for ONNX Runtime alone
    assert parsed.count(data) == (0 if use == "align" and form != "fixed" else 1)
