"""The actor of a Ray cluster: one worker process of the local engine, on some machine.

What a clip may do to its worker (die, hang, swell) is dealt with on that machine by the code that
the local engine uses, so that the death of an actor means that of its machine, and no clip is
blamed for it.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.runner.workers import Job, Limits, WorkerError, WorkerPool
from arpgnet.pipeline.store import project_version

# where weights and the store are found goes with the work; secrets do not: each machine has its own
_SETTINGS = (
    "ARPGNET_MODELS",
    "ARPGNET_STORE_TIMEOUT_S",
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_S3",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
    "AWS_PROFILE",
    "STORAGE_EMULATOR_HOST",
)

# of an answer: a result, or an error as text
Answer = tuple[str, Any]


def our_version() -> str:
    """Return the digest of all code that a result may depend on."""
    return project_version()


def our_settings() -> dict[str, str]:
    """Return the settings of the environment where the run was started."""
    return {name: os.environ[name] for name in _SETTINGS if name in os.environ}


class Host:
    """Does items one at a time.

    Args:
        folder: the project's, which the paths of a work begin at.
        version: `our_version` where the run was started.
        settings: `our_settings` there; what the machine sets itself stays.
    """

    def __init__(
        self, job: Job, limits: Limits, folder: Path, version: str, settings: dict[str, str]
    ) -> None:
        for name, value in settings.items():
            os.environ.setdefault(name, value)
        self._folder, self._version = folder, version
        self._pool = WorkerPool(job, 1, limits)

    def ready(self) -> Answer:
        """Check whether this machine can do the work at all."""
        where = socket.gethostname()
        try:
            os.chdir(self._folder)
        except OSError as error:
            return "user error", (
                f"machine {where} of the cluster cannot enter {self._folder} ({error.strerror}): "
                "the project, the data set and the weights must lie where every machine sees them"
            )
        if our_version() != self._version:
            return "user error", (
                f"machine {where} of the cluster has another version of arpgnet: install the one "
                "of this project on every machine, and restart the cluster"
            )
        return "ready", None

    def do(self, item: Any) -> Answer:
        """Return one item's result, Crashed or TimedOut; an error as its text."""
        try:
            ((_, result),) = self._pool.run([item])
        except UserError as error:
            return "user error", str(error)
        except WorkerError as error:
            return "error", str(error)
        return "result", result
