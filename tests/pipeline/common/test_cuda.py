"""A run that is asked for CUDA never falls back to the CPU in silence."""

import pytest
import torch

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.common.gpus import use_cuda
from arpgnet.pipeline.common.params import TrainParams
from arpgnet.pipeline.training.device import resolve_device


@pytest.fixture
def no_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


@pytest.mark.usefixtures("no_device")
@pytest.mark.parametrize(
    ("cuda", "reason"),
    [(None, "is a build without CUDA: install a CUDA build"), ("13.0", "sees no CUDA device")],
)
def test_the_reason_is_said(cuda: str | None, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.version, "cuda", cuda)
    with pytest.raises(UserError, match=f"^faces.device: cuda, but .*{reason}"):
        use_cuda("cuda", "faces.device")
    with pytest.raises(UserError, match=f"^train.device: cuda, but .*{reason}"):
        resolve_device(TrainParams(device="cuda"))


@pytest.mark.usefixtures("no_device")
def test_auto_takes_the_cpu() -> None:
    assert not use_cuda("auto", "train.device")
    assert resolve_device(TrainParams()) == ("cpu", "32-true")


def test_cpu_is_never_overruled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert use_cuda("auto", "train.device")
    assert not use_cuda("cpu", "train.device")
