"""A Ray cluster of several nodes on this machine, each with its own address, that can be killed."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

REPOSITORY = Path(__file__).parents[1]


class Node:
    """One `ray start`: the processes of a machine."""

    def __init__(self, number: int, environment: dict[str, str], *arguments: str) -> None:
        self.ip = f"127.0.0.{number}"
        command = ["ray", "start", "--block", f"--node-ip-address={self.ip}", *arguments]
        command += ["--object-store-memory=80000000", "--disable-usage-stats"]
        program = Path(sys.executable).with_name(command[0])
        self._process = subprocess.Popen(
            [str(program), *command[1:]],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def kill(self) -> None:
        """As when its power goes: all of its processes at once, without a word."""
        with contextlib.suppress(psutil.NoSuchProcess):
            ours = psutil.Process(self._process.pid)
            # the first one would start others anew, or tell the cluster
            ours.suspend()
            for process in [ours, *ours.children(recursive=True)]:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
        self._process.wait()


class Cluster:
    """A head without CPUs for work, and nodes."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.address = f"127.0.0.1:{port}"
        self.environment = {
            **os.environ,
            "PYTHONPATH": f"{REPOSITORY}:{REPOSITORY / 'tests'}",
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": secrets.token_hex(32),
            "RAY_USAGE_STATS_ENABLED": "0",
            # a dead node, which refuses, is given up after 3 s, and a slow one is not
            "RAY_health_check_period_ms": "1000",
            "RAY_health_check_timeout_ms": "20000",
            "RAY_health_check_failure_threshold": "3",
        }
        head = ["--head", f"--port={port}", "--num-cpus=0", f"--temp-dir={folder}"]
        self.nodes = [Node(1, self.environment, *head, "--include-dashboard=false")]
        self._wait(port)

    def add(self, cpus: int = 1) -> Node:
        """One more machine."""
        arguments = f"--address={self.address}", f"--num-cpus={cpus}"
        self.nodes.append(Node(len(self.nodes) + 1, self.environment, *arguments))
        return self.nodes[-1]

    def close(self) -> None:
        for node in reversed(self.nodes):
            node.kill()

    @staticmethod
    def _wait(port: int) -> None:
        end = time.monotonic() + 30
        while time.monotonic() < end:
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", port), 1).close()
                return
            time.sleep(0.2)
        raise AssertionError("the head of the cluster does not start")


@contextlib.contextmanager
def cluster() -> Iterator[Cluster]:
    # short, for the sockets' paths in it may have 107 characters
    folder = tempfile.mkdtemp(prefix="ray-")
    made = Cluster(Path(folder))
    try:
        yield made
    finally:
        made.close()
        shutil.rmtree(folder, ignore_errors=True)
