"""What the per-clip works of landmarks, appearance and regions have in common."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from pipeline.faces.packs import ModelSpec
from pipeline.shards import ShardReader


class ClipWorkBase:
    """Base of frozen dataclasses whose cached properties open readers and networks.

    What was opened stays behind when the work is pickled for a worker process.
    """

    def __getstate__(self) -> dict[str, Any]:
        return {item.name: getattr(self, item.name) for item in fields(self)}  # type: ignore[arg-type]


def upstream_reason(clip_id: str, *readers: ShardReader) -> str | None:
    """Why one of the earlier stages has nothing for the clip, if so."""
    entries = (reader.entry(clip_id) for reader in readers)
    return next((entry.reason or entry.status for entry in entries if not entry.ok), None)


def model_identity(spec: ModelSpec) -> list[Any]:
    """Everything about a network that changes what it gives, for a key."""
    identity = [spec.sha256, spec.kind, spec.input_px, spec.colour, spec.mean, spec.std]
    # a pack's own network keeps the key that it had before there were tuned ones
    return identity if spec.weights is None else [*identity, spec.weights_sha256]
