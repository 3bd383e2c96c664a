"""ONNX graphs for tests: the names, shapes and outputs of real face models, small weights.

`scrfd` and `yunet` are not random: they find white squares on a dark ground that cover one
cell of their stride-32 grid, so that a test knows the answer. The others are random and
seeded. Node names matter: InsightFace's classes read the preprocessing off them.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

STRIDES = (8, 16, 32)
SCRFD_OUTPUTS = {  # scores, boxes, keypoints at strides 8, 16, 32
    "det_10g": ("448", "471", "494", "451", "474", "497", "454", "477", "500"),
    "det_500m": ("443", "468", "493", "446", "471", "496", "449", "474", "499"),
}
# a face in its cell, as a fraction of the cell: eyes, nose, mouth corners
CELL_KPS = np.array([[0.3, 0.35], [0.7, 0.35], [0.5, 0.55], [0.35, 0.75], [0.65, 0.75]])


class _Builder:
    """Collects nodes and weights, then makes a checked model."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def weight(self, name: str, array: np.ndarray) -> str:
        self.weights.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def add(self, kind: str, inputs: list[str], output: str, name: str = "", **attrs) -> str:
        self.nodes.append(
            helper.make_node(kind, inputs, [output], name or f"{kind}_{output}", **attrs)
        )
        return output

    def conv(self, x: str, output: str, weight: np.ndarray, bias: np.ndarray, **attrs) -> str:
        w = self.weight(f"{output}.w", weight.astype(np.float32))
        b = self.weight(f"{output}.b", bias.astype(np.float32))
        return self.add("Conv", [x, w, b], output, **attrs)

    def model(self, inputs: dict[str, list], outputs: dict[str, list]) -> onnx.ModelProto:
        def infos(shapes: dict[str, list]) -> list[onnx.ValueInfoProto]:
            return [
                helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
                for name, shape in shapes.items()
            ]

        graph = helper.make_graph(self.nodes, "g", infos(inputs), infos(outputs), self.weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=6)
        onnx.checker.check_model(model)
        return model


def scrfd(name: str = "det_10g", px: int | None = None) -> onnx.ModelProto:
    """An SCRFD with the named model's input (`[1, 3, ?, ?]`, or `px` square) and nine outputs."""
    build = _Builder()
    sides = [px, px] if px else ["?", "?"]
    outputs: dict[str, list] = {}
    for level, stride in enumerate(STRIDES):
        fires = stride == 32
        count = (640 if px is None else px) ** 2 // stride**2 * 2
        score, box, kps = SCRFD_OUTPUTS[name][level::3]
        # two anchors a cell, the second mute
        mean = np.full((2, 3, stride, stride), 1 / (3 * stride**2))
        logit = build.conv(
            "input.1",
            f"logit{stride}",
            mean * (20.0 if fires else 0.0),
            np.array([-10.0, -30.0]) if fires else np.full(2, -30.0),
            strides=[stride, stride],
        )
        build.add("Sigmoid", [_rows(build, logit, 1)], score)
        # an anchor stands on the cell's upper left corner
        _constant_rows(build, stride, box, np.tile([0.0, 0.0, 1.0, 1.0], 2), 4)
        _constant_rows(build, stride, kps, np.tile(CELL_KPS.ravel(), 2), 10)
        for tensor, width in ((score, 1), (box, 4), (kps, 10)):
            outputs[tensor] = [count, width]
    ordered = {tensor: outputs[tensor] for tensor in SCRFD_OUTPUTS[name]}
    return build.model({"input.1": [1, 3, *sides]}, ordered)


def yunet(px: int | None = None) -> onnx.ModelProto:
    """A YuNet: BGR 0..255 in, `cls`, `obj`, `bbox`, `kps` at three strides out."""
    build = _Builder()
    batch: int | str = 1 if px else "batch"
    sides = [px, px] if px else ["height", "width"]
    outputs: dict[str, list] = {}
    for stride in STRIDES:
        fires = stride == 32
        mean = np.full((1, 3, stride, stride), 1 / (3 * stride**2))
        attrs = {"strides": [stride, stride]}
        logit = build.conv(
            "input",
            f"logit{stride}",
            mean * (0.2 if fires else 0.0),
            np.array([-41.0 if fires else -30.0]),
            **attrs,
        )
        build.add("Sigmoid", [_batch_rows(build, logit, 1)], f"cls_{stride}")
        build.add("Sigmoid", [_batch_rows(build, logit, 1, "o")], f"obj_{stride}")
        for head, values in (("bbox", np.array([0.5, 0.5, 0.0, 0.0])), ("kps", CELL_KPS.ravel())):
            zero = np.zeros((len(values), 3, stride, stride))
            flat = build.conv("input", f"{head}{stride}", zero, values, **attrs)
            _batch_rows(build, flat, len(values), output=f"{head}_{stride}")
    for head, width in (("cls", 1), ("obj", 1), ("bbox", 4), ("kps", 10)):
        for stride in STRIDES:
            outputs[f"{head}_{stride}"] = [batch, px**2 // stride**2 if px else "dim", width]
    return build.model({"input": [batch, 3, *sides]}, outputs)


def landmark_2d106(seed: int = 0) -> onnx.ModelProto:
    """2d106det: `data` [None, 3, 192, 192] -> `fc1` [1, 212], normalizing inside the graph."""
    build = _Builder()
    minus = build.weight("_minusscalar0_scalar", np.float32(127.5))
    times = build.weight("_mulscalar0_scalar", np.float32(1 / 128))
    x = build.add("Sub", ["data", minus], "_minusscalar0", "_minusscalar0")
    x = build.add("Mul", [x, times], "_mulscalar0", "_mulscalar0")
    _regressor(build, x, "fc1", channels=4, kernel=48, cells=16, width=212, seed=seed)
    return build.model({"data": ["None", 3, 192, 192]}, {"fc1": [1, 212]})


def landmark_pfld98(seed: int = 0) -> onnx.ModelProto:
    """PFLD-GhostNet: `input` [1, 3, 112, 112] -> `output` [1, 196]."""
    build = _Builder()
    _regressor(build, "input", "output", channels=4, kernel=28, cells=16, width=196, seed=seed)
    return build.model({"input": [1, 3, 112, 112]}, {"output": [1, 196]})


def arcface_iresnet(
    seed: int = 0, channels: int = 32, output: str = "683", batch: int | str = "None"
) -> onnx.ModelProto:
    """w600k_r50: `input.1` [None, 3, 112, 112] -> map `bn2` [N, C, 7, 7] -> `683` [N, 512]."""
    rng = np.random.default_rng(seed)
    build = _Builder()
    weight = rng.normal(0, 0.05, (channels, 3, 16, 16))
    x = build.conv("input.1", "features", weight, np.zeros(channels), strides=[16, 16])
    x = _batch_norm(build, x, "bn2", channels, rng)
    x = build.add("Flatten", [x], "flat", axis=1)
    matrix = rng.normal(0, 0.03, (512, channels * 49)).astype(np.float32)
    bias = np.zeros(512, np.float32)
    x = build.add(
        "Gemm", [x, build.weight("fc.w", matrix), build.weight("fc.b", bias)], "fc", transB=1
    )
    _batch_norm(build, x, output, 512, rng)
    return build.model({"input.1": [batch, 3, 112, 112]}, {output: [batch, 512]})


def arcface_mobilefacenet(
    seed: int = 0, channels: int = 32, output: str = "516", batch: int | str = "None"
) -> onnx.ModelProto:
    """w600k_mbf: a map `features` [N, C, 7, 7], global depthwise convolution -> `516` [N, 512]."""
    rng = np.random.default_rng(seed)
    build = _Builder()
    weight = rng.normal(0, 0.05, (channels, 3, 16, 16))
    x = build.conv("input.1", "conv", weight, np.zeros(channels), strides=[16, 16])
    slope = build.weight("slope", np.full((channels, 1, 1), 0.25, np.float32))
    x = build.add("PRelu", [x, slope], "features")
    depthwise = rng.normal(0, 0.1, (channels, 1, 7, 7))
    x = build.conv(x, "gdc", depthwise, np.zeros(channels), group=channels)
    x = build.conv(x, "linear", rng.normal(0, 0.2, (512, channels, 1, 1)), np.zeros(512))
    build.add("Flatten", [x], output, axis=1)
    return build.model({"input.1": [batch, 3, 112, 112]}, {output: [batch, 512]})


def write_pack(folder: Path, models: dict[str, tuple[str, onnx.ModelProto]], **fields) -> Path:
    """Write a pack: `models` maps role to (kind, graph), `fields` adds lines by `role__key`.

    Shapes: `fields` such as `detector__input_px=96`. Returns the folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lines = [f"name: {folder.name}", "license: MIT", "notice: for tests", "url: none", "models:"]
    for role, (kind, model) in models.items():
        data = model.SerializeToString()
        (folder / f"{role}.onnx").write_bytes(data)
        lines += [f"  {role}:", f"    file: {role}.onnx", f"    kind: '{kind}'"]
        lines.append(f"    sha256: {hashlib.sha256(data).hexdigest()}")
        for key, value in fields.items():
            owner, _, field = key.partition("__")
            if owner == role:
                lines.append(f"    {field}: {value}")
    (folder / "pack.yaml").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def small_pack(folder: Path, det_px: int = 128) -> Path:
    """A whole pack in InsightFace's form: SCRFD, 2d106det, ArcFace with a 32x7x7 map."""
    models = {
        "detector": ("scrfd", scrfd()),
        "landmark": ("2d106", landmark_2d106()),
        "embedding": ("arcface", arcface_iresnet()),
    }
    return write_pack(folder, models, detector__input_px=det_px)


def small_open_pack(folder: Path, det_px: int = 128) -> Path:
    """A whole pack in the form of `open`: YuNet, PFLD-98, MobileFaceNet, batch fixed at 1."""
    models = {
        "detector": ("yunet", yunet()),
        "landmark": ("pfld98", landmark_pfld98()),
        "embedding": ("arcface", arcface_mobilefacenet(batch=1)),
    }
    return write_pack(
        folder, models, detector__input_px=det_px, landmark__mean=0.0, landmark__std=255.0
    )


def _rows(build: _Builder, x: str, width: int) -> str:
    """SCRFD's ending: `[1, A * width, h, w] -> [h * w * A, width]`."""
    turned = build.add("Transpose", [x], f"{x}.t", perm=[2, 3, 0, 1])
    shape = build.weight(f"{x}.shape", np.array([-1, width], np.int64))
    return build.add("Reshape", [turned, shape], f"{x}.rows")


def _constant_rows(
    build: _Builder, stride: int, output: str, values: np.ndarray, width: int
) -> None:
    zero = np.zeros((len(values), 3, stride, stride))
    x = build.conv("input.1", f"{output}.map", zero, values, strides=[stride, stride])
    turned = build.add("Transpose", [x], f"{output}.t", perm=[2, 3, 0, 1])
    shape = build.weight(f"{output}.shape", np.array([-1, width], np.int64))
    build.add("Reshape", [turned, shape], output)


def _batch_rows(
    build: _Builder, x: str, width: int, suffix: str = "", output: str | None = None
) -> str:
    """YuNet's ending: `[N, width, h, w] -> [N, h * w, width]`."""
    turned = build.add("Transpose", [x], f"{x}.t{suffix}", perm=[0, 2, 3, 1])
    shape = build.weight(f"{x}.shape{suffix}", np.array([0, -1, width], np.int64))
    return build.add("Reshape", [turned, shape], output or f"{x}.rows{suffix}")


def _regressor(
    build: _Builder,
    x: str,
    output: str,
    *,
    channels: int,
    kernel: int,
    cells: int,
    width: int,
    seed: int,
) -> None:
    """One convolution over `cells` positions and one fully connected layer, random weights."""
    rng = np.random.default_rng(seed)
    weight = rng.normal(0, 0.02, (channels, 3, kernel, kernel))
    x = build.conv(x, f"{output}.conv", weight, np.zeros(channels), strides=[kernel, kernel])
    x = build.add("Flatten", [x], f"{output}.flat", axis=1)
    matrix = build.weight(
        f"{output}.w", rng.normal(0, 0.1, (width, channels * cells)).astype(np.float32)
    )
    bias = build.weight(f"{output}.b", rng.uniform(-0.5, 0.5, width).astype(np.float32))
    build.add("Gemm", [x, matrix, bias], output, transB=1)


def _batch_norm(
    build: _Builder, x: str, output: str, channels: int, rng: np.random.Generator
) -> str:
    names = [
        build.weight(f"{output}.{part}", values.astype(np.float32))
        for part, values in (
            ("gamma", rng.uniform(0.5, 1.5, channels)),
            ("beta", rng.normal(0, 0.1, channels)),
            ("mean", rng.normal(0, 0.1, channels)),
            ("var", rng.uniform(0.5, 1.5, channels)),
        )
    ]
    return build.add("BatchNormalization", [x, *names], output)


def with_softsign(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same graph on softsign(input): a node that no face network has."""
    source = model.graph.input[0].name
    for node in model.graph.node:
        for place, name in enumerate(node.input):
            node.input[place] = "squashed" if name == source else name
    model.graph.node.insert(0, helper.make_node("Softsign", [source], ["squashed"], "squash"))
    onnx.checker.check_model(model)
    return model
