"""A Ray cluster to work on: one that runs, or one of this machine for as long as it is needed."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import socket
import tempfile
from collections.abc import Iterator
from typing import Any

from arpgnet.pipeline.common.errors import UserError

# the least that Ray accepts, bytes: results go through the store, not through Ray
_OBJECTS = 80 << 20
_ANSWER_S = 5.0
_QUIET = {
    "include_dashboard": False,
    "log_to_driver": False,
    "logging_level": "error",
}


@contextlib.contextmanager
def connected(address: str, workers: int) -> Iterator[Any]:
    """Connect to a cluster and yield the module `ray`.

    Args:
        address: of a running cluster, as Ray writes it (`auto`, `10.0.0.1:6379`); empty: one is
            started on this machine, on loopback only, and ended afterwards.
        workers: CPUs of the one that is started.

    Raises:
        UserError: Ray is not installed, or the cluster does not answer.
    """
    # Ray reads these when it is imported; it would send usage reports to its makers
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if not address and "RAY_AUTH_MODE" not in os.environ:
        # a password for this one; Ray's own way writes one into the home folder
        os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    try:
        import ray
    except ImportError:
        raise UserError(
            "engine.name: ray needs Ray: pip install 'arpgnet[cluster]', or set engine.name: local"
        ) from None
    with contextlib.ExitStack() as stack:
        if address:
            _join(ray, address)
        else:
            _start(ray, workers, stack)
        stack.callback(ray.shutdown)
        yield ray


def _join(ray: Any, address: str) -> None:
    try:
        host, found, port = address.rpartition(":")
        if found and port.isdecimal():
            # Ray itself would try for minutes
            socket.create_connection((host.strip("[]"), int(port)), _ANSWER_S).close()
        ray.init(address=address, **_QUIET)
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        raise UserError(
            f"engine.address: no Ray cluster answers at {address} ({_first_line(error)}): start "
            "one with `ray start --head`, or leave engine.address empty to use this machine"
        ) from None


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def _start(ray: Any, workers: int, stack: contextlib.ExitStack) -> None:
    # short, for the sockets' paths in it may have 107 characters
    folder = tempfile.mkdtemp(prefix="ray-")
    stack.callback(shutil.rmtree, folder, ignore_errors=True)
    try:
        ray.init(
            address="local",
            num_cpus=workers,
            object_store_memory=_OBJECTS,
            _temp_dir=folder,
            _node_ip_address="127.0.0.1",
            **_QUIET,
        )
    except Exception as error:
        # a start that takes too long is a bare Exception
        raise UserError(
            f"Ray does not start ({_first_line(error)}): set engine.name: local"
        ) from None
