"""Networks with random weights, exported as InsightFace exports its own."""

import io
import warnings
from pathlib import Path

import onnx
import torch
from torch import nn


def random_network(network: nn.Module, seed: int = 0) -> nn.Module:
    """In evaluation mode, with batch norms that do something and values that stay near 1."""
    draws = torch.Generator().manual_seed(seed)

    def uniform(tensor: torch.Tensor, low: float, high: float) -> None:
        tensor.copy_(torch.rand(tensor.shape, generator=draws) * (high - low) + low)

    with torch.no_grad():
        for name, module in network.named_modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                # the end of a block adds little to what it is added to
                top = 0.4 if name.endswith("bn3") else 1.2
                uniform(module.weight, top / 2, top)
                uniform(module.bias, -0.1, 0.1)
                uniform(module.running_mean, -0.1, 0.1)
                uniform(module.running_var, 0.7, 1.5)
            elif isinstance(module, nn.Conv2d | nn.Linear):
                spread = module.weight[0].numel() ** -0.5
                uniform(module.weight, -1.7 * spread, 1.7 * spread)
            elif isinstance(module, nn.PReLU):
                uniform(module.weight, 0.0, 0.3)
    return network.eval()


class _First(nn.Module):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.network(x)[0]


def exported(network: nn.Module, *, folded: bool = True) -> onnx.ModelProto:
    """Its embedding as a graph; `folded` puts batch norms into the convolutions before them."""
    buffer = io.BytesIO()
    mode = torch.onnx.TrainingMode
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            _First(network).eval(),
            (torch.zeros(2, 3, 112, 112),),
            buffer,
            input_names=["data"],
            output_names=["embedding"],
            dynamic_axes={"data": {0: "None"}, "embedding": {0: "None"}},
            opset_version=14,
            training=mode.EVAL if folded else mode.PRESERVE,
            dynamo=False,
        )
    return onnx.load_from_string(buffer.getvalue())


def save(model: onnx.ModelProto, path: Path) -> Path:
    path.write_bytes(model.SerializeToString())
    return path
