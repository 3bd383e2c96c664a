"""Feature extraction: torch in bfloat16 against ONNX Runtime, and vision transformers against timm.

All are what the appearance stage runs: uint8 crops in, embeddings and last maps out, random
weights, rounds interleaved in one process. Of a CNN, torch in bfloat16 stands beside ONNX Runtime
in float32; of a vision transformer, ours beside timm's network, which is called on crops that are
normalized already. Beside the crops a second stand the multiply-adds of a crop and what the device
does at most, a square matrix product in the same number format.

    python benchmarks/features.py [--arch iresnet50] [--batch 16] [--rounds 9] [--threads 1]
                                  [--device cpu|cuda] [--out FILE]
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from common import REPOSITORY, heading, table, write_out
from multiply_adds import multiply_adds, peak

from arpgnet.models.iresnet import CROP_PX
from arpgnet.models.vit import VIT_SHAPES, VitShape
from arpgnet.pipeline.networks.appearance import AppearanceNetwork
from arpgnet.pipeline.networks.backbones import ARCHITECTURES
from arpgnet.pipeline.networks.image_network import GraphNetwork
from arpgnet.pipeline.networks.packs import ModelSpec
from arpgnet.pipeline.networks.preprocessing import normalization
from arpgnet.pipeline.networks.sessions import find_map_tensor, load_graph

# uint8 crops -> embeddings first
Way = Callable[[np.ndarray], list[np.ndarray]]
Ways = dict[str, tuple[str, Way]]


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
        if args.arch in VIT_SHAPES:
            ways, adds = vit_ways(args, Path(folder))
        else:
            ways, adds = graph_ways(args, Path(folder))
    side = VIT_SHAPES[args.arch].input_px if args.arch in VIT_SHAPES else CROP_PX
    crops = np.random.default_rng(0).integers(0, 256, (args.batch, side, side, 3), np.uint8)
    found = [way(crops)[0] for _, way in ways.values()]
    alike = min(closeness(found[0], other) for other in found[1:])
    # of one thread CPU time, which other load on the machine disturbs less
    alone = args.device == "cpu" and args.threads == 1
    clock = time.process_time if alone else time.perf_counter
    seconds = interleaved(ways, crops, args.rounds, clock)
    peaks = {
        "fp32": bound(torch.float32, args.device, args.threads, clock),
        "bf16": bound(torch.bfloat16, args.device, args.threads, clock),
    }
    slow = next(iter(seconds.values()))
    rows = [
        (
            way,
            f"{args.batch / seconds[way]:.1f}",
            f"{slow / seconds[way]:.2f}",
            f"{peaks[precision] / 1e9:.0f}",
            f"{peaks[precision] / adds:.1f}",
            f"{100 * args.batch / seconds[way] * adds / peaks[precision]:.0f} %",
        )
        for way, (precision, _) in ways.items()
    ]
    header = ("", "crops/s", "times", "bound, 10⁹ multiply-adds/s", "bound, crops/s", "share")
    title = f"Features of {args.arch} (random weights), {args.device}"
    other = "timm" if args.arch in VIT_SHAPES else "onnxruntime"
    text = heading(title, ("torch", other), "benchmarks/features.py")
    text += (
        f"- {args.batch} crops at once, {args.threads} thread(s) each, fastest of {args.rounds} "
        f"interleaved rounds, {'CPU' if alone else 'wall'} time; "
        f"{adds / 1e9:.2f} x 10⁹ multiply-adds a crop.\n"
        f"- Smallest cosine between a crop's embeddings of the ways: {alike:.5f}.\n\n"
    )
    write_out(text + table(header, rows), args.out)


def graph_ways(args: argparse.Namespace, folder: Path) -> tuple[Ways, int]:
    """A CNN in ONNX Runtime and in torch, and its multiply-adds."""
    spec = random_spec(args.arch, folder)
    graph = load_graph(spec.path)
    tensor, _ = find_map_tensor(graph)
    networks = {
        precision: GraphNetwork(
            spec,
            batch=args.batch,
            device=args.device,
            threads=args.threads,
            extra_outputs=[tensor],
            precision=precision,
        )
        for precision in ("fp32", "bf16")
    }
    assert networks["bf16"].in_torch
    ways: Ways = {
        "ONNX Runtime, float32": ("fp32", networks["fp32"].run),
        "torch, bfloat16": ("bf16", networks["bf16"].run),
    }
    return ways, multiply_adds(graph, CROP_PX, CROP_PX)


def vit_ways(args: argparse.Namespace, folder: Path) -> tuple[Ways, int]:
    """A vision transformer of timm and ours, in two number formats each, and its multiply-adds."""
    sys.path.insert(0, str(REPOSITORY / "tests"))
    from helpers.timm_models import timm

    torch.manual_seed(0)
    torch.set_num_threads(args.threads)
    shape = VIT_SHAPES[args.arch]
    theirs = timm().create_model(args.arch, num_classes=0).eval()
    path = folder / "net.pth"
    torch.save(theirs.state_dict(), path)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    rest = [None] * 3
    spec = ModelSpec(
        *("embedding", path, sha256, "arcface", shape.input_px, "rgb", None, None),
        *rest,
        arch=args.arch,
        pool="token",
    )
    ways: Ways = {}
    for precision, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        network = timm().create_model(args.arch, num_classes=0).eval()
        network.load_state_dict(theirs.state_dict())
        plain = plainly(network.to(args.device, dtype), spec, dtype, args.device)
        ours = AppearanceNetwork(
            spec,
            batch=args.batch,
            device=args.device,
            threads=args.threads,
            precision=precision,  # type: ignore[arg-type]
        )
        name = str(dtype).removeprefix("torch.")
        ways[f"timm, {name}"] = (precision, plain)
        ways[f"ours, {name}"] = (precision, lambda crops, ours=ours: list(ours.describe(crops)))
    return ways, vit_multiply_adds(shape)


def plainly(network: torch.nn.Module, spec: ModelSpec, dtype: torch.dtype, device: str) -> Way:
    """timm's forward pass alone, on crops that were normalized before: its best case."""
    kept: dict[int, torch.Tensor] = {}

    @torch.inference_mode()
    def run(crops: np.ndarray) -> list[np.ndarray]:
        if id(crops) not in kept:
            fed = normalization(spec).model_input(crops)
            kept[id(crops)] = torch.from_numpy(fed).contiguous().to(device, dtype)
        return [network(kept[id(crops)]).float().cpu().numpy()]

    return run


def vit_multiply_adds(shape: VitShape) -> int:
    """Of the patches, and of each block's qkv, scores, mixture, projection and MLP."""
    patches = (shape.input_px // shape.patch_px) ** 2
    tokens = patches + 1
    block = 12 * tokens * shape.dim**2 + 2 * tokens**2 * shape.dim
    return patches * shape.dim * 3 * shape.patch_px**2 + shape.depth * block


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
    ways: Ways, crops: np.ndarray, rounds: int, clock: Callable[[], float]
) -> dict[str, float]:
    """Seconds of a batch, the shortest of all rounds: the bound is a best one too."""
    times: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(rounds):
        for way, (_, run) in ways.items():
            start = clock()
            run(crops)
            times[way].append(clock() - start)
    return {way: min(values) for way, values in times.items()}


def closeness(one: np.ndarray, other: np.ndarray) -> float:
    """Smallest cosine between the embeddings of a crop."""
    a, b = one.reshape(len(one), -1), other.reshape(len(other), -1)
    cosine = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    return float(cosine.min())


def bound(dtype: torch.dtype, device: str, threads: int, clock: Callable[[], float]) -> float:
    """Multiply-adds a second in a square matrix product."""
    if device == "cpu":
        return peak(dtype, clock=clock) * threads
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
