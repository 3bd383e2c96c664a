"""Items to workers: processes of this machine or of a cluster's, as `engine.name` says."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from typing import Any

from arpgnet.pipeline.common.params import EngineParams
from arpgnet.pipeline.runner.cluster.run import Fleet, run_on_ray
from arpgnet.pipeline.runner.workers import Job, Limits, cores, run_in_workers


def crew(engine: EngineParams) -> tuple[int, Limits]:
    """How many workers of this machine, and when one is ended."""
    count = cores() if engine.workers == "auto" else engine.workers
    return count, Limits(engine.clip_timeout_s, engine.worker_memory_mb)


def processes_here(engine: EngineParams, threads: int = 1) -> int:
    """How many processes of so many threads each this machine is to run: `engine.workers`, or as
    many as it has cores for; those of a cluster are none of it."""
    if engine.name == "local" and engine.workers != "auto":
        return engine.workers
    return max(1, cores() // threads)


def spread(
    job: Job,
    items: Iterable[Any],
    engine: EngineParams,
    *,
    note: Callable[[str], None],
    limits: Limits | None = None,
) -> Generator[tuple[Any, Any], None, None]:
    """Yield (item, result, Crashed or TimedOut) as they are finished, in no fixed order.

    Args:
        note: tells whoever watches what became of a machine.
        limits: the engine's own, those of a clip, when absent.

    Raises:
        UserError: raised by the job; workers do not start, or the cluster has none.
        WorkerError: any other exception in the job.
    """
    count, own = crew(engine)
    limits = own if limits is None else limits
    if engine.name == "local":
        return run_in_workers(job, items, count, limits)
    workers = None if engine.workers == "auto" else engine.workers
    fleet = Fleet(engine.address, workers, engine.gpus_per_worker)
    return run_on_ray(job, items, fleet, limits, cores=count, note=note)
