"""A checkpoint of torch as an ONNX graph, so that all that follows knows one kind of file."""

from __future__ import annotations

import warnings
from pathlib import Path

from arpgnet.pipeline.common.files import replacing
from arpgnet.pipeline.store import code_version, digest, store_root

FOLDER = "graphs"  # in the store's folder
_OPSET = 17


def graph_key(arch: str, sha256: str) -> str:
    """Identify the graph that a checkpoint becomes: its bytes, its network, and the code."""
    return digest(sha256, arch, code_version(__name__), _OPSET)


def graph_of_checkpoint(path: Path, arch: str, sha256: str) -> Path:
    """Return the graph's file; written on the first call, 8 s for IResNet-50.

    Args:
        path: the checkpoint, see `pipeline.networks.backbones.load_backbone`.
        arch: of its network.
        sha256: of the checkpoint.

    Raises:
        UserError: it does not hold the network's weights, or the graph cannot be written.
    """
    graph = store_root() / FOLDER / f"{graph_key(arch, sha256)}.onnx"
    if not graph.is_file():
        _export(path, arch, graph)
    return graph


def _export(path: Path, arch: str, graph: Path) -> None:
    import torch

    from arpgnet.models.iresnet import CROP_PX
    from arpgnet.pipeline.networks.backbones import load_backbone

    class Embedding(torch.nn.Module):
        """Without the map, which is found in the graph as in any other."""

        def __init__(self, network: torch.nn.Module) -> None:
            super().__init__()
            self.network = network

        def forward(self, crop: torch.Tensor) -> torch.Tensor:
            return self.network(crop)[0]

    network = Embedding(load_backbone(arch, path)).eval()
    with replacing(graph) as fresh, warnings.catch_warnings():
        # the newer exporter needs onnxscript, which is not a dependency
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            network,
            (torch.zeros(2, 3, CROP_PX, CROP_PX),),
            str(fresh),
            input_names=["data"],
            output_names=["embedding"],
            dynamic_axes={"data": {0: "batch"}, "embedding": {0: "batch"}},
            opset_version=_OPSET,
            dynamo=False,
        )
