"""Videos whose frames are labeled: from a text file to the table of frame labels."""

from __future__ import annotations

import numpy as np
import pyarrow.parquet as pq
import pytest

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.common.params import DatasetParams
from arpgnet.pipeline.datasets.frame_names import read_frame_names
from arpgnet.pipeline.ingest.run import ingest
from arpgnet.pipeline.tables.manifest import FRAME_LABELS, MANIFEST, read_manifest
from helpers.tiny_videos import write_video

FRAMES = 40  # of the tiny videos


@pytest.fixture
def root(tmp_path):
    """Four people, a video each, whose frames are neutral, then of joy, then of fear."""
    root = tmp_path / "videos"
    rows = ["path,frame_labels,subject"]
    for subject in range(4):
        write_video(root / f"s{subject}.mp4", 10 * subject)
        lines = ["-1"] + ["neutral"] * 15 + [""] * 4 + ["joy"] * 10 + ["fear"] * 10
        (root / f"s{subject}.txt").write_text("\n".join(lines) + "\n")
        rows.append(f"s{subject}.mp4,s{subject}.txt,s{subject}")
    (root / "labels.csv").write_text("\n".join(rows) + "\n")
    return root


def run(root, folder, **more):
    params = {"name": "csv", "root": str(root), "manifest": "labels.csv", "folds": 2, **more}
    ingest(DatasetParams(**params), workers=1, folder=folder)
    return read_manifest(folder / MANIFEST), pq.read_table(folder / FRAME_LABELS).to_pandas()


def test_every_frame_has_its_label(root, tmp_path):
    manifest, table = run(root, tmp_path, val_fraction=0.5)
    assert manifest.classes == ["fear", "joy", "neutral"]
    assert {clip.label for clip in manifest.clips} == {None}
    found = table[table.clip_id == "s1"]
    assert found.frame_index.tolist() == list(range(FRAMES))
    assert found.label_index.tolist() == [-1] + [2] * 15 + [-1] * 4 + [1] * 10 + [0] * 10
    assert manifest.notes["remarks"] == []


def test_excluded_class_is_neither_learned_nor_scored(root, tmp_path):
    manifest, table = run(root, tmp_path, exclude=["neutral"], protocol="loso")
    assert manifest.classes == ["fear", "joy"]
    assert manifest.notes["excluded"] == {"neutral": 4}
    assert table[table.clip_id == "s0"].label_index.tolist() == [-1] * 20 + [1] * 10 + [0] * 10


def test_other_length_is_remarked(root, tmp_path):
    with (root / "s2.txt").open("a") as file:
        file.write("joy\n")
    manifest, table = run(root, tmp_path)
    assert len(table) == 4 * FRAMES + 1
    assert manifest.notes["remarks"] == [
        "1 video has more labels than frames (unused labels: 1), first: 's2'"
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("s3.txt,", "gone.txt,"), "line 5 of labels.csv: no file with frame labels at gone.txt"),
        (("s3.txt,", "../x,"), "line 5 of labels.csv: path '../x' must be relative"),
        (("s3.txt,", ","), "line 5 of labels.csv: 'frame_labels' is empty"),
        (("frame_labels,subject", "frame_labels,label"), "has both 'label' and 'frame_labels'"),
        (("frame_labels", "frames"), "has no column 'label'"),
    ],
)
def test_wrong_manifest(root, tmp_path, change, message):
    manifest = root / "labels.csv"
    manifest.write_text(manifest.read_text().replace(*change))
    with pytest.raises(UserError, match=message):
        run(root, tmp_path)


def test_fold_that_cannot_learn_a_class(root, tmp_path):
    for subject in range(3):
        file = root / f"s{subject}.txt"
        file.write_text(file.read_text().replace("joy", "fear"))
    # the one video of joy is a test video in a fold
    with pytest.raises(UserError, match="no training clip of class 'joy'"):
        run(root, tmp_path, protocol="loso")


def test_file_without_a_class(tmp_path):
    (tmp_path / "a.txt").write_text("-1\n\n")
    with pytest.raises(UserError, match=r"a\.txt has no class names"):
        read_frame_names(tmp_path / "a.txt")
    (tmp_path / "a.txt").write_bytes(b"joy\n\xff")
    with pytest.raises(UserError, match=r"a\.txt is not UTF-8 \(byte 4\)"):
        read_frame_names(tmp_path / "a.txt")


def test_names_keep_their_order(tmp_path):
    (tmp_path / "a.txt").write_text("\ufeffjoy\nfear\n-1\njoy", encoding="utf-8")
    names = read_frame_names(tmp_path / "a.txt")
    assert names.classes() == {"fear", "joy"}
    np.testing.assert_array_equal(names.labels(["joy", "fear"]), [0, 1, -1, 0])
    assert names.count("joy") == 2


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "frame,label\n0,happy\n1,happy\n",
            r"line 1 of a.txt has several columns \('frame,label'\)",
        ),
        ("0,happy\n1,happy\n", "line 1 of a.txt has several columns"),
        ("happy;0.9\n", "line 1 of a.txt has several columns"),
        ("joy\nfear\t1\n", "line 2 of a.txt has several columns"),
        ("frame label\n0 happy\n1 sad\n", r"line 3 of a.txt has several columns \('1 sad'\)"),
        ("label\nhappy\nsad\n", r"line 1 of a.txt is a header \('label'\)"),
        ("".join(f"{n / 100}\n" for n in range(300)), "a.txt has 300 different names in 300 lines"),
    ],
)
def test_tables_are_refused(tmp_path, text, said):
    (tmp_path / "a.txt").write_text(text)
    with pytest.raises(UserError, match=f"{said}.*one class name per line") as error:
        read_frame_names(tmp_path / "a.txt")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-16-le"])
def test_quotes_and_encodings(tmp_path, encoding):
    (tmp_path / "a.txt").write_text('"very happy"\r\nsad\r\n\r\n"sad"\r\n', encoding=encoding)
    names = read_frame_names(tmp_path / "a.txt")
    assert names.names == ("sad", "very happy")
    assert names.codes.tolist() == [1, 0, -1, 0]
