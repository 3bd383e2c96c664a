"""The scores of further tasks (`task.also`), each as when it is the main one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from arpgnet.pipeline.common.params import EvaluateParams
from arpgnet.pipeline.evaluate.summary import summarize
from arpgnet.pipeline.evaluate.targets import summarize_targets
from arpgnet.pipeline.evaluate.units import Origin
from arpgnet.pipeline.store import file_sha256
from arpgnet.pipeline.tables.predictions import FURTHER, Predictions, read_any_predictions


@dataclass(frozen=True)
class FurtherScores:
    """What is added to the metrics and the details: the same of each task, by its name under
    `also`; nothing where there is none."""

    metrics: dict[str, Any] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)


def further_scores(
    clips: Sequence[Origin], params: EvaluateParams, metadata: Mapping[str, Any], root: Path
) -> FurtherScores:
    """Score the predictions of every further task under `root`.

    Args:
        clips: `origins` of every clip of the manifest.
        metadata: of the main task's details.

    Raises:
        UserError: no test clip of a task is left to score.
    """
    metrics, details = {}, {}
    for path in sorted((root / FURTHER).glob("*.parquet")):
        predictions = read_any_predictions(path)
        own = {**metadata, "predictions_sha256": file_sha256(path)}
        if isinstance(predictions, Predictions):
            found = summarize(predictions, clips, params, own)
        else:
            found = summarize_targets(predictions, clips, params, own)
        metrics[path.stem], details[path.stem] = found
    return FurtherScores({"also": metrics}, {"also": details}) if metrics else FurtherScores()
