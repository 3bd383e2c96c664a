"""Feature extraction with IResNet-50: torch in bfloat16 against ONNX Runtime in float32.

Both are what the appearance stage runs (`GraphNetwork`): uint8 crops in,
embeddings and last maps out, random weights, rounds interleaved in one process. Beside the crops
a second stand the multiply-adds of a crop and what the device does at most, a square matrix product
in the same number format.

    python benchmarks/features.py [--arch iresnet50] [--batch 16] [--rounds 9] [--threads 1]
                                  [--device cpu|cuda] [--out FILE]
"""

from __future__ import annotations

import argparse
import hashlib
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import torch
from common import heading, table, write_out
from multiply_adds import multiply_adds, peak

from arpgnet.pipeline.networks.backbones import ARCHITECTURES
from arpgnet.pipeline.networks.image_network import GraphNetwork
from arpgnet.pipeline.networks.packs import ModelSpec
from arpgnet.pipeline.networks.sessions import find_map_tensor, load_graph

CROP_PX = 112
WAYS = {"ONNX Runtime, float32": "fp32", "torch, bfloat16": "bf16"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--arch", choices=list(ARCHITECTURES), default="iresnet50")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        spec = random_spec(args.arch, Path(folder))
        tensor, _ = find_map_tensor(load_graph(spec.path))
        networks = {
            way: GraphNetwork(
                spec,
                batch=args.batch,
                device=args.device,
                threads=args.threads,
                extra_outputs=[tensor],
                precision=precision,
            )
            for way, precision in WAYS.items()
        }
        adds = multiply_adds(load_graph(spec.path), CROP_PX, CROP_PX)
    crops = np.random.default_rng(0).integers(0, 256, (args.batch, CROP_PX, CROP_PX, 3), np.uint8)
    assert networks["torch, bfloat16"].in_torch
    alike = closeness(*(network.run(crops) for network in networks.values()))
    seconds = interleaved(networks, crops, args.rounds)
    peaks = {
        "fp32": bound(torch.float32, args.device, args.threads),
        "bf16": bound(torch.bfloat16, args.device, args.threads),
    }
    rows = []
    slow = seconds["ONNX Runtime, float32"]
    for way, precision in WAYS.items():
        rate = args.batch / seconds[way]
        rows.append(
            (
                way,
                f"{rate:.1f}",
                f"{slow / seconds[way]:.2f}",
                f"{peaks[precision] / 1e9:.0f}",
                f"{peaks[precision] / adds:.1f}",
                f"{100 * rate * adds / peaks[precision]:.0f} %",
            )
        )
    header = ("", "crops/s", "times", "bound, 10⁹ multiply-adds/s", "bound, crops/s", "share")
    title = f"Features of {args.arch} (random weights), {args.device}"
    text = heading(title, ("torch", "onnxruntime"), "benchmarks/features.py")
    text += (
        f"- {args.batch} crops at once, {args.threads} thread(s) each, fastest of {args.rounds} "
        f"interleaved rounds; {adds / 1e9:.2f} x 10⁹ multiply-adds a crop.\n"
        f"- Smallest cosine between a crop's embeddings of the two ways: {alike:.5f}.\n\n"
    )
    write_out(text + table(header, rows), args.out)


def random_spec(arch: str, folder: Path) -> ModelSpec:
    """A network with random weights that keep its values near 1, as a pack would hold it."""
    torch.manual_seed(0)
    network = ARCHITECTURES[arch]()
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, torch.nn.Conv2d):
                torch.nn.init.kaiming_normal_(module.weight)
        for name, weight in network.named_parameters():
            if name.endswith("bn3.weight"):
                weight.fill_(0.3)
    path = folder / "net.onnx"
    with warnings.catch_warnings():
        # the newer exporter needs onnxscript, which is not a dependency
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            network.eval(),
            (torch.zeros(2, 3, CROP_PX, CROP_PX),),
            str(path),
            input_names=["data"],
            output_names=["embedding", "map"],
            dynamic_axes={name: {0: "batch"} for name in ("data", "embedding", "map")},
            dynamo=False,
        )
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    mean = (127.5, 127.5, 127.5)
    return ModelSpec("embedding", path, sha256, "arcface", CROP_PX, "rgb", mean, mean, *[None] * 3)


def interleaved(
    networks: dict[str, GraphNetwork], crops: np.ndarray, rounds: int
) -> dict[str, float]:
    """Seconds of a batch, the shortest of all rounds: the bound is a best one too."""
    times: dict[str, list[float]] = {way: [] for way in networks}
    for _ in range(rounds):
        for way, network in networks.items():
            start = time.perf_counter()
            network.run(crops)
            times[way].append(time.perf_counter() - start)
    return {way: min(values) for way, values in times.items()}


def closeness(one: list[np.ndarray], other: list[np.ndarray]) -> float:
    """Smallest cosine between the embeddings of a crop."""
    a, b = one[0].reshape(len(one[0]), -1), other[0].reshape(len(other[0]), -1)
    cosine = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    return float(cosine.min())


def bound(dtype: torch.dtype, device: str, threads: int) -> float:
    """Multiply-adds a second in a square matrix product."""
    if device == "cpu":
        return peak(dtype) * threads
    side, rounds = 8192, 20
    a = torch.randn(side, side, device=device, dtype=dtype)
    for _ in range(3):
        _ = a @ a
    torch.cuda.synchronize()
    start = time.perf_counter()
    for _ in range(rounds):
        _ = a @ a
    torch.cuda.synchronize()
    return rounds * side**3 / (time.perf_counter() - start)


if __name__ == "__main__":
    main()
