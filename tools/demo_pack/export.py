"""ONNX exports in the form of InsightFace's models, and their parity with torch.

Shape letters: K anchors of one level, C map channels, D embedding width, P landmarks.
"""

import warnings
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from torch import Tensor, nn

from tools.demo_pack.nets import STRIDES, DemoDetector, DemoEmbedding, DemoLandmarks, ScrfdForm

INPUT = "data"
MAP_TENSOR = "feature_map"
TOLERANCE = 1e-4
_OPSET = 17
_DETECTOR_PX = 256


def export_detector(net: DemoDetector, path: Path) -> None:
    """`[1, 3, height, width]`, both free multiples of 32 -> SCRFD's nine outputs."""
    kinds = ("score", "bbox", "kps")
    names = [f"{kind}_{stride}" for kind in kinds for stride in STRIDES]
    rows = {name: {0: f"anchors_{name.rpartition('_')[2]}"} for name in names}
    axes = {INPUT: {2: "height", 3: "width"}, **rows}
    _export(ScrfdForm(net), torch.zeros(1, 3, _DETECTOR_PX, _DETECTOR_PX), path, names, axes)


def export_landmarks(net: DemoLandmarks, path: Path) -> None:
    """`[1, 3, 192, 192] -> [1, P * 2]`, the batch free, as in 2d106det."""
    axes = {INPUT: {0: "batch"}, "points": {0: "batch"}}
    _export(net, torch.zeros(1, 3, 192, 192), path, ["points"], axes)


def export_embedding(net: DemoEmbedding, path: Path) -> None:
    """`[batch, 3, 112, 112] -> [batch, D]`.

    The last feature map `[batch, C, 7, 7]` stays inside under the name `MAP_TENSOR`, with its
    value_info: insightface's ArcFaceONNX accepts one output only.
    """
    names = ["embedding", MAP_TENSOR]
    axes = {name: {0: "batch"} for name in (INPUT, *names)}
    _export(net, torch.zeros(2, 3, 112, 112), path, names, axes)
    model = onnx.load(str(path))
    inner = model.graph.output.pop()
    model.graph.value_info.append(inner)
    _save(model, path)


def with_output(path: Path, tensor: str) -> bytes:
    """The serialized model at `path` with its inner `tensor` as an extra output."""
    model = onnx.load(str(path))
    model.graph.output.extend(info for info in model.graph.value_info if info.name == tensor)
    return model.SerializeToString()


def session(model: Path | bytes, *, threads: int = 1) -> onnxruntime.InferenceSession:
    """A CPU session of a model file or of serialized bytes."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    source = model if isinstance(model, bytes) else str(model)
    return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])


def largest_difference(net: nn.Module, model: Path | bytes, image: Tensor) -> float:
    """The largest absolute difference between torch and ONNX Runtime over all outputs."""
    with torch.no_grad():
        expected = net(image)
    expected = (expected,) if isinstance(expected, Tensor) else expected
    actual = session(model).run(None, {INPUT: image.numpy()})
    pairs = zip(expected, actual, strict=True)
    return max(float(np.abs(one.numpy() - other).max()) for one, other in pairs)


def check_parity(net: nn.Module, model: Path | bytes, image: Tensor) -> None:
    """RuntimeError where torch and ONNX Runtime differ by more than `TOLERANCE`."""
    difference = largest_difference(net, model, image)
    if difference > TOLERANCE:
        raise RuntimeError(f"{type(net).__name__}: ONNX Runtime differs by {difference:.1e}")


def _export(
    net: nn.Module, example: Tensor, path: Path, outputs: list[str], axes: dict[str, dict[int, str]]
) -> None:
    """Export in evaluation mode, batch norms folded, through the TorchScript exporter.

    The newer exporter needs onnxscript, which is not a dependency.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    net.eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            net,
            (example,),
            str(path),
            input_names=[INPUT],
            output_names=outputs,
            dynamic_axes=axes,
            opset_version=_OPSET,
            dynamo=False,
        )
    _save(onnx.load(str(path)), path)


def _save(model: onnx.ModelProto, path: Path) -> None:
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString(deterministic=True))
