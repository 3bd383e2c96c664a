"""A face network that takes images in batches, where its graph can: ONNX Runtime, or torch.

Which number format the appearance network is run in on this machine.

B images, S pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.networks.dynamic_shapes import SAME, any_batch
from arpgnet.pipeline.networks.packs import ModelSpec
from arpgnet.pipeline.networks.preprocessing import Normalization, normalization
from arpgnet.pipeline.networks.sessions import (
    CPU,
    Device,
    OnnxGraph,
    batchable,
    choose_provider,
    make_session,
    open_graph,
)
from arpgnet.pipeline.networks.tuned import tuned_graph

Images = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
# float32 [B, 3, S, S] -> the outputs, float32 [B, ...]
Run = Callable[[Floats], list[Floats]]
Precision = Literal["fp32", "bf16"]

# the nodes that `torch_graph` imports; looked at first, because importing torch takes 2 s. Without
# MatMul, which is imported for fine-tuning alone: the demo pack's network holds one, and the
# figures that are published of it are ONNX Runtime's
TORCH_KINDS = frozenset(
    {"Conv", "BatchNormalization", "PRelu", "Relu", "LeakyRelu", "Clip", "Sigmoid", "Identity"}
    | {"Add", "Sub", "Mul", "Div", "Dropout", "Flatten", "Reshape", "Gemm", "Constant"}
)


class ImageNetwork:
    """One input, a square RGB image; any outputs, the first axis of each counting images.

    Args:
        run: the network, fed what `preprocessing` makes of at most `batch` images.
    """

    def __init__(self, preprocessing: Normalization, run: Run, batch: int) -> None:
        self._normalization = preprocessing
        self._run = run
        self.batch = batch

    def run(self, images: Images) -> list[Floats]:
        """Return the outputs for images uint8 [B, S, S, 3], RGB; each float32 [B, ...]."""
        parts = [
            self._run(self._normalization.model_input(images[start : start + self.batch]))
            for start in range(0, len(images), self.batch)
        ]
        return [np.concatenate(tensors) for tensors in zip(*parts, strict=True)]


class GraphNetwork(ImageNetwork):
    """The network of an ONNX file.

    Args:
        spec: the network and how to feed it.
        graph: its file, if it is open.
        batch: the most images at once; 1 where the graph allows no more.
        extra_outputs: internal tensors that `run` gives behind the graph's first output.
        precision: `bf16` runs the graph in torch, where it can be imported exactly.

    `in_torch` says whether that was so.

    Raises:
        UserError: the graph cannot be loaded, or has no such tensor, or takes no such images.
    """

    def __init__(
        self,
        spec: ModelSpec,
        graph: OnnxGraph | None = None,
        *,
        batch: int,
        device: Device = "cpu",
        threads: int = 1,
        extra_outputs: Sequence[str] = (),
        precision: Precision = "fp32",
    ) -> None:
        graph = graph or open_graph(spec)
        preprocessing = normalization(spec, graph)
        graph = tuned_graph(spec, graph)
        self._device = device
        self._threads = threads
        session = make_session(graph, threads=threads, device=device, extra_outputs=extra_outputs)
        self._outputs = [session.get_outputs()[0].name, *extra_outputs]
        self.in_torch = False
        trial = preprocessing.model_input(_trial(spec.input_px))
        super().__init__(preprocessing, *self._choose(graph, session, trial, batch, precision))

    def _choose(
        self,
        graph: OnnxGraph,
        session: onnxruntime.InferenceSession,
        trial: Floats,
        batch: int,
        precision: Precision,
    ) -> tuple[Run, int]:
        """Return the fastest way to run the graph that gives what the graph itself gives."""
        original = self._in(session)
        try:
            alone = _one_by_one(original, trial)
        except Exception as error:  # the runtimes' exceptions share no base of their own
            reason = " ".join(str(error).split())[:150]
            raise UserError(
                f"{graph.name} cannot be run on images of {trial.shape[-1]} pixels ({reason}): "
                "correct its input_px in pack.yaml"
            ) from None
        truth = [np.concatenate(two) for two in zip(*alone, strict=True)]
        if precision == "bf16":
            imported = self._in_torch(graph.model, trial, truth)
            if imported is not None:
                self.in_torch = True
                return imported, batch
        if batch == 1:
            return original, 1
        if batchable(session):
            # a promise only: some published graphs reshape to a single row further down
            # (deepinsight/insightface#2878) and fail or mix images up
            return (original, batch) if _same(original, trial, truth) else (original, 1)
        dynamic = self._dynamic_batch(graph.model)
        return (dynamic, batch) if dynamic and _same(dynamic, trial, truth) else (original, 1)

    def _in(self, session: onnxruntime.InferenceSession) -> Run:
        name = session.get_inputs()[0].name

        def run(inputs: Floats) -> list[Floats]:
            found = session.run(self._outputs, {name: np.ascontiguousarray(inputs)})
            # some graphs flatten everything into one row
            return [tensor.reshape(len(inputs), -1, *tensor.shape[2:]) for tensor in found]

        return run

    def _dynamic_batch(self, model: onnx.ModelProto) -> Run | None:
        """Return the graph with its batch of one made any number, if ONNX Runtime can load that."""
        try:
            session = make_session(
                any_batch(model).SerializeToString(),
                threads=self._threads,
                device=self._device,
                extra_outputs=self._outputs[1:],
            )
        except Exception:  # whatever it is, the original graph works
            return None
        return self._in(session)

    def _in_torch(self, model: onnx.ModelProto, trial: Floats, truth: list[Floats]) -> Run | None:
        """Import the graph in bfloat16, if the import is exact in float32."""
        if not {node.op_type for node in model.graph.node} <= TORCH_KINDS:
            return None
        from arpgnet.pipeline.networks.torch_graph import NotImportable, TorchRun, import_graph

        try:
            module = import_graph(model, self._outputs)
            run = TorchRun(module, device=self._device, threads=self._threads)
        except NotImportable:
            return None
        return run.in_bfloat16() if _same(run, trial, truth) else None


def _trial(side: int) -> Images:
    """Make two images that differ: uint8 [2, S, S, 3]."""
    ramp = np.arange(side * side * 3, dtype=np.uint32).reshape(1, side, side, 3)
    return np.concatenate([ramp * 7 % 251, ramp * 11 % 241]).astype(np.uint8)


def _one_by_one(run: Run, inputs: Floats) -> list[list[Floats]]:
    return [run(inputs[row : row + 1]) for row in range(len(inputs))]


def _same(run: Run, inputs: Floats, truth: list[Floats]) -> bool:
    """Check whether the images together give what each gives alone in the original graph."""
    try:
        found = run(inputs)
    except Exception:  # the runtimes' exceptions share no base of their own
        return False
    return len(found) == len(truth) and all(
        one.shape == other.shape
        and bool((np.abs(one - other) <= SAME * float(np.abs(other).max() or 1.0)).all())
        for one, other in zip(found, truth, strict=True)
    )


# AMD since Zen 4; Intel since Cooper Lake, and as matrices since Sapphire Rapids
CPU_FLAGS = frozenset({"avx512_bf16", "amx_bf16"})
CPU_INFO = Path("/proc/cpuinfo")


def resolve_precision(asked: Literal["auto", "fp32", "bf16"], device: Device) -> Precision:
    """Resolve `auto`: bf16 where products of bfloat16 are fast; part of the stage's key.

    One core of an AMD EPYC with avx512_bf16, 16 crops at a time: MobileFaceNet takes 3.3 ms per
    crop in torch bf16, 4.8 ms in ONNX Runtime fp32.
    """
    if asked != "auto":
        return asked
    if choose_provider(device) == CPU:
        return "bf16" if _cpu_has_bf16() else "fp32"
    # imported here: torch takes 2 s, and a processor has flags
    import torch

    return "bf16" if torch.cuda.is_available() and torch.cuda.is_bf16_supported() else "fp32"


def _cpu_has_bf16() -> bool:
    """Check Linux's flags on x86-64; elsewhere False, which is safe and may be slower."""
    try:
        lines = CPU_INFO.read_text(encoding="utf-8").splitlines()
    except OSError:
        return False
    flags = next((line for line in lines if line.startswith("flags")), "")
    return not CPU_FLAGS.isdisjoint(flags.split())
