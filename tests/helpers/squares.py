"""A stage's work that needs nothing, and clips that misbehave: for tests of the engines."""

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from arpgnet.pipeline.common.errors import ClipError, UserError
from arpgnet.pipeline.runner.assembly import Lost, Part, PartJob, Written
from arpgnet.pipeline.store import digest
from arpgnet.pipeline.tables.manifest import Clip


@dataclass(frozen=True)
class Squares:
    """Three rows per clip; the clip's label says how it misbehaves. Each call leaves a trace."""

    traces: Path
    setting: int = 0
    nap_s: float = 0.0
    stage: ClassVar[str] = "squares"
    schema: ClassVar[pa.Schema] = pa.schema(
        [("clip_id", pa.string()), ("n", pa.int32()), ("noise", pa.float64())]
    )

    def key(self, clip: Clip) -> str:
        return digest(clip.sha256, self.setting)

    def metadata(self) -> dict[str, Any]:
        return {"setting": self.setting}

    def upstream_failure(self, clip: Clip) -> str | None:
        return clip.reason

    def setup(self) -> None:
        (self.traces / f"setup-{os.getpid()}").touch()

    def run(self, clip: Clip) -> Iterator[pa.Table]:
        time.sleep(self.nap_s)
        (self.traces / f"run-{clip.clip_id}-{time.monotonic_ns()}").touch()
        kind = clip.label or ""
        if kind == "bad":
            raise ClipError("no face found")
        if kind == "mistake":
            raise UserError("models are absent: fetch them")
        if kind == "bug":
            raise KeyError("oops")
        if kind == "hangs":
            time.sleep(600)
        if kind == "dies" or (kind == "dies once" and self.count(clip.clip_id) == 1):
            os._exit(7)
        seed = int(digest(clip.sha256)[:8], 16)
        noise = np.random.default_rng(seed).standard_normal(3)
        yield pa.table({"n": pa.array([0, 1, 4], pa.int32()), "noise": noise})

    def count(self, clip_id: str = "*") -> int:
        return len(list(self.traces.glob(f"run-{clip_id}-*")))

    def processes(self) -> int:
        return len(list(self.traces.glob("setup-*")))


class SlowParts(PartJob):
    """Writes no more than five files a second."""

    def do(self, part: Part) -> Written | Lost:
        time.sleep(0.2)
        return super().do(part)


def clips(count: int, **labels: str) -> list[Clip]:
    """Clips c0, c1, ...; `c3="bad"` labels one."""
    names = [f"c{number}" for number in range(count)]
    return [Clip(name, f"{name}.mp4", digest(name), label=labels.get(name)) for name in names]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}
