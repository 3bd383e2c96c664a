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
START_S = 90.0


# of a node, which ends when they have not told their ports after 15 s, as on busy cores may be
# (ray-project/ray issue 65983), unless it knows the ports beforehand
HELPERS = (
    "dashboard-agent-listen-port",
    "dashboard-agent-grpc-port",
    "runtime-env-agent-port",
    "metrics-export-port",
)


class Node:
    """One `ray start`: the processes of a machine."""

    def __init__(
        self, number: int, folder: Path, environment: dict[str, str], *arguments: str
    ) -> None:
        self.ip = f"127.0.0.{number}"
        command = ["ray", "start", "--block", f"--node-ip-address={self.ip}", *arguments]
        command += ["--object-store-memory=80000000", "--disable-usage-stats"]
        command += [f"--{name}={free_port(self.ip)}" for name in HELPERS]
        program = Path(sys.executable).with_name(command[0])
        self._log = folder / f"node{number}.log"
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                [str(program), *command[1:]],
                env=environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def wait(self) -> None:
        """Until it belongs to the cluster."""
        end = time.monotonic() + START_S
        while "Ray runtime started" not in (said := self._log.read_text()):
            assert self._process.poll() is None, f"the node {self.ip} ended: {said[-2000:]}"
            assert time.monotonic() < end, f"the node {self.ip} does not start: {said[-2000:]}"
            time.sleep(0.2)

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
        self._folder = folder
        port = free_port("127.0.0.1")
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
        self.nodes = [Node(1, folder, self.environment, *head, "--include-dashboard=false")]
        self.nodes[0].wait()

    def add(self, count: int = 1) -> None:
        """More machines, of one CPU each."""
        arguments = f"--address={self.address}", "--num-cpus=1"
        for _ in range(count):
            number = len(self.nodes) + 1
            self.nodes.append(Node(number, self._folder, self.environment, *arguments))
        for node in self.nodes[-count:]:
            node.wait()

    def close(self) -> None:
        for node in reversed(self.nodes):
            node.kill()


def free_port(ip: str) -> int:
    with socket.socket() as free:
        free.bind((ip, 0))
        return int(free.getsockname()[1])


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
