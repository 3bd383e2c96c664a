"""BP4D and DISFA, on small trees in their layout: folds, frame numbers, codes, refusals."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.datasets.adapters import bp4d, disfa
from arpgnet.pipeline.datasets.base import Wanted, WrongRootError
from arpgnet.pipeline.tables.manifest import read_splits
from arpgnet.pipeline.tables.targets import read_targets
from helpers.dataset_trees import ingested

HEADER = "0,1,2,4,5,6,7,9,10,12,14,15,17,23,24"
TWICE = 2 * f"98,1{',0' * 13}\n"


def image_file(path: Path, value: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(value).integers(0, 255, (64, 64, 3), np.uint8)
    assert cv2.imwrite(str(path), noise)


def write_bp4d(root: Path, subjects: tuple[str, ...] = ("F001", "F003", "F004", "M001")) -> Path:
    """Three coded frames of one task each; file names are padded otherwise than the codes."""
    for number, subject in enumerate(subjects):
        codes = root / f"AUCoding/AU_OCC/{subject}_T1.csv"
        codes.parent.mkdir(parents=True, exist_ok=True)
        rows = [HEADER]
        for frame in (98, 99, 100):
            image_file(root / f"{subject}/T1/{frame:04d}.jpg", 10 * frame + number)
            cells = [str(frame), "1", "0", "9", *["0"] * 11]
            rows.append(",".join(cells))
        codes.write_text("\n".join(rows) + "\n")
        strength = root / f"AUCoding/AU_INT/AU06/{subject}_T1_AU06.csv"
        strength.parent.mkdir(parents=True, exist_ok=True)
        strength.write_text("98,3\n99,9\n100,0\n")
    return root


def write_disfa(root: Path, subjects: tuple[int, ...] = (1, 6, 3)) -> Path:
    (root / "Videos_LeftCamera").mkdir(parents=True)
    for subject in subjects:
        name = f"SN{subject:03d}"
        (root / f"Videos_LeftCamera/LeftVideo{name}_comp.avi").write_bytes(b"video")
        folder = root / f"ActionUnit_Labels/{name}"
        folder.mkdir(parents=True)
        for unit in disfa.UNITS:
            (folder / f"{name}_au{unit}.txt").write_text("1,0\n2,1\n3,2\n4,5\n")
    return root


def test_bp4d_by_subject_in_the_usual_folds_with_its_codes(tmp_path: Path) -> None:
    listing = bp4d.list_clips(Wanted(write_bp4d(tmp_path)))
    assert [(clip.path, clip.subject, clip.fold) for clip in listing.clips] == [
        ("F001/T1", "F001", 0), ("F003/T1", "F003", 1), ("F004/T1", "F004", 2),
        ("M001/T1", "M001", 0),
    ]  # fmt: skip
    presence, strength = listing.clips[0].targets
    assert presence.names == tuple(f"au_{unit}" for unit in bp4d.UNITS)
    assert presence.frames is not None
    assert presence.frames.tolist() == [98, 99, 100]
    assert presence.values[0, :2].tolist() == [1, 0]
    assert np.isnan(presence.values[:, 2]).all()
    assert strength.names == ("au_6_intensity",)
    assert strength.values[:, 0].tolist()[::2] == [3, 0]
    assert np.isnan(strength.values[1, 0])
    assert {subject for part in bp4d.PARTS for subject in part.split()} == {
        *(f"F{n:03d}" for n in range(1, 24)), *(f"M{n:03d}" for n in range(1, 19)),
    }  # fmt: skip
    assert sum(len(part.split()) for part in bp4d.PARTS) == 41


def test_bp4d_is_ingested_without_classes(tmp_path: Path, own_store: Path) -> None:
    root = write_bp4d(tmp_path / "bp4d", ("F001", "F003", "F004", "M001", "M002", "M003"))
    manifest = ingested("bp4d", root, tmp_path)
    assert (manifest.classes, len(manifest.clips)) == ([], 6)
    assert "targets without an annotation, which are masked" in " ".join(manifest.notes["remarks"])
    splits = read_splits(tmp_path / "data/splits.parquet").to_pylist()
    tested = {row["clip_id"]: row["fold"] for row in splits if row["split"] == "test"}
    assert tested == {"F001/T1": 0, "F003/T1": 1, "F004/T1": 2, "M001/T1": 0, "M002/T1": 1,
                      "M003/T1": 2}  # fmt: skip
    targets = read_targets(tmp_path / "data/targets.parquet")
    assert targets.names[:5] == ["au_1", "au_2", "au_4", "au_6", "au_6_intensity"]
    own = targets.select(targets.clip_id == "F001/T1").columns(["au_1"])
    # of the video's numbering, as the frames are
    assert own.frame_index.tolist() == [98, 99, 100]


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        ({"AU_OCC/F001_T1.csv": f"{HEADER}\n98,2{',0' * 13}\n"}, "au_1 '2' is not 0 or 1"),
        ({"AU_OCC/F001_T1.csv": f"{HEADER}\n98,1\n"}, "line 2 of F001_T1.csv: 2 fields"),
        (
            {"AU_OCC/F001_T1.csv": "0,1,2\n98,1,0\n"},
            "line 1 of F001_T1.csv has no column of unit 4",
        ),
        ({"AU_OCC/F001_T1.csv": f"{HEADER}\n"}, "F001_T1.csv has no frames"),
        ({"AU_OCC/F001_T1.csv": f"{HEADER},1\n"}, "has two columns of unit 1"),
        ({"AU_OCC/F001_T1.csv": "98,3\n99,1\n"}, "it must name units by their numbers"),
        ({"AU_OCC/F001_T1.csv": f"{HEADER}\nx,1{',0' * 13}\n"}, "frame 'x' is not a whole"),
        (
            {"AU_OCC/F001_T1.csv": f"{HEADER}\n{TWICE}"},
            "line 3 of F001_T1.csv: frame 98 is listed twice",
        ),
        ({"AU_INT/AU06/F001_T1_AU06.csv": "98\n"}, "1 field, not frame,intensity"),
        ({"AU_OCC/F099_T1.csv": f"{HEADER}\n"}, "F099 is in none of the 3 parts"),
        ({"AU_OCC/F001_T2.csv": f"{HEADER}\n"}, "there is no folder F001/T2"),
        ({"AU_INT/AU06/F001_T1_AU06.csv": "98,7\n"}, "au_6_intensity '7' is not in 0 to 5"),
    ],
)
def test_bp4d_that_is_not_as_documented(tmp_path: Path, broken: dict[str, str], said: str) -> None:
    write_bp4d(tmp_path, ("F001",))
    for name, text in broken.items():
        (tmp_path / "AUCoding" / name).write_text(text)
    with pytest.raises(UserError) as error:
        bp4d.list_clips(Wanted(tmp_path))
    assert said in str(error.value)


@pytest.mark.parametrize(
    "header",
    [
        ",".join(f'"{cell}"' for cell in HEADER.split(",")),
        "frame,AU01,'AU 2',au_4,AU5,AU6,AU7,AU9,AU10,AU12_c,AU14,AU15,AU17,AU23,AU24",
    ],
)
def test_bp4d_columns_by_other_names_and_in_another_order(tmp_path: Path, header: str) -> None:
    write_bp4d(tmp_path, ("F001",))
    path = tmp_path / "AUCoding/AU_OCC/F001_T1.csv"
    expected = bp4d.read_presence(path)
    _, *rows = path.read_text().splitlines()
    turned = []
    for line in (header, *rows):
        frame, *cells = line.split(",")
        turned.append(",".join([frame, *reversed(cells)]))
    path.write_text("\n".join(turned))
    found = bp4d.read_presence(path)
    assert found.names == expected.names
    np.testing.assert_array_equal(found.values, expected.values)


def test_disfa_by_subject_with_presence_from_two_on(tmp_path: Path) -> None:
    listing = disfa.list_clips(Wanted(write_disfa(tmp_path), "left"))
    assert [(clip.subject, clip.fold) for clip in listing.clips] == [
        ("SN001", 0), ("SN003", 2), ("SN006", 1),
    ]  # fmt: skip
    assert listing.clips[0].path == "Videos_LeftCamera/LeftVideoSN001_comp.avi"
    assert not listing.unused
    (targets,) = listing.clips[0].targets
    assert targets.frames is not None
    assert targets.frames.tolist() == [0, 1, 2, 3]
    assert targets.values[:, targets.names.index("au_25")].tolist() == [0, 0, 1, 1]
    assert targets.values[:, targets.names.index("au_25_intensity")].tolist() == [0, 1, 2, 5]
    assert len({number for part in disfa.PARTS for number in part}) == 27


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("SN001_au1.txt", "0,1\n", "frame '0' is not a whole number from 1 on"),
        ("SN001_au1.txt", "1,1\n1,2\n", "line 2 of SN001_au1.txt: frame 1 is listed twice"),
        ("SN001_au1.txt", "1,6\n", "line 1 of SN001_au1.txt: au_1_intensity '6' is not in 0 to 5"),
    ],
)
def test_disfa_that_is_not_as_documented(tmp_path: Path, name: str, text: str, said: str) -> None:
    write_disfa(tmp_path, (1,))
    (tmp_path / "ActionUnit_Labels/SN001" / name).write_text(text)
    with pytest.raises(UserError) as error:
        disfa.list_clips(Wanted(tmp_path, "left"))
    assert said in str(error.value)


def test_disfa_in_quotes_and_with_gaps(tmp_path: Path) -> None:
    write_disfa(tmp_path, (1,))
    path = tmp_path / "ActionUnit_Labels/SN001/SN001_au4.txt"
    path.write_text('"1","9"\n"3","4"\n"4",""\n')
    (targets,) = disfa.list_clips(Wanted(tmp_path, "left")).clips[0].targets
    own = targets.values[:, targets.names.index("au_4")]
    np.testing.assert_array_equal(own, np.array([np.nan, np.nan, 1, np.nan], np.float32))


def test_occurrences_are_no_intensities_of_disfa(tmp_path: Path) -> None:
    write_disfa(tmp_path)
    for path in tmp_path.glob("ActionUnit_Labels/*/*.txt"):
        path.write_text("1,0\n2,1\n")
    with pytest.raises(UserError, match="no intensity above 1 in any of 36 files: are these occ"):
        disfa.list_clips(Wanted(tmp_path, "left"))


def test_disfa_of_the_other_camera_and_of_an_absent_unit(tmp_path: Path) -> None:
    write_disfa(tmp_path, (1,))
    with pytest.raises(WrongRootError, match="Videos_RightCamera"):
        disfa.list_clips(Wanted(tmp_path, "right"))
    (tmp_path / "ActionUnit_Labels/SN001/SN001_au5.txt").unlink()
    listing = disfa.list_clips(Wanted(tmp_path, "left"))
    assert listing.remarks[-1] == "1 file of a clip's unit absent: not annotated"
    (tmp_path / "Videos_LeftCamera/LeftVideoSN001_comp.avi").unlink()
    with pytest.raises(UserError, match="SN001 has labels, but no video of the left camera"):
        disfa.list_clips(Wanted(tmp_path, "left"))


@pytest.mark.parametrize("adapter", [bp4d, disfa])
def test_another_folder_is_refused(tmp_path: Path, adapter: object) -> None:
    with pytest.raises(WrongRootError):
        adapter.list_clips(Wanted(tmp_path, "left"))  # type: ignore[attr-defined]
