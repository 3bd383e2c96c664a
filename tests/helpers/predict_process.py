"""`arpgnet predict` as a process that can be interrupted."""

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path


def default_ctrl_c() -> None:
    # what runs in the background of a shell ignores it
    signal.signal(signal.SIGINT, signal.default_int_handler)


def start_predict(
    workspace: Path,
    *arguments: str | Path,
    window: float = 0.6,
    before: Callable[[], None] = default_ctrl_c,
) -> subprocess.Popen[str]:
    """In a session of its own; `before` is called in the process before it begins."""
    words = ["predict", "--model", str(workspace), "--window", str(window), *map(str, arguments)]
    return subprocess.Popen(
        [sys.executable, "-c", "from arpgnet.pipeline.cli.main import main; main()", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=before,
    )
