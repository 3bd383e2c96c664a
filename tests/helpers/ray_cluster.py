"""A Ray cluster of several nodes on this machine, each with its own address, that can be killed."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from helpers.support import free_port

REPOSITORY = Path(__file__).parents[2]
STARTS = 3
START_S = 60.0


class Node:
    """One `ray start`: the processes of a machine.

    Its helpers have 15 s to tell their ports (ray-project/ray issue 65983); on busy cores they may
    need longer, and the node ends: it is then started again.
    """

    def __init__(
        self, number: int, folder: Path, environment: dict[str, str], *arguments: str
    ) -> None:
        self.ip = f"127.0.0.{number}"
        self._log = folder / f"node{number}.log"
        self._environment = environment
        program = Path(sys.executable).with_name("ray")
        self._command = [str(program), "start", "--block", f"--node-ip-address={self.ip}"]
        self._command += [*arguments, "--object-store-memory=80000000", "--disable-usage-stats"]
        for _ in range(STARTS):
            self._start()
            if self._belongs():
                return
            self.kill()
        raise AssertionError(f"the node {self.ip} does not start: {self._log.read_text()[-2000:]}")

    def _start(self) -> None:
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                self._command,
                env=self._environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _belongs(self) -> bool:
        """Whether it has become a part of the cluster; waits for that."""
        end = time.monotonic() + START_S
        while time.monotonic() < end and self._process.poll() is None:
            if "Ray runtime started" in self._log.read_text():
                return True
            time.sleep(0.2)
        return False

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
        port = free_port()
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

    def add(self, count: int = 1) -> None:
        """More machines, of one CPU each."""
        arguments = f"--address={self.address}", "--num-cpus=1"
        for _ in range(count):
            number = len(self.nodes) + 1
            self.nodes.append(Node(number, self._folder, self.environment, *arguments))

    def close(self) -> None:
        for node in reversed(self.nodes):
            node.kill()


@dataclass(frozen=True)
class Environment:
    """A job that tells what a worker's environment says."""

    def start(self) -> None: ...

    def do(self, item: str) -> str | None:
        return os.environ.get(item)


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
