"""How long each stage took on this machine, for the report: beside it, and no part of it.

A script that the page loads if it is there: the page itself has the same bytes in every run.
"""

from __future__ import annotations

import json
import os
import sys
import time
from contextlib import suppress
from pathlib import Path

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.common.files import replacing

# where DVC keeps what belongs to one machine alone: no output, and in no repository
RUN_TIMES = Path(".dvc/tmp/arpgnet_run_times.js")
_BEGIN = "arpgnetRunTimes = "


def note_run_time(stage: str, seconds: float) -> None:
    """Note the last run of a stage; where there is no DVC, or no writing, nothing."""
    if not RUN_TIMES.parent.is_dir():
        return
    times = {}
    with suppress(OSError, ValueError):
        times = json.loads(RUN_TIMES.read_text(encoding="utf-8").removeprefix(_BEGIN))
    times.pop(stage, None)  # the last one that ran is named last
    times[stage] = {
        "ended": time.strftime("%Y-%m-%d %H:%M"),
        "seconds": round(seconds, 1),
        "machine": _machine(),
    }
    with suppress(OSError, UserError), replacing(RUN_TIMES) as fresh:
        fresh.write_text(_BEGIN + json.dumps(times, indent=1), encoding="utf-8")


def _machine() -> str:
    """Say how many cores there are, and which GPU this process has used."""
    used = [f"{os.cpu_count()} cores"]
    # loaded by those stages alone that compute with it
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        used.append(torch.cuda.get_device_name())
    return ", ".join(used)
