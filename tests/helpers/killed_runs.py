"""`dvc repro` that is ended with SIGKILL."""

import contextlib
import os
import signal
import subprocess
import time

import psutil

from arpgnet.pipeline.cli.dvc_files import remove_damaged
from helpers.support import Workspace

PATIENCE_S = 300.0
LOG = "repro.log"


def begin(workspace: Workspace) -> subprocess.Popen[bytes]:
    """`dvc repro`, as `make repro` runs it; what it prints is in `repro.log` of the project."""
    remove_damaged(workspace.root)
    with (workspace.root / LOG).open("wb") as log:
        return subprocess.Popen(
            ["dvc", "repro"],
            cwd=workspace.root,
            env=workspace.environment,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def children(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(process.pid).children(recursive=True)
    return []


def stage_of(processes: list[psutil.Process]) -> tuple[str, psutil.Process | None]:
    """The stage that runs, and its main process."""
    for one in processes:
        with contextlib.suppress(psutil.Error):
            words = " ".join(one.cmdline())
            if "-m arpgnet.stages." in words and not words.startswith("/bin/sh"):
                return words.split("-m arpgnet.stages.")[1].split()[0], one
    return "(dvc)", None


def wait_for(process: subprocess.Popen[bytes], stage: str) -> None:
    """Until the stage runs, or all is over."""
    while process.poll() is None and stage_of(children(process))[0] != stage:
        time.sleep(0.1)  # to look takes 5 ms and more


def kill(process: subprocess.Popen[bytes], everything: bool) -> tuple[str, str]:
    """End the whole session at once, or the stage alone and let dvc and the workers find out."""
    processes = children(process)
    stage, main = stage_of(processes)
    victim = "everything"
    if everything or main is None:
        os.killpg(process.pid, signal.SIGKILL)
    else:
        victim = "the stage alone"
        with contextlib.suppress(psutil.NoSuchProcess):
            main.kill()
    process.wait(PATIENCE_S)
    # workers whose parent is gone end by themselves
    _, alive = psutil.wait_procs(processes, timeout=30)
    assert not alive, "a worker went on without its parent"
    return stage, victim
