"""Two runs on the same clips: numbers by hand, symmetry, and what is refused."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rich.console import Console

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.common.params import EvaluateParams
from arpgnet.pipeline.compare.run import compare
from arpgnet.pipeline.compare.sources import read_side
from arpgnet.pipeline.compare.table import sentences, table
from arpgnet.pipeline.evaluate.bootstrap import two_sided_p
from arpgnet.pipeline.tables.manifest import read_manifest, write_manifest
from helpers.predictions_tables import CLASSES, labels, write_run, write_units

ALL = sorted(labels())


def compared(a: Path, b: Path, **options: Any) -> dict[str, Any]:
    common = options.pop("common", False)
    params = EvaluateParams.model_validate({"bootstrap": 200} | options)
    return compare(read_side(str(a)), read_side(str(b)), params, common=common)


def test_numbers_by_hand(tmp_path: Path) -> None:
    a = write_run(tmp_path / "a", {0: {"s0-0", "s1-1", "s2-0", "s3-1"}, 1: set()})
    b = write_run(tmp_path / "b", {0: {"s0-0"}})
    found = compared(a, b)
    assert (found["clips"], found["interval_unit"], found["intervals_over"]) == (24, "subject", 6)
    uar = found["scores"]["uar"]
    assert uar["a"]["mean"] == pytest.approx((20 / 24 + 1) / 2, abs=1e-6)
    assert uar["b"]["mean"] == pytest.approx(23 / 24, abs=1e-6)
    gap = uar["difference"]
    assert gap["mean"] == pytest.approx(1 / 24, abs=1e-6)
    assert gap["ci_low"] <= gap["mean"] <= gap["ci_high"]
    assert "std" not in gap
    assert found["mcnemar_by_seed"].keys() == {"0"}
    one = found["mcnemar_by_seed"]["0"]
    assert (one["only_a"], one["only_b"], one["p"]) == (0, 3, 0.25)


def test_the_surer_seed_decides(tmp_path: Path) -> None:
    wrong = {0: set(), 1: set(ALL)}
    a = write_run(tmp_path / "a", wrong, confidence={0: 0.6, 1: 0.9})
    b = write_run(tmp_path / "b", wrong, confidence={0: 0.9, 1: 0.6})
    found = compared(a, b)
    # one decision per clip, not one per seed
    assert found["mcnemar"]["only_b"] == 24
    assert found["scores"]["uar"]["difference"]["mean"] == 0


def test_a_run_against_itself(tmp_path: Path) -> None:
    a = write_run(tmp_path / "a", {0: {"s0-0"}, 3: {"s4-1"}})
    found = compared(a, a)
    for score in found["scores"].values():
        assert score["difference"] == {"mean": 0, "ci_low": 0, "ci_high": 0, "p": 1}
    assert (found["mcnemar"]["p"], found["mcnemar"]["cohens_g"]) == (1, None)
    assert found["a"]["predictions_sha256"] == found["b"]["predictions_sha256"]
    assert "No difference" in " ".join(sentences(found))


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.sets(st.sampled_from(ALL)), st.sets(st.sampled_from(ALL)))
def test_swapping_sides_swaps_signs(
    tmp_path_factory: pytest.TempPathFactory, first: set[str], second: set[str]
) -> None:
    root = tmp_path_factory.mktemp("swap")
    a, b = write_run(root / "a", {0: first}), write_run(root / "b", {0: second})
    there, back = compared(a, b), compared(b, a)
    for name in ("uar", "war", "macro_f1"):
        one, other = (found["scores"][name]["difference"] for found in (there, back))
        assert one["mean"] == pytest.approx(-other["mean"], abs=2e-6)
        assert one["ci_low"] == pytest.approx(-other["ci_high"], abs=2e-6)
        assert one["p"] == pytest.approx(other["p"])
    # war is the share of clips: the discordant ones are its difference
    test = there["mcnemar"]
    gap = there["scores"]["war"]["difference"]["mean"]
    assert gap == pytest.approx((test["only_b"] - test["only_a"]) / 24, abs=1e-6)


def test_a_clear_difference_has_a_small_p(tmp_path: Path) -> None:
    a = write_run(tmp_path / "a", {0: {f"s{s}-{k}" for s in range(6) for k in (0, 1)}})
    b = write_run(tmp_path / "b", {0: {"s0-0"}})
    found = compared(a, b)
    assert found["scores"]["uar"]["difference"]["p"] == pytest.approx(2 / 201, abs=1e-6)
    assert "B is better" in next(sentences(found))


def test_lost_clips_count_as_wrong_or_not_at_all(tmp_path: Path) -> None:
    a = write_run(tmp_path / "a", {0: set()}, lost={"s0-0"})
    b = write_run(tmp_path / "b", {0: {"s0-0", "s0-1"}})
    assert compared(a, b)["mcnemar"] | {"p": 0} == {
        "both": 22, "only_a": 1, "only_b": 0, "neither": 1, "p": 0, "cohens_g": -0.5,
    }  # fmt: skip
    assert compared(a, b, missing="skip")["mcnemar"]["neither"] == 0


def test_refuses_other_clips_and_compares_common_ones_on_request(tmp_path: Path) -> None:
    fewer = {clip: k for clip, k in labels().items() if clip not in ("s0-0", "s5-3")}
    a = write_run(tmp_path / "a", {0: set()})
    b = write_run(tmp_path / "b", {0: set()}, truth=fewer)
    with pytest.raises(UserError, match=r"2 only in .*, 0 only in .*, 22 in both; use --common"):
        compared(a, b)
    found = compared(a, b, common=True)
    assert (found["clips"], found["left_out"]) == (22, 2)
    assert "only one side has tested them: 2 clips" in list(sentences(found))[-1]


def test_refuses_other_labels_classes_and_nothing_in_common(tmp_path: Path) -> None:
    a = write_run(tmp_path / "a", {0: set()})
    other = write_run(tmp_path / "b", {0: set()}, truth=labels() | {"s1-0": 1})
    with pytest.raises(UserError, match=r"1 of 24 test clips have another label .*s1-0"):
        compared(a, other)
    with pytest.raises(UserError, match="another label"):
        compared(a, other, common=True)
    renamed = write_run(tmp_path / "c", {0: set()}, classes=["calm", "sad"])
    with pytest.raises(UserError, match="different classes"):
        compared(a, renamed)
    strangers = write_run(tmp_path / "d", {0: set()}, truth={"t0-0": 0, "t1-0": 1})
    with pytest.raises(UserError, match="no test clip in common"):
        compared(a, strangers, common=True)


def test_frames_are_paired_one_by_one(tmp_path: Path) -> None:
    # two frames per clip, of which the second is predicted wrongly in A
    a = write_run(tmp_path / "a", {0: set()}, frames={3: False, 7: True})
    b = write_run(tmp_path / "b", {0: set()}, frames={3: False, 7: False})
    found = compared(a, b)
    assert (found["clips"], found["units"], found["scored"]) == (24, 48, "labeled frames")
    assert found["mcnemar"]["only_b"] == 24
    assert "in B only: 24" in " ".join(sentences(found))
    other = write_run(tmp_path / "c", {0: set()}, frames={3: False, 8: False})
    with pytest.raises(UserError, match=r"24 only in .*, 24 only in .*, 24 in both"):
        compared(a, other)


def test_needs_to_know_whose_clips_they_are(tmp_path: Path) -> None:
    a = write_run(tmp_path / "a", {0: set()})
    (tmp_path / "a/data/manifest.parquet").unlink()
    with pytest.raises(UserError, match=r"manifest\.parquet is missing beside"):
        compared(a, a)
    # one side's manifest is enough
    b = write_run(tmp_path / "b", {0: set()})
    assert compared(a, b)["interval_unit"] == "subject"


def test_near_duplicates_are_drawn_together(tmp_path: Path) -> None:
    a = write_run(tmp_path / "a", {0: {"s0-0", "s0-2"}})
    b = write_run(tmp_path / "b", {0: set()})
    for name in ("a", "b"):
        path = tmp_path / name / "data/manifest.parquet"
        clips = [replace(clip, subject=None) for clip in read_manifest(path).clips]
        notes = {"recordings": {"s0-0": "s0-0", "s0-2": "s0-0"}}
        write_manifest(clips, path, classes=CLASSES, dataset="hand", notes=notes)
    found = compared(a, b)
    assert (found["interval_unit"], found["intervals_over"]) == ("near-duplicate group", 23)
    said = " ".join(sentences(found))
    assert "23 near-duplicate groups (clips of the same images, file or group; any other" in said
    assert "those of one near-duplicate group are not, so rely on the bootstrap" in said
    # where one pair is all that differs, a third of the draws do not have it
    assert found["scores"]["uar"]["difference"]["p"] > 0.3


def test_action_units_are_compared_by_their_f1(tmp_path: Path) -> None:
    a = write_units(tmp_path / "a", {0: {"s0-0", "s1-1", "s2-0", "s3-1"}, 1: {"s0-0"}})
    b = write_units(tmp_path / "b", {0: set()})
    found = compared(a, b)
    assert list(found["scores"]) == ["f1"]
    gap = found["scores"]["f1"]["difference"]
    assert found["scores"]["f1"]["b"]["mean"] == 1
    assert 0 <= gap["ci_low"] < gap["mean"] == pytest.approx(1 - found["scores"]["f1"]["a"]["mean"])
    assert (found["clips"], found["interval_unit"], "mcnemar" in found) == (24, "subject", False)
    said = " ".join(sentences(found))
    assert "mean F1" in said
    assert "McNemar" not in said
    # NaN is not another annotation
    same = compared(a, a)["scores"]["f1"]["difference"]
    assert same == {"mean": 0, "ci_low": 0, "ci_high": 0, "p": 1}
    classes = write_run(tmp_path / "c", {0: set()})
    with pytest.raises(UserError, match=r"task.kind: action_units in .*, expression in"):
        compared(a, classes)
    renamed = write_units(tmp_path / "d", {0: set()}, names=["au_1", "au_4"])
    with pytest.raises(UserError, match="different targets"):
        compared(a, renamed)


def test_table_shows_every_score(tmp_path: Path) -> None:
    a = write_run(tmp_path / "[a]", {0: {"s0-0"}, 1: set()})
    console = Console(width=200)
    with console.capture() as capture:
        console.print(table(compared(a, a)))
    shown = capture.get()
    for word in ("UAR", "WAR", "macro-F1", "+0.000 to +0.000", "24 clips tested", "[a]"):
        assert word in shown


def test_two_sided_p() -> None:
    import numpy as np

    assert two_sided_p(np.array([1.0, 2.0, 3.0])) == pytest.approx(2 / 4)
    assert two_sided_p(np.array([1.0, -1.0, np.nan, 1.0])) == 1
    assert two_sided_p(-np.arange(1, 100.0)) == pytest.approx(2 / 100)
