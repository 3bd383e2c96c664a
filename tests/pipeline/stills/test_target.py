"""A still of the target data is found again, whatever was done to the image; others are not."""

import cv2
import numpy as np
import pytest

from arpgnet.pipeline.common.params import FinetuneParams
from arpgnet.pipeline.finetune.data import choose_parts, refusals
from arpgnet.pipeline.stills.crops import Crop
from arpgnet.pipeline.stills.stills import Still
from arpgnet.pipeline.stills.target import MIN_CORRELATION, Target, thumbnail
from arpgnet.pipeline.tables.manifest import Clip
from arpgnet.pipeline.video.frames import decode_jpeg, encode_jpeg
from helpers import faces_tables


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Target:
    root = tmp_path_factory.mktemp("data")
    found = faces_tables.write_tables(root, {"a": [True, True], "b": [True, False], "bad": []})
    clips = [Clip(c.clip_id, c.path, f"{n}" * 64, subject=c.clip_id) for n, c in enumerate(found)]
    return Target(clips, root / "frames", root / "faces")


def smaller(image: np.ndarray) -> np.ndarray:
    return np.asarray(cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA))


CHANGES = {
    "same": lambda image: image,
    "smaller": smaller,
    "compressed": lambda image: decode_jpeg(encode_jpeg(image, 30)),
    "mirrored": lambda image: image[:, ::-1],
    "brighter": lambda image: np.clip(image * 1.1 + 5, 0, 255).astype(np.uint8),
    "gray": lambda image: np.repeat(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None], 3, 2),
}


@pytest.mark.parametrize("change", CHANGES)
def test_images_and_faces_are_found_again(target: Target, change: str) -> None:
    image = CHANGES[change](faces_tables.make_image(1))
    face = CHANGES[change](faces_tables.crop(1, 0))
    other = CHANGES[change](faces_tables.make_image(999))
    known = target.images(np.stack([thumbnail(image), thumbnail(other)]))
    assert known[0] >= MIN_CORRELATION > known[1] + 0.1
    known = target.faces(np.stack([thumbnail(face), thumbnail(other)]))
    assert known[0] >= MIN_CORRELATION > known[1] + 0.1


def test_a_frame_without_a_face_is_known_as_an_image(target: Target) -> None:
    lost = faces_tables.make_image(101)
    assert target.images(thumbnail(lost)[None])[0] >= MIN_CORRELATION


def test_a_plain_image_resembles_nothing(target: Target) -> None:
    assert target.images(np.full((1, 16, 16), 90, np.uint8))[0] == 0.0


def crop_of(image: np.ndarray, sha256: str = "f" * 64) -> Crop:
    face = np.ascontiguousarray(cv2.resize(image, (112, 112)))
    return Crop(sha256, None, face.tobytes(), thumbnail(image).tobytes())


def test_each_still_is_refused_for_its_reason(target: Target) -> None:
    fresh = [faces_tables.make_image(900 + n) for n in range(3)]
    cases = [
        (Still("0", "x"), crop_of(fresh[0]), None),
        (
            Still("1", "x"),
            crop_of(fresh[1], "1" * 64),
            "the same file as a clip of the target data",
        ),
        (Still("2", "x", subject="b"), crop_of(fresh[2]), "of a person of the target data"),
        (Still("3", "x"), crop_of(faces_tables.make_image(1)), "an image of the target data"),
        (Still("4", "x"), crop_of(faces_tables.crop(1, 0)), "a face of the target data"),
        (Still("5", "x", subject="zoe"), Crop("e" * 64, "no face found"), "no face found"),
    ]
    found = refusals([case[0] for case in cases], [case[1] for case in cases], target)
    assert found == [case[2] for case in cases]
    assert refusals([cases[5][0]], [cases[5][1]], target) == ["no face found"]


def test_parts_keep_people_and_equal_files_together() -> None:
    stills = [Still(f"{n}", "xy"[n % 2], subject=f"p{n // 4}") for n in range(40)]
    sums = [f"{n}" for n in range(40)]
    train, val = choose_parts(stills, sums, range(40), FinetuneParams(val_fraction=0.2))
    assert sorted([*train, *val]) == list(range(40))
    assert not {stills[r].subject for r in train} & {stills[r].subject for r in val}
    assert len(val) == 8
    nameless = [Still(f"{n}", "xy"[n % 2]) for n in range(40)]
    twins = [f"{n // 2 % 17}{n % 2}" for n in range(40)]
    train, val = choose_parts(nameless, twins, range(40), FinetuneParams(val_fraction=0.2))
    assert sorted([*train, *val]) == list(range(40))
    assert not {twins[r] for r in train} & {twins[r] for r in val}
    assert {nameless[r].label for r in val} == {"x", "y"}
    again = choose_parts(nameless, twins, range(40), FinetuneParams(val_fraction=0.2))
    assert np.array_equal(again[1], val)


def test_the_set_s_own_validation_part_is_kept_and_equal_files_leave_training() -> None:
    stills = [Still(f"{n}", "xy"[n % 2], part="val" if n < 4 else "train") for n in range(12)]
    sums = [*"abcd", "a", *"efghijk"]
    train, val = choose_parts(stills, sums, range(12), FinetuneParams())
    assert val.tolist() == [0, 1, 2, 3]
    assert train.tolist() == [5, 6, 7, 8, 9, 10, 11]
