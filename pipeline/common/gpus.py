"""Whether torch can use a CUDA device, and if not, why.

Which GPU of this machine a process uses: the one with the fewest others, by locks.

Two runs that begin together (`dvc queue start --jobs 2`, the workers of a stage) would otherwise
both take the first one. A process keeps its seat until it ends, however it ends. Where somebody has
chosen already (Ray, torchrun, a CUDA_VISIBLE_DEVICES with as many as are needed), nothing changes.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import itertools
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from arpgnet.pipeline.common.errors import UserError

VISIBLE = "CUDA_VISIBLE_DEVICES"
FOLDER = Path(tempfile.gettempdir()) / "arpgnet-gpus"
# for `nvidia-smi`, which takes long where a driver hangs
_ANSWER_S = 20.0
# of this process, by GPU: closing one would give the seat back
_SEATS: dict[str, int] = {}


@functools.cache
def choose_gpus(count: int = 1) -> None:
    """Let this process see `count` GPUs only; before anything of CUDA is called."""
    if "LOCAL_RANK" in os.environ:
        return
    gpus = visible_gpus()
    if len(gpus) > count:
        os.environ[VISIBLE] = ",".join(take_seats(gpus, count))


def visible_gpus() -> list[str]:
    """List the machine's GPUs, by UUID, that CUDA_VISIBLE_DEVICES leaves; [] without a driver."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    asked = [program, "--query-gpu=uuid", "--format=csv,noheader"]
    try:
        told = subprocess.run(asked, capture_output=True, text=True, timeout=_ANSWER_S, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    gpus = told.stdout.split()
    chosen = os.environ.get(VISIBLE)
    if chosen is None:
        return gpus
    names = [name.strip() for name in chosen.split(",") if name.strip()]
    by_number = {str(number): gpu for number, gpu in enumerate(gpus)}
    return [by_number.get(name, name) for name in names]


def take_seats(gpus: Sequence[str], count: int, folder: Path = FOLDER) -> list[str]:
    """Take a seat on the `count` GPUs where the fewest processes have one.

    A seat is a lock on a file, which the system gives back when the process is gone.

    Args:
        gpus: more than `count` of them, in the order of preference.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(PermissionError):  # another user's, who has done it
        folder.chmod(0o1777)
    taken: list[str] = []
    for seat in itertools.count():
        for gpu in gpus:
            if len(taken) == count:
                return taken
            if gpu not in taken and (lock := _locked(folder / f"{gpu}.{seat}")) is not None:
                taken.append(gpu)
                _SEATS[gpu] = lock
    raise AssertionError


def _locked(path: Path) -> int | None:
    # a lock needs no right to write, so that other users' files do
    handle = os.open(path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        return None
    return handle


def use_cuda(asked: Literal["auto", "cpu", "cuda"], setting: str, count: int = 1) -> bool:
    """Check whether torch is to compute on a CUDA device; this process then sees `count` of them.

    Args:
        setting: the parameter that asks, for the message.

    Raises:
        UserError: `cuda` is asked for and there is none: a run never falls back in silence.
    """
    import torch

    if asked == "cpu":
        return False
    choose_gpus(count)
    found = torch.cuda.is_available()
    if asked == "cuda" and not found:
        raise UserError(f"{setting}: cuda, but {why_no_cuda()}; or set {setting}: auto or cpu")
    return found


def why_no_cuda() -> str:
    """Return why torch has no CUDA device, and what to do, in words."""
    import torch

    if torch.version.cuda is None:
        remedy = f"{torch.__version__} is a build without CUDA: install a CUDA build (docs/gpu.md)"
    else:
        remedy = "look at `nvidia-smi` and CUDA_VISIBLE_DEVICES"
    return f"torch sees no CUDA device: {remedy}"
