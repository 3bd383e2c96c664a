"""Sessions: deterministic, on the device that was asked for, with inner tensors exposed."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from insightface.model_zoo import SCRFD, ArcFaceONNX, Landmark, get_model

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.networks import sessions
from helpers import graphs


def save(model: onnx.ModelProto, path: Path) -> Path:
    path.write_bytes(model.SerializeToString())
    return path


@pytest.mark.parametrize(
    ("model", "kind"),
    [
        (graphs.scrfd("det_10g"), SCRFD),
        (graphs.scrfd("det_500m"), SCRFD),
        (graphs.landmark_2d106(), Landmark),
        (graphs.arcface_iresnet(), ArcFaceONNX),
        (graphs.arcface_mobilefacenet(), ArcFaceONNX),
    ],
)
def test_insightface_takes_graphs_of_buffalo_form_for_what_they_are(
    tmp_path: Path, model: onnx.ModelProto, kind: type
) -> None:
    path = save(model, tmp_path / "m.onnx")
    routed = get_model(str(path), providers=["CPUExecutionProvider"])
    assert type(routed) is kind
    ours = kind(model_file=str(path), session=sessions.make_session(path))
    assert ours.output_names == routed.output_names
    assert (ours.input_mean, ours.input_std) == (routed.input_mean, routed.input_std)


@pytest.mark.parametrize(
    ("model", "tensor"),
    [(graphs.arcface_iresnet(), "bn2"), (graphs.arcface_mobilefacenet(), "features")],
)
def test_the_last_feature_map_is_found_and_exposed(model: onnx.ModelProto, tensor: str) -> None:
    assert sessions.find_map_tensor(model) == (tensor, (32, 7, 7))
    plain = sessions.make_session(model.SerializeToString())
    both = sessions.make_session(model.SerializeToString(), extra_outputs=[tensor])
    images = np.random.default_rng(0).normal(size=(3, 3, 112, 112)).astype(np.float32)
    embedding, feature_map = both.run(None, {"input.1": images})
    assert feature_map.shape == (3, 32, 7, 7)
    np.testing.assert_allclose(embedding, plain.run(None, {"input.1": images})[0], atol=1e-5)


def test_the_exposed_map_is_what_the_embedding_is_made_of() -> None:
    model = graphs.arcface_iresnet()
    session = sessions.make_session(model.SerializeToString(), extra_outputs=["bn2", "fc"])
    images = np.random.default_rng(1).normal(size=(2, 3, 112, 112)).astype(np.float32)
    _, feature_map, fc = session.run(None, {"input.1": images})
    weights = {w.name: onnx.numpy_helper.to_array(w) for w in model.graph.initializer}
    np.testing.assert_allclose(feature_map.reshape(2, -1) @ weights["fc.w"].T, fc, atol=1e-4)


def test_batch_and_single_runs_agree_and_repeats_are_identical() -> None:
    session = sessions.make_session(graphs.arcface_iresnet().SerializeToString())
    assert sessions.batchable(session)
    images = np.random.default_rng(0).normal(size=(4, 3, 112, 112)).astype(np.float32)
    batch = session.run(None, {"input.1": images})[0]
    single = [session.run(None, {"input.1": image[None]})[0][0] for image in images]
    np.testing.assert_allclose(batch, single, atol=1e-5)
    assert (batch == session.run(None, {"input.1": images})[0]).all()


def test_a_fixed_batch_is_reported() -> None:
    model = graphs.arcface_mobilefacenet(batch=1)
    assert not sessions.batchable(sessions.make_session(model.SerializeToString()))


def test_threads_are_set() -> None:
    model = graphs.arcface_iresnet().SerializeToString()
    options = sessions.make_session(model, threads=2).get_session_options()
    assert options.intra_op_num_threads == 2
    assert options.inter_op_num_threads == 1
    assert options.use_deterministic_compute


def test_cuda_without_its_provider_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [sessions.CPU])
    with pytest.raises(UserError, match=r"faces\.device: cuda: .*onnxruntime-gpu"):
        sessions.choose_provider("cuda")
    assert sessions.choose_provider("auto") == sessions.CPU


def test_a_silent_fall_back_to_the_cpu_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The provider is offered but cannot start: ONNX Runtime would go on without it."""
    monkeypatch.setattr(
        onnxruntime, "get_available_providers", lambda: [sessions.CUDA, sessions.CPU]
    )
    real = onnxruntime.InferenceSession
    monkeypatch.setattr(
        onnxruntime, "InferenceSession", lambda *a, providers: real(*a, providers=[sessions.CPU])
    )
    with pytest.raises(UserError, match="fell back to CPUExecutionProvider"):
        sessions.make_session(graphs.arcface_iresnet().SerializeToString(), device="auto")


def test_faults_are_one_line(tmp_path: Path) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"not a graph at all")
    with pytest.raises(UserError, match=r"broken\.onnx cannot be loaded"):
        sessions.make_session(broken)
    with pytest.raises(UserError, match=r"broken\.onnx is not an ONNX graph"):
        sessions.make_session(broken, extra_outputs=["x"])
    with pytest.raises(UserError, match="no tensor 'nowhere'; correct map_tensor"):
        sessions.make_session(
            graphs.arcface_iresnet().SerializeToString(), extra_outputs=["nowhere"]
        )
    flat = onnx.helper.make_model(
        onnx.helper.make_graph(
            [onnx.helper.make_node("Identity", ["x"], ["y"])],
            "g",
            [onnx.helper.make_tensor_value_info("x", 1, [1, 4])],
            [onnx.helper.make_tensor_value_info("y", 1, [1, 4])],
        )
    )
    with pytest.raises(UserError, match="map_tensor"):
        sessions.find_map_tensor(flat)
