"""Dispatch items to workers: processes of this machine or of a cluster, as `engine.name` says."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from typing import Any

from arpgnet.pipeline.common.params import EngineParams
from arpgnet.pipeline.runner.cluster.run import ClusterSpec, run_on_ray
from arpgnet.pipeline.runner.workers import Job, Limits, cores, run_in_workers


def pool_size(engine: EngineParams) -> tuple[int, Limits]:
    """Return how many workers this machine runs, and the limits of each."""
    count = cores() if engine.workers == "auto" else engine.workers
    return count, Limits(engine.clip_timeout_s, engine.worker_memory_mb)


def processes_here(engine: EngineParams, threads: int = 1) -> int:
    """Return how many processes with this many threads each this machine is to run:
    `engine.workers`, or as many as it has cores for; a cluster's workers do not count."""
    if engine.name == "local" and engine.workers != "auto":
        return engine.workers
    return max(1, cores() // threads)


def dispatch(
    job: Job,
    items: Iterable[Any],
    engine: EngineParams,
    *,
    note: Callable[[str], None],
    limits: Limits | None = None,
) -> Generator[tuple[Any, Any], None, None]:
    """Yield (item, result, Crashed or TimedOut) as they are finished, in no fixed order.

    Args:
        note: receives messages about lost machines.
        limits: the engine's own, those of a clip, when absent.

    Raises:
        UserError: raised by the job; workers do not start, or the cluster has none.
        WorkerError: any other exception in the job.
    """
    count, own = pool_size(engine)
    limits = own if limits is None else limits
    if engine.name == "local":
        return run_in_workers(job, items, count, limits)
    workers = None if engine.workers == "auto" else engine.workers
    spec = ClusterSpec(engine.address, workers, engine.gpus_per_worker)
    return run_on_ray(job, items, spec, limits, cores=count, note=note)
