"""ONNX Runtime sessions of our own: threads set, provider asserted, internal tensors exposed.

`insightface.model_zoo.get_model` drops the session options passed to it, which starts a
thread per core in every worker (deepinsight/insightface#2899: 50 s instead of 0.27 s in a
4-core container), and falls back to the CPU without a word. So sessions are made here and
handed to InsightFace's classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Literal

import onnx
import onnxruntime

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.common.gpus import choose_gpus
from arpgnet.pipeline.networks.packs import ModelSpec

Device = Literal["auto", "cpu", "cuda"]
CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"
ERRORS_ONLY = 3  # ONNX Runtime's log severity: 2 would print a warning per graph


class OnnxGraph:
    """A serialized graph, which is parsed once, when somebody asks for its nodes."""

    def __init__(self, data: bytes, name: str) -> None:
        self.data = data
        self.name = name

    @classmethod
    def of(cls, model: onnx.ModelProto, name: str) -> OnnxGraph:
        """Return a graph that was changed in memory."""
        graph = cls(model.SerializeToString(), name)
        graph.model = model
        return graph

    @cached_property
    def model(self) -> onnx.ModelProto:
        """The parsed graph; UserError: it is none."""
        return load_graph(self.data, self.name)


def open_graph(spec: ModelSpec) -> OnnxGraph:
    """Read the pack's file of a network; pass the graph on instead of reading it again.

    Raises:
        UserError: it is not the file that was described.
    """
    spec.require_unchanged()
    return OnnxGraph(spec.path.read_bytes(), str(spec.path))


def make_session(
    model: Path | bytes | OnnxGraph,
    *,
    threads: int = 1,
    device: Device = "cpu",
    extra_outputs: Sequence[str] = (),
) -> onnxruntime.InferenceSession:
    """Return a deterministic session whose outputs are the graph's own, then `extra_outputs`.

    Args:
        model: path of an ONNX file, a serialized graph, or an open one.
        threads: threads within an operator; operators run one after the other.
        device: `auto` means CUDA where ONNX Runtime offers it, else the CPU.
        extra_outputs: names of internal tensors.

    Raises:
        UserError: the file is not a graph ONNX Runtime can run, a tensor is unknown, or the
            device is not to be had.
    """
    provider = choose_provider(device)
    if provider == CUDA:
        choose_gpus()
    source = model.data if isinstance(model, OnnxGraph) else model
    if extra_outputs:
        source = expose(model, extra_outputs)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.use_deterministic_compute = True
    options.log_severity_level = ERRORS_ONLY
    providers = [provider] if provider == CPU else [provider, CPU]
    try:
        session = onnxruntime.InferenceSession(
            source if isinstance(source, bytes) else str(source), options, providers=providers
        )
    except Exception as error:  # the runtime's exceptions share no base of their own
        raise UserError(
            f"{_name(model)} cannot be loaded by ONNX Runtime: {_first_line(error)}"
        ) from None
    if session.get_providers()[0] != provider:
        raise UserError(
            f"faces.device: {device}: ONNX Runtime fell back to {session.get_providers()[0]}; "
            "check the CUDA and cuDNN libraries, or set faces.device: cpu"
        )
    return session


def choose_provider(device: Device) -> str:
    """Return the execution provider for a device.

    Raises:
        UserError: `cuda` is asked for and this ONNX Runtime has no CUDA provider.
    """
    available = onnxruntime.get_available_providers()
    if device == "cpu" or (device == "auto" and CUDA not in available):
        return CPU
    if CUDA not in available:
        raise UserError(
            f"faces.device: cuda: this ONNX Runtime offers {', '.join(available)} only; install "
            "onnxruntime-gpu in place of onnxruntime, or set faces.device: cpu"
        )
    # finds the CUDA libraries that came with torch (deepinsight/insightface#2344)
    onnxruntime.preload_dlls()
    return CUDA


def runtime_version(device: Device) -> str:
    """Name the runtime, e.g. `onnxruntime 1.32.0 CPUExecutionProvider`: part of every key."""
    return f"onnxruntime {onnxruntime.__version__} {choose_provider(device)}"


def batchable(session: onnxruntime.InferenceSession) -> bool:
    """Check whether the first input takes any number of images at once."""
    return not isinstance(session.get_inputs()[0].shape[0], int)


def expose(model: Path | bytes | OnnxGraph, tensors: Sequence[str]) -> bytes:
    """Return the graph, serialized, with internal tensors appended to its outputs.

    Raises:
        UserError: no node of the graph makes one of the tensors.
    """
    parsed = model.model if isinstance(model, OnnxGraph) else load_graph(model)
    graph = onnx.shape_inference.infer_shapes(parsed)
    made = {name for node in graph.graph.node for name in node.output}
    outputs = {value.name for value in graph.graph.output}
    shapes = {value.name: value for value in graph.graph.value_info}
    for tensor in tensors:
        if tensor not in made:
            raise UserError(f"{_name(model)} has no tensor '{tensor}'; correct map_tensor")
        if tensor not in outputs:
            unknown = onnx.helper.make_tensor_value_info(tensor, onnx.TensorProto.FLOAT, None)
            graph.graph.output.append(shapes.get(tensor, unknown))
    return graph.SerializeToString()


def find_map_tensor(model: onnx.ModelProto) -> tuple[str, tuple[int, int, int]]:
    """Find an embedding network's last feature map: name and shape (channels, height, width).

    It is the last four-dimensional activation with more than one position: what IResNet
    flattens for its fully connected layer, and what MobileFaceNet's global depthwise
    convolution reduces (Chen et al., arXiv:1804.07573); 7x7 in both for 112x112 input.

    Raises:
        UserError: shape inference finds none.
    """
    inferred = onnx.shape_inference.infer_shapes(model).graph
    shapes = {value.name: _dims(value) for value in inferred.value_info}
    for node in reversed(inferred.node):
        for name in node.output:
            dims = shapes.get(name, ())
            if len(dims) == 4 and all(dims[1:]) and dims[2] > 1 and dims[3] > 1:
                return name, (dims[1], dims[2], dims[3])
    raise UserError(
        "no feature map found in the embedding graph; name it as models.embedding.map_tensor "
        "in pack.yaml"
    )


def load_graph(model: Path | bytes, name: str | None = None) -> onnx.ModelProto:
    """Parse an ONNX file or a serialized graph.

    Args:
        name: for the message, where the bytes are those of a file.

    Raises:
        UserError: it is neither.
    """
    try:
        return onnx.load_from_string(model) if isinstance(model, bytes) else onnx.load(str(model))
    except Exception as error:  # protobuf's DecodeError has no stable import path
        name = name or _name(model)
        raise UserError(f"{name} is not an ONNX graph: {_first_line(error)}") from None


def _dims(value: onnx.ValueInfoProto) -> tuple[int, ...]:
    """Return a tensor's dimensions, 0 for one that is not fixed."""
    return tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim)


def _name(model: Path | bytes | OnnxGraph) -> str:
    if isinstance(model, OnnxGraph):
        return model.name
    return "the graph in memory" if isinstance(model, bytes) else str(model)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
