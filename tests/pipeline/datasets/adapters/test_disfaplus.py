"""DISFA+, on a small tree in its layout: trials, header lines, refusals."""

from __future__ import annotations

from pathlib import Path

import pytest

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.datasets.adapters import disfa, disfaplus
from arpgnet.pipeline.datasets.base import Wanted, WrongRootError
from helpers.dataset_trees import make_images, text

HEADER = "Intensity of AU\nImage          Label\n"
TRIAL = "Y_HappyDesc_TrailNo_1"


def write_trial(
    root: Path, subject: str, trial: str = TRIAL, inner: str = "", top: int = 5
) -> None:
    here = f"{subject}/{inner}{trial}"
    for unit in disfa.UNITS:
        lines = [f"{number:03d}.jpg     {min(number, top)}" for number in range(4)]
        text(root / f"Labels/{here}/AU{unit}.txt", HEADER + "\n".join(lines) + "\n")
    make_images(root / "Images" / here, range(4), "{:03d}.jpg")


def test_a_clip_of_each_trial_with_presence_from_two_on(tmp_path: Path) -> None:
    write_trial(tmp_path, "SN001")
    write_trial(tmp_path, "SN003", inner="SN003/")
    make_images(tmp_path / "Images/SN001/Z_Surprise", range(2), "{:03d}.jpg")
    text(tmp_path / "FaceLandmarks/SN001.mat", "")
    listing = disfaplus.list_clips(Wanted(tmp_path))
    assert listing.unused == [
        "FaceLandmarks/SN001.mat",
        "Images/SN001/Z_Surprise/000.jpg",
        "Images/SN001/Z_Surprise/001.jpg",
    ]
    assert [(clip.path, clip.subject) for clip in listing.clips] == [
        (f"Images/SN001/{TRIAL}", "SN001"), (f"Images/SN003/SN003/{TRIAL}", "SN003"),
    ]  # fmt: skip
    assert listing.left_out == {"trials without labels": 1}
    (targets,) = listing.clips[0].targets
    assert targets.frames is not None
    assert targets.frames.tolist() == [0, 1, 2, 3]
    assert len(targets.names) == 24
    assert targets.values[:, targets.names.index("au_12")].tolist() == [0, 0, 1, 1]
    assert targets.values[:, targets.names.index("au_12_intensity")].tolist() == [0, 1, 2, 3]


def test_an_absent_unit_is_not_annotated_and_counted(tmp_path: Path) -> None:
    write_trial(tmp_path, "SN001")
    (tmp_path / f"Labels/SN001/{TRIAL}/AU5.txt").unlink()
    listing = disfaplus.list_clips(Wanted(tmp_path))
    assert listing.remarks[-1] == "1 file of a clip's unit absent: not annotated"
    assert "au_5" not in listing.clips[0].targets[0].names


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (
            f"{HEADER}000.jpg 0\n1 0\n",
            f"line 4 of AU5.txt in SN001/{TRIAL}: '1 0' is not <image> <int",
        ),
        (f"{HEADER}000.jpg     7\n", "line 3 of AU5.txt in SN001"),
        (f"{HEADER}000.jpg     1\n000.jpg     1\n", "frame 000 is listed twice"),
        (HEADER, "has no frames"),
    ],
)
def test_a_file_that_is_not_as_documented(tmp_path: Path, content: str, said: str) -> None:
    write_trial(tmp_path, "SN001")
    text(tmp_path / f"Labels/SN001/{TRIAL}/AU5.txt", content)
    with pytest.raises(UserError) as error:
        disfaplus.list_clips(Wanted(tmp_path))
    assert said in str(error.value)


def test_occurrences_are_no_intensities(tmp_path: Path) -> None:
    write_trial(tmp_path, "SN001", top=1)
    with pytest.raises(UserError, match="no intensity above 1 in any of 12 files: are these occ"):
        disfaplus.list_clips(Wanted(tmp_path))


def test_a_folder_that_is_not_the_set(tmp_path: Path) -> None:
    with pytest.raises(WrongRootError):
        disfaplus.list_clips(Wanted(tmp_path))
    write_trial(tmp_path, "SN001")
    (tmp_path / f"Images/SN001/{TRIAL}").rename(tmp_path / "Images/SN001/other")
    with pytest.raises(UserError, match="has labels, but there is no folder Images/SN001"):
        disfaplus.list_clips(Wanted(tmp_path))
