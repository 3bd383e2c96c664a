"""BP4D+, on a small tree in its layout: its folds, the numbers of frames, refusals."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.datasets.adapters import bp4d, bp4dplus
from arpgnet.pipeline.datasets.base import Wanted, WrongRootError
from helpers.dataset_trees import make_images, text

# as in the release: the frame's column is called 1, like that of AU 1
UNITS = [*(1, 2, 4, 5, 6, 7, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 22, 23, 24, 27, 28)]
HEADER = ",".join(map(str, [1, *UNITS]))


def codes(frame: int, **present: int) -> str:
    """A line in which everything is absent but what is stated, as `au12=1`."""
    return ",".join([str(frame), *(str(present.get(f"au{unit}", 0)) for unit in UNITS)])


def write_task(root: Path, name: str, lines: list[str], first_image: int = 0) -> None:
    subject, task = name.split("_")
    text(root / f"AUCoding/AU_OCC/{name}.csv", "\n".join([HEADER, *lines]))
    text(root / f"AUCoding/AU_INT/AU12/{name}_AU12.csv", "2,4\n3,9\n")
    make_images(root / "2D+3D" / subject / task, range(first_image, first_image + 4), "{:03d}.jpg")


def test_codes_count_from_the_first_image(tmp_path: Path) -> None:
    write_task(tmp_path, "F004_T1", [codes(2, au12=1), codes(3, au12=9, au1=1)])
    write_task(tmp_path, "M058_T8", [codes(2, au12=1)], first_image=1)
    clips = bp4dplus.list_clips(Wanted(tmp_path)).clips
    assert [(clip.path, clip.subject, clip.fold) for clip in clips] == [
        ("2D+3D/F004/T1", "F004", 0), ("2D+3D/M058/T8", "M058", 3),
    ]  # fmt: skip
    # code 2 is the second image: 001.jpg of a folder that starts at 000.jpg, else 002.jpg
    assert [clip.images and clip.images.first for clip in clips] == [0, 1]
    presence, strength = clips[0].targets
    assert presence.frames is not None
    assert presence.frames.tolist() == [1, 2]
    assert presence.names == tuple(f"au_{unit}" for unit in bp4d.UNITS)
    assert presence.values[:, presence.names.index("au_1")].tolist() == [0, 1]
    np.testing.assert_array_equal(presence.values[:, presence.names.index("au_12")], [1, np.nan])
    assert strength.names == ("au_12_intensity",)
    assert strength.frames is not None
    assert strength.frames.tolist() == [1, 2]


def test_each_of_140_people_is_tested_once() -> None:
    people = [name for part in bp4dplus.PARTS for name in part.split()]
    assert sorted(people) == [
        *(f"F{number:03d}" for number in range(1, 83)),
        *(f"M{number:03d}" for number in range(1, 59)),
    ]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("F001_T2", "F001_T2.csv codes T2, but only T1, T6, T7, T8 are coded; is it BP4D (dataset"),
        ("F083_T1", "F083 is in none of the 4 parts of the usual folds; is it BP4D"),
    ],
)
def test_another_set_of_the_same_form(tmp_path: Path, name: str, said: str) -> None:
    write_task(tmp_path, name, [codes(1)])
    with pytest.raises(UserError) as error:
        bp4dplus.list_clips(Wanted(tmp_path))
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_what_is_not_as_documented(tmp_path: Path) -> None:
    with pytest.raises(WrongRootError):
        bp4dplus.list_clips(Wanted(tmp_path))
    write_task(tmp_path, "F001_T1", [codes(0)])
    with pytest.raises(UserError, match=r"line 2 of F001_T1\.csv: frame '0' is not a whole number"):
        bp4dplus.list_clips(Wanted(tmp_path))
    text(tmp_path / "AUCoding/AU_OCC/F001_T6.csv", f"{HEADER}\n{codes(1)}")
    text(tmp_path / "AUCoding/AU_OCC/F001_T1.csv", f"{HEADER}\n{codes(1)}")
    with pytest.raises(UserError, match=r"no folder F001/T6 with its images \(are the archives"):
        bp4dplus.list_clips(Wanted(tmp_path))


def test_bp4d_says_that_it_may_be_bp4dplus(tmp_path: Path) -> None:
    write_task(tmp_path, "F024_T1", [codes(1)])
    with pytest.raises(UserError, match=r"F024 is in none of the 3 parts .*bp4dplus"):
        bp4d.list_clips(Wanted(tmp_path))
