"""Every layout is read as its makers wrote it, and what does not fit is counted or refused."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.common.params import FinetuneParams
from arpgnet.pipeline.stills.sets import list_stills
from arpgnet.pipeline.stills.stills import Listing


def listed(dataset: str, root: Path, **more: Any) -> Listing:
    return list_stills(FinetuneParams(dataset=dataset, root=str(root), **more), 1)


def touch(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"\xff\xd8 not looked at")


def seen(listing: Listing) -> list[tuple[str, str, str | None, str | None]]:
    return [(still.name, still.label, still.part, still.subject) for still in listing.stills]


def test_folders_are_classes_and_folders_in_them_people(tmp_path: Path) -> None:
    touch(tmp_path, "happy/a.JPG", "happy/anna/b.png", "sad/c.webp", "sad/.hidden.png")
    touch(tmp_path, "sad/notes.txt", "top.png", "sad/too/deep/d.png")
    listing = listed("folder", tmp_path)
    assert seen(listing) == [
        ("happy/a.JPG", "happy", None, None),
        ("happy/anna/b.png", "happy", None, "anna"),
        ("sad/c.webp", "sad", None, None),
    ]
    assert listing.classes == ["happy", "sad"]
    assert listing.left_out == {"not an image, or not where one is looked for": 3}


def test_split_folders_are_parts_and_the_test_part_is_left_alone(tmp_path: Path) -> None:
    touch(tmp_path, "Train/happy/a.jpg", "Valid/sad/b.jpg", "test/sad/c.jpg")
    listing = listed("folder", tmp_path)
    assert [(s.label, s.part) for s in listing.stills] == [("happy", "train"), ("sad", "val")]
    assert listing.left_out == {"of the test part": 1}
    touch(tmp_path, "happy/d.jpg")
    with pytest.raises(UserError, match="'Train' looks like a split and 'happy' like a class"):
        listed("folder", tmp_path)


@pytest.mark.parametrize(
    "other", ["train/Happy/b.png", "val/happy /b.png", "train/happy/Anna/b.png"]
)
def test_one_class_or_person_in_two_spellings_is_refused(tmp_path: Path, other: str) -> None:
    touch(tmp_path, "train/happy/anna/a.png", "val/sad/a.png", other)
    with pytest.raises(UserError, match=r"the folders '\w+ ?' and '\w+ ?' differ only by case"):
        listed("folder", tmp_path)


def test_folders_without_images_are_refused(tmp_path: Path) -> None:
    touch(tmp_path, "happy/a.mp4")
    with pytest.raises(UserError, match=r"finetune\.root: no image at <class>/<image>"):
        listed("folder", tmp_path)
    with pytest.raises(UserError, match=r"finetune\.root: '.*nowhere' does not exist"):
        listed("folder", tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"finetune\.root must be set for"):
        FinetuneParams(enabled=True, dataset="folder")


PIXELS = " ".join(["7"] * 48 * 48)


@pytest.mark.parametrize(
    ("name", "header"),
    [("fer2013.csv", "emotion,pixels,Usage"), ("icml_face_data.csv", "emotion, Usage, pixels")],
)
def test_fer2013_is_one_csv(tmp_path: Path, name: str, header: str) -> None:
    columns = [column.strip() for column in header.split(",")]
    rows = [
        {"emotion": "0", "pixels": PIXELS, "Usage": "Training"},
        {"emotion": "6", "pixels": PIXELS, "Usage": "PublicTest"},
        {"emotion": "3", "pixels": PIXELS, "Usage": "PrivateTest"},
        {"emotion": "7", "pixels": PIXELS, "Usage": "Training"},
        {"emotion": "1", "pixels": "1 2 3", "Usage": "Training"},
        {"emotion": "1", "pixels": PIXELS.replace("7", "256"), "Usage": "Training"},
        {"emotion": "1", "pixels": "1 x", "Usage": "Training"},
    ]
    lines = [header, *(",".join(row[column] for column in columns) for row in rows), "5"]
    (tmp_path / name).write_text("\n".join(lines))
    for root in (tmp_path, tmp_path / name):
        listing = listed("fer2013", root)
        assert seen(listing) == [
            ("line 2", "anger", "train", None),
            ("line 3", "neutral", "val", None),
        ]
        assert listing.stills[0].gray == bytes([7]) * 48 * 48
        assert listing.left_out == {
            "of the test part": 1,
            "an unknown emotion or Usage": 1,
            "not 48 x 48 pixels of 0 to 255": 2,
            "pixels that are not numbers": 1,
            "a row with too few columns": 1,
        }


def test_fer2013_without_its_csv_or_columns_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"neither fer2013\.csv nor icml_face_data\.csv is in"):
        listed("fer2013", tmp_path)
    (tmp_path / "fer2013.csv").write_text("label,pixels\n")
    with pytest.raises(UserError, match=r"fer2013\.csv has no columns emotion, pixels and Usage"):
        listed("fer2013", tmp_path)


@pytest.mark.parametrize("inner", ["", "basic/"])
def test_rafdb_is_a_list_and_aligned_images(tmp_path: Path, inner: str) -> None:
    touch(tmp_path, f"{inner}Image/aligned/train_00001_aligned.jpg")
    touch(tmp_path, f"{inner}Image/aligned/test_0001_aligned.jpg")
    touch(tmp_path, f"{inner}Image/original/train_00002.jpg")
    labels = tmp_path / inner / "EmoLabel" / "list_patition_label.txt"
    labels.parent.mkdir()
    labels.write_text("train_00001.jpg 1\ntrain_00002.jpg 7\ntest_0001.jpg 4\n\n")
    listing = listed("rafdb", tmp_path)
    assert seen(listing) == [("train_00001.jpg", "surprise", None, None)]
    assert listing.classes[3:] == ["happiness", "sadness", "anger", "neutral"]
    assert listing.left_out == {"of the test part": 1, "named in the list, but not there": 1}
    labels.write_text("train_00001.jpg 0\n")
    with pytest.raises(UserError, match=r"list_patition_label\.txt, line 1: .* class 1\.\.7"):
        listed("rafdb", tmp_path)
    labels.unlink()
    with pytest.raises(UserError, match=r"is not laid out as rafdb: list_patition_label\.txt"):
        listed("rafdb", tmp_path)


def test_affectnet_is_numbered_images_and_labels(tmp_path: Path) -> None:
    for part in ("train_set", "val_set"):
        (tmp_path / part / "annotations").mkdir(parents=True)
        touch(tmp_path, *(f"{part}/images/{n}.jpg" for n in (1, 2, 10)))
    labels: dict[str, Any] = {
        "train_set/annotations/1": "7",
        "train_set/annotations/2": 8,
        "val_set/annotations/1": 0,
        "val_set/annotations/10": "x",
    }
    for name, label in labels.items():
        np.save(tmp_path / f"{name}_exp.npy", np.array(label))
    # a pickle is not opened
    trap = tmp_path / "val_set/annotations/2_exp.npy"
    np.save(trap, np.array([object], dtype=object), allow_pickle=True)
    listing = listed("affectnet", tmp_path)
    assert seen(listing) == [
        ("train_set/1.jpg", "contempt", "train", None),
        ("val_set/1.jpg", "neutral", "val", None),
    ]
    assert listing.left_out == {
        "labeled as no expression": 1,
        "without a label": 1,
        "a label that is not a number": 2,
    }
    with pytest.raises(UserError, match=r"not laid out as affectnet: images"):
        listed("affectnet", tmp_path / "train_set")


def test_the_demo_renders_other_people_once(own_store: Path) -> None:
    from arpgnet.pipeline.demo import CLASSES, SUBJECT_SEEDS_DEMO
    from arpgnet.pipeline.stills.demo import FIRST_SUBJECT, render_expression
    from tools.demo_pack.stills import HELD_OUT_SUBJECTS, TRAIN_SUBJECTS

    assert max(max(SUBJECT_SEEDS_DEMO), TRAIN_SUBJECTS, HELD_OUT_SUBJECTS) + 50_000 < FIRST_SUBJECT
    params = FinetuneParams(enabled=True, subjects=4)
    listing = list_stills(params, 2)
    assert len(listing.stills) == 4 * 8 * 3
    assert listing.classes == sorted(CLASSES)
    assert {still.subject for still in listing.stills} == {f"still{n:05d}" for n in range(4)}
    path = listing.stills[0].path
    assert path is not None
    before = path.stat().st_mtime_ns
    assert list_stills(params, 1).stills == listing.stills
    assert path.stat().st_mtime_ns == before
    image, quality = render_expression(0, "anger", 0)
    again, _ = render_expression(0, "anger", 0)
    assert np.array_equal(image, again)
    assert 60 <= quality < 96
    assert cv2.imread(str(path)).shape == (256, 256, 3)
