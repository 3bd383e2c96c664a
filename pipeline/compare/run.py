"""`arpgnet compare`: two runs on the same test clips.

Differences are B minus A, as in `dvc metrics diff A B`. Each side's test predictions of all folds
are pooled per seed, scored, and averaged over its seeds. The bootstrap draws whole subjects, or
what else is independent (`evaluate.units`), the same ones for both sides. It accounts for the
choice of subjects, not of seeds: the variation over seeds is each side's standard deviation.
"""

from __future__ import annotations

from typing import Any

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.common.params import EvaluateParams
from arpgnet.pipeline.compare.classes import compare_classes
from arpgnet.pipeline.compare.pairing import keys, paired
from arpgnet.pipeline.compare.sources import Side
from arpgnet.pipeline.compare.targets import compare_targets
from arpgnet.pipeline.evaluate.summary import rounded
from arpgnet.pipeline.evaluate.units import interval_units
from arpgnet.pipeline.tables.predictions import Predictions


def compare(a: Side, b: Side, params: EvaluateParams, *, common: bool = False) -> dict[str, Any]:
    """Compare two runs.

    Args:
        params: how clips without a prediction count, thresholds, and the interval.
        common: compare on the common test clips if the two have different ones.

    Returns:
        Numbers and names, ready for JSON: `a`, `b` (which run), `kind` (the task), `clips`, `units`
        (how many clips or labeled frames are scored, and which: `scored`), `left_out`,
        `interval_unit`, `intervals_over`, the settings, `scores` (per score `a`, `b` and
        `difference` with `ci_low`, `ci_high`, `p`), `mcnemar` and `mcnemar_by_seed`; of a task with
        target values instead `per_output`, the same for each target.

    Raises:
        UserError: the two cannot be paired, or the clips' subjects are unknown.
    """
    a, b, left_out = paired(a, b, common=common)
    clips = sorted(set(a.test.clip_id))
    people = a.people or b.people
    if people is None or any(clip not in people for clip in clips):
        raise UserError(
            "data/manifest.parquet is missing beside the predictions: it is needed to know the "
            "subject of each clip"
        )
    units = interval_units([people[clip] for clip in clips])
    of_classes = isinstance(a.test, Predictions)
    measured = (compare_classes if of_classes else compare_targets)(a, b, units, params)
    result = {
        "a": _side(a),
        "b": _side(b),
        "kind": a.kind,
        "clips": len(clips),
        "scored": "labeled frames" if (a.test.frame_index >= 0).any() else "clips",
        "units": len(set(keys(a.test))),
        "left_out": left_out,
        "interval_unit": units.name,
        "intervals_over": len(set(units.of_clip.values())),
        "missing": params.missing,
        "bootstrap": params.bootstrap,
        "confidence": params.confidence,
        **measured,
    }
    return rounded(result)


def _side(side: Side) -> dict[str, Any]:
    seeds = sorted({int(seed) for seed in side.test.seed})
    return {"name": side.name, "seeds": seeds, "predictions_sha256": side.sha256}
