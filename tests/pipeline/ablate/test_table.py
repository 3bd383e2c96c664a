"""The file that `arpgnet ablate` writes, of a task with its own score."""

from __future__ import annotations

from pathlib import Path

import pytest

from arpgnet.pipeline.ablate.rows import choose
from arpgnet.pipeline.ablate.run import Table
from arpgnet.pipeline.common.params_file import parse_params
from arpgnet.pipeline.report.ablations import ablations_view, read_ablations
from helpers.predictions_tables import write_target_run


def test_a_row_of_action_units_is_measured_in_f1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_target_run(tmp_path / "full", 0.1)
    params = parse_params({"task": {"kind": "action_units"}, "evaluate": {"bootstrap": 200}})
    (row,) = choose(["window-0"], params)
    worse = write_target_run(tmp_path / "worse", 1.5)
    # a file is taken for the experiment of that name
    worse.rename(tmp_path / "full" / row.experiment)
    monkeypatch.chdir(tmp_path / "full")
    table = Table(params, Path())
    assert table.full.startswith("mean F1 1.0")
    assert table.add(row, None).startswith("mean F1 0.")
    found = read_ablations()
    assert found is not None
    view = ablations_view(found, table.base.sha256)
    assert view is not None
    assert view["findings"] == [
        "Removing these makes the network worse, so they help: neighboring frames."
    ]
