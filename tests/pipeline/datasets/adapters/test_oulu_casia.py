"""Oulu-CASIA: cameras, lights, people, expressions; whole images and faces cut out of them."""

from __future__ import annotations

import shutil

import pytest

from arpgnet.pipeline.common.errors import UserError
from helpers.dataset_trees import by_path, ingested, make_images, sides, text

EXPRESSIONS = ("Anger", "Disgust", "Fear", "Happiness", "Sadness", "Surprise")


def tree(root, place="OriginalImg/VL/Strong", people=(1, 2, 3, 11), count=4):
    for person in people:
        for expression in EXPRESSIONS:
            folder = root / place / f"P{person:03}" / expression
            make_images(folder, range(count), name="{:03d}.jpeg")
    return root


def test_visible_light_and_strong_light(tmp_path):
    root = tree(tmp_path / "oulu")
    tree(root, "OriginalImg/NI/Dark", people=(1,))
    text(root / "A_VideoSequence/VL/Strong/P001/Anger.avi", "video")
    manifest = ingested("oulu_casia", root, tmp_path)
    assert manifest.classes == ["anger", "disgust", "fear", "happiness", "sadness", "surprise"]
    assert len(manifest.clips) == 4 * 6
    clip = by_path(manifest)["OriginalImg/VL/Strong/P011/Happiness"]
    assert (clip.label, clip.subject, clip.fold) == ("happiness", "P011", 3)
    assert (clip.image_sequence, clip.frames, clip.fps, clip.faces) == (True, 4, 25.0, "detect")
    assert manifest.notes["left_out"] == {"NI Dark (variant ni_dark)": 6}
    assert manifest.notes["unused_files"] == {
        "count": 1,
        "first": ["A_VideoSequence/VL/Strong/P001/Anger.avi"],
    }
    folds = sides(tmp_path)
    assert len(folds) == 4
    for split in folds.values():
        assert len({name.split("/")[3] for name, side in split.items() if side == "test"}) == 1


def test_folds_are_every_tenth_person(tmp_path):
    root = tree(tmp_path / "oulu", people=range(1, 13), count=2)
    manifest = ingested("oulu_casia", root, tmp_path)
    fold = {clip.subject: clip.fold for clip in manifest.clips}
    assert [fold[f"P{person:03}"] for person in range(1, 13)] == [*range(10), 0, 1]


def test_other_camera(tmp_path):
    root = tree(tmp_path / "oulu")
    tree(root, "OriginalImg/NI/Weak")
    manifest = ingested("oulu_casia", root, tmp_path, variant="ni_weak")
    assert all(clip.path.startswith("OriginalImg/NI/Weak/") for clip in manifest.clips)
    assert manifest.notes["left_out"] == {"VL Strong (variant vl_strong)": 24}


def test_cut_out_faces_and_whole_images_where_there_are_none(tmp_path):
    root = tree(tmp_path / "oulu", "B_OriginalImg/OriginalImg/VL/Strong")
    tree(root, "C_PreProcess_Img/PreProcess_Img/VL_Acropped/Strong")
    shutil.rmtree(root / "C_PreProcess_Img/PreProcess_Img/VL_Acropped/Strong/P003/Fear")
    manifest = ingested("oulu_casia", root, tmp_path, faces="aligned")
    detected = [clip.path for clip in manifest.clips if clip.faces == "detect"]
    assert detected == ["B_OriginalImg/OriginalImg/VL/Strong/P003/Fear"]
    aligned = by_path(manifest)["C_PreProcess_Img/PreProcess_Img/VL_Acropped/Strong/P003/Anger"]
    assert aligned.faces == "aligned"
    assert len(manifest.clips) == 24
    assert manifest.notes["unused_files"]["count"] == 0
    whole = ingested("oulu_casia", root, tmp_path)
    assert all(clip.path.startswith("B_OriginalImg/") for clip in whole.clips)
    assert {clip.faces for clip in whole.clips} == {"detect"}


def test_only_cut_out_faces(tmp_path):
    root = tree(tmp_path / "oulu", "PreProcess_Img/VL_Acropped/Strong")
    manifest = ingested("oulu_casia", root, tmp_path)
    assert {clip.faces for clip in manifest.clips} == {"detect"}
    remark = "24 sequences available only as cropped faces"
    assert any(remark in one for one in manifest.notes["remarks"])
    aligned = ingested("oulu_casia", root, tmp_path, faces="aligned")
    assert {clip.faces for clip in aligned.clips} == {"aligned"}
    assert not any("sequences available" in one for one in aligned.notes["remarks"])


@pytest.mark.parametrize("place", ["VL/Strong", "Oulu_CASIA_NIR_VIS/vl/strong"])
def test_other_places(tmp_path, place):
    root = tree(tmp_path / "oulu", place)
    assert len(ingested("oulu_casia", root, tmp_path).clips) == 24


def test_unknown_expression(tmp_path):
    root = tree(tmp_path / "oulu")
    make_images(root / "OriginalImg/VL/Strong/P001/Neutral", range(2))
    with pytest.raises(UserError, match=r"Strong/P001/Neutral: unknown class 'neutral'; known: an"):
        ingested("oulu_casia", root, tmp_path)


def test_wrong_root(tmp_path):
    tree(tmp_path / "all/oulu")
    with pytest.raises(UserError, match=r"oulu_casia: no folder OriginalImg/VL/Strong.*; set data"):
        ingested("oulu_casia", tmp_path / "all", tmp_path)
    with pytest.raises(UserError, match="no folder OriginalImg/NI/Dark/P001/Anger"):
        ingested("oulu_casia", tmp_path / "all/oulu", tmp_path, variant="ni_dark")
