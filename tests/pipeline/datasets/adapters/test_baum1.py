"""BAUM-1: two parts whose clips have the same names, annotated in a workbook."""

from __future__ import annotations

import pytest

from arpgnet.pipeline.common.errors import UserError
from helpers.dataset_trees import by_path, ingested, sides, text, video

SIX = ("Anger", "Disgust", "Fear", "Happiness", "Sadness", "Surprise")
SPONTANEOUS = (
    *("Anger", "Boredom", "Bothered", "Concentrating", "Contempt", "Disgust", "Fear"),
    *("Happiness", "Neutral", "Sadness", "Surprise", "Thinking", "Unsure"),
)
ACTED = (
    *("Anger", "Boredom", "Disgust", "Fear", "Happiness", "Interest", "Sadness"),
    *("Surprise", "Unsure"),
)
HEAD = "No,Subject,Gender,Clip,Emotion,Code"


def rows(order, words, subjects=range(1, 7)):
    """As exported from the workbook: number, subject, gender, clip, word, code."""
    lines = [HEAD]
    for subject in subjects:
        for take, word in enumerate(words, 1):
            clip = f"S{subject:03d}_{take:03d}"
            lines.append(f"{len(lines)},{subject},F,{clip},{word},{order.index(word) + 1}")
    return lines


def tree(root, words=SIX, acted=SIX):
    """Six subjects, with the same clip names in both parts."""
    for part, order, shown in (("s_MP4 - All", SPONTANEOUS, words), ("a_MP4_all", ACTED, acted)):
        for line in rows(order, shown)[1:]:
            clip = line.split(",")[3]
            video(root / f"BAUM1{part}/{clip[:4].lower()}/{clip}.mp4")
        content = "\n".join(rows(order, shown))
        text(root / f"Annotations_BAUM1{part[0]}.csv", content)
    return root


def relabeled(root, line, name="Annotations_BAUM1s.csv", **changes):
    """The file with one of its lines, counted from 1, in other words."""
    lines = (root / name).read_text().splitlines()
    for old, new in changes.items():
        lines[line - 1] = lines[line - 1].replace(old, new)
    text(root / name, "\n".join(lines))


def test_spontaneous_part_in_five_folds_of_subjects(tmp_path):
    manifest = ingested("baum1", tree(tmp_path / "baum"), tmp_path)
    assert manifest.classes == ["anger", "disgust", "fear", "happiness", "sadness", "surprise"]
    assert len(manifest.clips) == 36
    clip = by_path(manifest)["BAUM1s_MP4 - All/s003/S003_005.mp4"]
    assert (clip.label, clip.subject, clip.group) == ("sadness", "s003", None)
    folds = sides(tmp_path)
    assert len(folds) == 5
    for split in folds.values():
        tested = {name.split("/")[1] for name, side in split.items() if side == "test"}
        other = {name.split("/")[1] for name, side in split.items() if side != "test"}
        assert not tested & other
    assert manifest.notes["left_out"] == {"videos of the acted part": 36}
    assert manifest.notes["unused_files"]["first"] == ["Annotations_BAUM1a.csv"]


def test_acted_part_has_codes_of_its_own(tmp_path):
    root = tree(tmp_path / "baum", acted=(*SIX, "Interest", "Unsure"))
    manifest = ingested("baum1", root, tmp_path, variant="acted")
    assert manifest.classes == [
        *("anger", "disgust", "fear", "happiness", "interest", "sadness", "surprise", "unsure"),
    ]
    assert by_path(manifest)["BAUM1a_MP4_all/s001/S001_007.mp4"].label == "interest"


def test_contempt_and_concentrating_are_told_apart(tmp_path):
    root = tree(tmp_path / "baum", words=SPONTANEOUS)
    manifest = ingested("baum1", root, tmp_path)
    assert manifest.classes == [word.lower() for word in SPONTANEOUS]
    clips = by_path(manifest)
    assert clips["BAUM1s_MP4 - All/s002/S002_004.mp4"].label == "concentrating"
    assert clips["BAUM1s_MP4 - All/s002/S002_005.mp4"].label == "contempt"


def test_six_basic_classes_by_exclusion(tmp_path):
    root = tree(tmp_path / "baum", words=SPONTANEOUS)
    rest = [word.lower() for word in SPONTANEOUS if word not in SIX]
    manifest = ingested("baum1", root, tmp_path, exclude=rest)
    assert manifest.classes == [word.lower() for word in SIX]
    assert manifest.notes["excluded"] == dict.fromkeys(rest, 6)


@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_other_delimiters_and_columns(tmp_path, delimiter):
    root = tree(tmp_path / "baum")
    lines = [delimiter.join(line.split(",")[3:]) for line in rows(SPONTANEOUS, SIX)[1:]]
    text(root / "Annotations_BAUM1s.csv", "\n".join(lines))
    assert len(ingested("baum1", root, tmp_path).clips) == 36


def test_codes_alone_are_enough(tmp_path):
    root = tree(tmp_path / "baum")
    lines = [line.split(",") for line in rows(SPONTANEOUS, SIX)[1:]]
    text(root / "Annotations_BAUM1s.csv", "\n".join(f"{row[3]},{row[5]}" for row in lines))
    clips = by_path(ingested("baum1", root, tmp_path))
    assert clips["BAUM1s_MP4 - All/s001/S001_006.mp4"].label == "surprise"


def test_word_and_code_that_disagree_are_counted_not_used(tmp_path):
    root = tree(tmp_path / "baum")
    relabeled(root, 5, Happiness="Neutral")
    manifest = ingested("baum1", root, tmp_path)
    assert len(manifest.clips) == 35
    assert manifest.notes["left_out"]["word and code of the annotation name two classes"] == 1


def test_videos_without_an_annotation_and_lines_without_a_clip_are_counted(tmp_path):
    root = tree(tmp_path / "baum")
    video(root / "BAUM1s_MP4 - All/s001/S001_099.mp4")
    path = root / "Annotations_BAUM1s.csv"
    text(path, path.read_text() + "\n\n,,,,,\n,,,total,36,\n")
    notes = ingested("baum1", root, tmp_path).notes
    assert notes["left_out"]["videos without an annotation"] == 1
    assert notes["left_out"]["lines of Annotations_BAUM1s.csv without a clip"] == 1


def test_a_missing_video_is_quarantined(tmp_path):
    root = tree(tmp_path / "baum")
    (root / "BAUM1s_MP4 - All/s002/S002_003.mp4").unlink()
    clip = by_path(ingested("baum1", root, tmp_path))["BAUM1s_MP4 - All/s002/S002_003.mp4"]
    assert (clip.status, clip.reason) == ("quarantined", "file not found")


def test_a_clip_named_twice(tmp_path):
    root = tree(tmp_path / "baum")
    path = root / "Annotations_BAUM1s.csv"
    text(path, path.read_text() + "\n99,1,F,S001_001,Anger,1\n")
    assert (
        ingested("baum1", root, tmp_path).notes["left_out"]["further lines of the same clip"] == 1
    )
    text(path, path.read_text() + "\n99,1,F,S001_001,Fear,7\n")
    with pytest.raises(
        UserError, match=r"line 40 of .*: S001_001 has another class than in line 2"
    ):
        ingested("baum1", root, tmp_path)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"Disgust": "Joy"}, r"line 3 of Annotations_BAUM1s\.csv: unknown class 'Joy'; known: ang"),
        ({"Disgust,6": "Disgust,14"}, r"line 3 of .*: unknown class '14'; known: 1 \(anger\)"),
        ({"Disgust,6": ","}, r"line 3 of .*: no class follows the clip's name"),
    ],
)
def test_impossible_lines(tmp_path, changes, said):
    root = tree(tmp_path / "baum")
    relabeled(root, 3, **changes)
    with pytest.raises(UserError, match=said):
        ingested("baum1", root, tmp_path)


def test_a_file_that_names_no_clip(tmp_path):
    root = tree(tmp_path / "baum")
    text(root / "Annotations_BAUM1s.csv", HEAD)
    with pytest.raises(UserError, match=r"Annotations_BAUM1s\.csv lists no clip such as S001_001"):
        ingested("baum1", root, tmp_path)


def test_a_workbook_alone_is_explained(tmp_path):
    root = tree(tmp_path / "baum")
    (root / "Annotations_BAUM1s.csv").rename(root / "Annotations_BAUM1s.xlsx")
    with pytest.raises(
        UserError, match=r"s\.xlsx is a workbook.* as Annotations_BAUM1s\.csv \(CSV"
    ):
        ingested("baum1", root, tmp_path)


def test_wrong_root(tmp_path):
    root = tree(tmp_path / "all/baum")
    with pytest.raises(
        UserError, match=r"baum1: no video below a folder BAUM1s_MP4\.\.\. .*; set "
    ):
        ingested("baum1", tmp_path / "all", tmp_path)
    (root / "Annotations_BAUM1s.csv").unlink()
    with pytest.raises(UserError, match=r"baum1: no Annotations_BAUM1s\.csv \(saved from"):
        ingested("baum1", root, tmp_path)
    with pytest.raises(UserError, match="baum1 has no 'both'; known: spontaneous, acted"):
        ingested("baum1", root, tmp_path, variant="both")
