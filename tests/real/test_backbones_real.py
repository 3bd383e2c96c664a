"""Named networks and imported graphs give on real faces what ONNX Runtime gives."""

from pathlib import Path

import numpy as np
import pytest
import torch

from arpgnet.pipeline.common.params import DecodeParams
from arpgnet.pipeline.decode.clip import sample_frames
from arpgnet.pipeline.geometry.alignment import similarity, warp
from arpgnet.pipeline.networks.detector import find_faces, make_detector
from arpgnet.pipeline.networks.packs import Pack
from arpgnet.pipeline.networks.preprocessing import normalization
from arpgnet.pipeline.networks.sessions import load_graph, make_session
from arpgnet.pipeline.networks.torch_graph import import_graph
from arpgnet.pipeline.video.frames import decode_jpeg
from helpers.graph_weights import load_exported

PARITY = 1e-4
CLIPS = ("asl/again.mkv", "asl/book.mkv", "ravdess/01-01-01-01-01-01-01.mp4")


@pytest.fixture(scope="module")
def model_input(assets: Path, pack: Pack) -> np.ndarray:
    """Aligned crops of three people as the network is fed them."""
    detector = make_detector(pack.models["detector"], det_px=320, thresh=0.5, device="cpu")
    crops = []
    for clip in CLIPS:
        for kept in sample_frames(assets / "clips" / clip, DecodeParams(frames=3)):
            frame = decode_jpeg(kept.jpeg)
            found = find_faces(detector, frame, pad_retry=0.5)
            matrix = similarity(found.kps[0]) if len(found) else None
            if matrix is not None:
                crops.append(warp(frame, matrix))
    assert len(crops) >= 8
    return normalization(pack.models["embedding"]).model_input(np.stack(crops))


@pytest.fixture(scope="module")
def truth(model_input: np.ndarray, pack: Pack) -> list[np.ndarray]:
    spec = pack.models["embedding"]
    session = make_session(spec.path, extra_outputs=[spec.map_tensor or ""])
    name = session.get_inputs()[0].name
    # the graph's batch is fixed at 1
    one_by_one = [session.run(None, {name: np.ascontiguousarray(x[None])}) for x in model_input]
    return [np.concatenate(parts) for parts in zip(*one_by_one, strict=True)]


def test_the_named_network_equals_onnx_runtime(
    model_input: np.ndarray, truth: list[np.ndarray], pack: Pack
) -> None:
    network = load_exported("mobilefacenet_foamliu", pack.models["embedding"].path)
    with torch.inference_mode():
        found = network(torch.from_numpy(model_input))
    for ours, theirs in zip(found, truth, strict=True):
        assert np.abs(theirs).max() > 0.5
        assert np.abs(ours.numpy() - theirs).max() <= PARITY


def test_the_imported_graph_equals_onnx_runtime(
    model_input: np.ndarray, truth: list[np.ndarray], pack: Pack
) -> None:
    spec = pack.models["embedding"]
    graph = load_graph(spec.path)
    outputs = [graph.graph.output[0].name, spec.map_tensor or ""]
    with torch.inference_mode():
        found = import_graph(graph, outputs)(torch.from_numpy(model_input))
    for ours, theirs in zip(found, truth, strict=True):
        assert np.abs(ours.numpy() - theirs).max() <= PARITY
