"""What is annotated, and what is not, is counted where a data set is checked and ingested."""

from __future__ import annotations

from pathlib import Path
from unittest import mock

import numpy as np
import pytest

from arpgnet.pipeline.common.params import DatasetParams
from arpgnet.pipeline.datasets.adapters import disfa
from arpgnet.pipeline.datasets.clip_targets import ClipTargets, target_table
from arpgnet.pipeline.ingest.dry_run import Line, check
from arpgnet.pipeline.ingest.notes import target_surplus
from helpers.dataset_trees import at_once, ingested, text, video

NAN = np.float32("nan")


def write_disfa(root: Path, **changed: list[str]) -> Path:
    """Videos of 8 frames of three people; `changed` are other lines of a unit of SN001."""
    for subject in (1, 6, 3):
        name = f"SN{subject:03d}"
        video(root / f"Videos_LeftCamera/LeftVideo{name}_comp.avi")
        for unit in disfa.UNITS:
            lines = [f"{frame},{frame % 4}" for frame in range(1, 9)]
            if subject == 1:
                lines = changed.get(f"au{unit}", lines)
            text(root / f"ActionUnit_Labels/{name}/{name}_au{unit}.txt", "\n".join(lines))
    return root


def checked(root: Path) -> dict[str, Line]:
    params = DatasetParams(name="disfa", root=str(root))
    with mock.patch("arpgnet.pipeline.datasets.file_cache.run_in_workers", at_once):
        (found,) = check(params)
    return {line.what: line for line in found.lines}


def test_the_check_counts_what_is_masked(tmp_path: Path, own_store: Path) -> None:
    lines = ["1,9", "2,999", "3,-1", "4,", "5,0", "6,0", "7,5", "12,5"]
    found = checked(write_disfa(tmp_path, au12=lines))
    # of 25 frames, one of which the videos do not have
    assert found["frames of au_12"].found == "20 annotated, 10 present, 5 not annotated"
    assert found["frames of au_12_intensity"].found == "20 annotated, 5 not annotated"
    assert found["frames of au_1"].found == "24 annotated, 12 present, 1 not annotated"
    beyond = found["videos with targets beyond the last frame"]
    assert (beyond.found, beyond.state) == ("1", "unknown")
    assert beyond.first == ["Videos_LeftCamera/LeftVideoSN001_comp.avi"]
    assert found["videos with frames without targets"].found == "0"


def test_ingest_remarks_on_labels_of_another_length(tmp_path: Path, own_store: Path) -> None:
    root = write_disfa(tmp_path / "disfa", **{f"au{u}": ["1,0", "2,3"] for u in disfa.UNITS})
    text(root / "ActionUnit_Labels/SN003/SN003_au1.txt", "1,0\n2,2\n90,1\n91,1\n")
    manifest = ingested("disfa", root, tmp_path, val_fraction=0.34)
    remarks = manifest.notes["remarks"]
    assert (
        "1 video with targets beyond the last frame (unused frames of targets: 2), first: "
        "'Videos_LeftCamera/LeftVideoSN003_comp'"
    ) in remarks
    assert (
        "1 video with frames without targets (unused frames: 6), first: "
        "'Videos_LeftCamera/LeftVideoSN001_comp'"
    ) in remarks
    (gaps,) = [line for line in remarks if line.startswith("targets without an annotation")]
    assert "au_1 6, au_1_intensity 6, au_2 2" in gaps


def test_one_row_a_frame_whatever_file_says_it() -> None:
    presence = ClipTargets(("au_6",), np.array([[0], [1]], np.float32), np.array([3, 5]))
    strength = ClipTargets(("au_6_intensity",), np.array([[4], [2]], np.float32), np.array([5, 9]))
    whole = ClipTargets(("valence",), np.array([[0.5]], np.float32))
    table = target_table({"b": (presence, strength), "a": (whole, presence), "c": ()})
    assert table.names == ["au_6", "au_6_intensity", "valence"]
    assert table.clip_id.tolist() == ["a", "a", "a", "b", "b", "b"]
    assert table.frame_index.tolist() == [-1, 3, 5, 3, 5, 9]
    np.testing.assert_array_equal(table.values[3:], [[0, NAN, NAN], [1, 4, NAN], [NAN, 2, NAN]])


@pytest.mark.parametrize(
    ("length", "cut_out", "beyond", "bare"),
    [
        (6, False, {}, {"a": 3}),
        (4, False, {"a": 1}, {"a": 2}),
        # the last images may be missing because no face was found
        (4, True, {}, {"a": 2}),
        (None, False, {}, {}),
    ],
)
def test_frames_and_annotations_of_a_video(
    length: int | None, cut_out: bool, beyond: dict[str, int], bare: dict[str, int]
) -> None:
    one = ClipTargets(("au_6",), np.zeros((3, 1), np.float32), np.array([0, 2, 5]))
    full = ClipTargets(("au_6",), np.zeros((2, 1), np.float32), np.arange(2))
    table = target_table({"a": (one,), "b": (full,)})
    known = {"a": (length, cut_out), "b": (2, False)}
    assert target_surplus(known, table) == (beyond, bare)
    assert target_surplus(known, target_table({})) == ({}, {})
