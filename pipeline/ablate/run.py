"""`arpgnet ablate`: compare every ablation with the full network, in one file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from arpgnet.pipeline.ablate.experiments import (
    check_base,
    is_finished,
    render_report,
    run_experiment,
)
from arpgnet.pipeline.ablate.rows import Row, changed, rows_of
from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.common.params import Params
from arpgnet.pipeline.common.wording import SCORE_NAMES, first_score, plural
from arpgnet.pipeline.compare.run import compare
from arpgnet.pipeline.compare.sources import WORKSPACE, Side, read_side
from arpgnet.pipeline.report.ablations import ABLATION, FAILED, OK, SAME, read_ablations
from arpgnet.pipeline.tables.text_files import write_json

# of a comparison: what is the same for all rows
SHARED = ("clips", "interval_unit", "intervals_over", "missing", "bootstrap", "confidence")


def ablate(
    params: Params,
    rows: Sequence[Row],
    *,
    jobs: int = 1,
    root: Path = Path(),
    say: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Run missing experiments, compare all with the workspace's run, render the report.

    The file is written after each row, so that an interrupted run keeps its results; rows of an
    earlier call stay in it as long as the full network's run is the same.

    Args:
        jobs: parallel experiments. A row's training already uses every core.
        say: called with a line for each finished row.

    Returns:
        The file's content.

    Raises:
        UserError: the full network's run is absent or not up to date. A row that fails is reported
            and listed with its reason.
    """
    check_base(root)
    table = Table(params, root)
    say(f"{plural(len(rows), 'ablation')} of the full network: {table.name} {table.full:.3f}")
    with ThreadPoolExecutor(jobs) as pool:
        pending = {pool.submit(_outcome, params, row, root): row for row in rows}
        try:
            for number, future in enumerate(as_completed(pending), start=1):
                line = table.add(pending[future], _error_of(future))
                say(f"[{number}/{len(rows)}] {pending[future].name}: {line}")
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    render_report(root)
    return table.content


def _outcome(params: Params, row: Row, root: Path) -> None:
    """Make sure that the row's experiment is finished.

    Raises:
        UserError: it fails; the line says why.
    """
    if changed(params, row) == params or _is_available(row, root):
        return
    failed = run_experiment(row, root)
    if failed is not None:
        raise UserError(failed)


def _is_available(row: Row, root: Path) -> bool:
    if not is_finished(row, root):
        return False
    try:
        read_side(row.experiment, root)
    except UserError:  # `dvc gc` has taken its predictions
        return False
    return True


def _error_of(future: Future[None]) -> str | None:
    try:
        future.result()
    except UserError as error:
        return str(error)
    return None


class Table:
    """The known rows, and the run they are compared with."""

    def __init__(self, params: Params, root: Path) -> None:
        self.params, self.root = params, root
        self.base: Side = read_side(WORKSPACE, root)
        itself = compare(self.base, self.base, params.evaluate)
        self.reference: dict[str, Any] = {
            "predictions_sha256": self.base.sha256,
            "seeds": itself["a"]["seeds"],
            **{key: itself[key] for key in SHARED},
            "scores": {name: score["a"] for name, score in itself["scores"].items()},
        }
        self.first = first_score(self.reference["scores"])
        self.rows = self._earlier()

    def _earlier(self) -> dict[str, dict[str, Any]]:
        former = read_ablations(self.root)
        if former is None or former["base"] != self.reference:
            return {}
        return {row["name"]: row for row in former["rows"]}

    @property
    def name(self) -> str:
        """Of the score that judges."""
        return SCORE_NAMES[self.first]

    @property
    def full(self) -> float:
        return float(self.reference["scores"][self.first]["mean"])

    def add(self, row: Row, failed: str | None) -> str:
        """Add a row and write the file; return its result in a line."""
        entry: dict[str, Any] = {
            "name": row.name, "group": row.group, "what": row.what, "removes": row.removes,
            "settings": dict(row.settings),
        }  # fmt: skip
        if failed is None and changed(self.params, row) == self.params:
            entry |= {"status": SAME}
            line = "identical to the full network"
        elif failed is None:
            try:
                entry |= {"status": OK, "experiment": row.experiment} | self._measured(row)
                gap = entry["difference"][self.first]
                line = (
                    f"{self.name} {entry['scores'][self.first]['mean']:.3f}, difference "
                    f"{gap['mean']:+.3f} ({gap['ci_low']:+.3f} to {gap['ci_high']:+.3f})"
                )
            except UserError as error:
                failed = str(error)
        if failed is not None:
            entry |= {"status": FAILED, "reason": failed}
            line = f"failed: {failed}"
        self.rows[row.name] = entry
        write_json(self.content, self.root / ABLATION)
        return line

    def _measured(self, row: Row) -> dict[str, Any]:
        found = compare(self.base, read_side(row.experiment, self.root), self.params.evaluate)
        return {
            "predictions_sha256": found["b"]["predictions_sha256"],
            "scores": {name: score["b"] for name, score in found["scores"].items()},
            "difference": {name: score["difference"] for name, score in found["scores"].items()},
            "mcnemar": found.get("mcnemar"),
        }

    @property
    def content(self) -> dict[str, Any]:
        order = [row.name for row in rows_of(self.params)]
        known = [self.rows[name] for name in order if name in self.rows]
        return {"base": self.reference, "rows": known}
