"""A folder of videos becomes a manifest and splits."""

from __future__ import annotations

import os
import shutil
import sys

import pyarrow.parquet as pq
import pytest

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.common.params import DatasetParams
from arpgnet.pipeline.datasets import file_cache
from arpgnet.pipeline.datasets.base import Images, ListedClip
from arpgnet.pipeline.ingest.rows import clip_ids
from arpgnet.pipeline.ingest.run import ingest
from arpgnet.pipeline.tables.manifest import (
    FRAME_LABELS,
    MANIFEST,
    SPLITS,
    read_manifest,
    read_splits,
)
from helpers.tiny_videos import write_video

SUBJECTS, LABELS = 4, ("fear", "joy")


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """Four people, two classes, one clip each, and a manifest."""
    root = tmp_path_factory.mktemp("videos")
    rows = ["path,label,subject"]
    for subject in range(SUBJECTS):
        for number, label in enumerate(LABELS):
            name = f"{label}/s{subject}.mp4"
            write_video(root / name, 10 * subject + number)
            rows.append(f"{name},{label},s{subject}")
    (root / "labels.csv").write_text("\n".join(rows) + "\n")
    return root


@pytest.fixture
def root(videos, tmp_path):
    return shutil.copytree(videos, tmp_path / "videos")


def params(root, **more):
    return DatasetParams(**{"name": "csv", "root": str(root), "manifest": "labels.csv", **more})


def run(root, folder, **more):
    ingest(params(root, **more), workers=2, folder=folder)
    return read_manifest(folder / MANIFEST)


def bytes_of(folder):
    return [(folder / name).read_bytes() for name in (MANIFEST, SPLITS, FRAME_LABELS)]


def add_row(root, *rows):
    manifest = root / "labels.csv"
    manifest.write_text(manifest.read_text() + "".join(f"{row}\n" for row in rows))


def test_manifest_and_splits(root, tmp_path):
    manifest = run(root, tmp_path, protocol="loso")
    assert manifest.classes == ["fear", "joy"]
    assert [clip.clip_id for clip in manifest.clips][:2] == ["fear/s0", "fear/s1"]
    clip = manifest.clips[5]
    assert (clip.path, clip.label, clip.label_index, clip.subject) == (
        "joy/s1.mp4",
        "joy",
        1,
        "s1",
    )
    assert (clip.frames, clip.fps, clip.width, clip.status) == (40, 25.0, 64, "ok")
    assert manifest.notes["listed"] == 8
    assert manifest.notes["quarantined"] == {}
    splits = read_splits(tmp_path / SPLITS).to_pylist()
    assert len(splits) == 8 * SUBJECTS
    assert {row["fold"] for row in splits} == set(range(SUBJECTS))
    assert pq.read_table(tmp_path / FRAME_LABELS).num_rows == 0


def test_same_bytes_wherever_the_folder_lies(root, tmp_path, monkeypatch):
    run(root, tmp_path / "a")
    moved = shutil.move(root, tmp_path / "elsewhere")
    monkeypatch.setenv("ARPGNET_STORE", str(tmp_path / "another store"))
    lines = (moved / "labels.csv").read_text().splitlines()
    (moved / "labels.csv").write_text("\n".join([lines[0], *reversed(lines[1:])]))
    run(moved, tmp_path / "b")
    assert bytes_of(tmp_path / "a") == bytes_of(tmp_path / "b")


def test_second_run_opens_and_divides_nothing(root, tmp_path, monkeypatch):
    run(root, tmp_path / "a")

    def look(job, items, *others):
        assert not items
        return iter(())

    monkeypatch.setattr(file_cache, "run_in_workers", look)
    monkeypatch.setitem(ingest.__globals__, "assign_splits", None)
    run(root, tmp_path / "b")
    assert bytes_of(tmp_path / "a") == bytes_of(tmp_path / "b")


def test_another_setting_is_another_result(root, tmp_path):
    run(root, tmp_path / "a", protocol="loso")
    run(root, tmp_path / "b", protocol="loso", classes=["joy", "fear"])
    assert read_manifest(tmp_path / "b" / MANIFEST).clips[0].label_index == 1


def test_bad_clips_stay_in_the_manifest(root, tmp_path):
    (root / "joy" / "zero.mp4").write_bytes(b"")
    add_row(root, "joy/zero.mp4,joy,s0", "joy/gone.mp4,joy,s1")
    manifest = run(root, tmp_path, protocol="loso")
    bad = {clip.clip_id: clip for clip in manifest.clips if clip.status == "quarantined"}
    assert set(bad) == {"joy/zero", "joy/gone"}
    assert bad["joy/gone"].reason == "file not found"
    assert sum(manifest.notes["quarantined"].values()) == 2
    assert read_splits(tmp_path / SPLITS).num_rows == 10 * SUBJECTS


def test_nothing_but_bad_clips(tmp_path):
    (tmp_path / "labels.csv").write_text("path,label\na.mp4,x\nb.mp4,y\nc.mp4,y\n")
    (tmp_path / "a.mp4").write_bytes(b"")
    with pytest.raises(
        UserError, match=r"none of the 3 clips can be used; 2 of them: file not found \(first: 'b"
    ):
        run(tmp_path, tmp_path)


def test_excluded_classes_are_counted_and_not_opened(root, tmp_path):
    add_row(root, "nowhere.mp4,boredom,s0")
    manifest = run(root, tmp_path, exclude=["boredom"])
    assert manifest.classes == ["fear", "joy"]
    assert manifest.notes["excluded"] == {"boredom": 1}
    assert len(manifest.clips) == 8


def test_unlisted_class(root, tmp_path):
    with pytest.raises(UserError, match=r"class 'joy' .* is not in dataset\.classes"):
        run(root, tmp_path, classes=["fear", "happiness"])


def test_near_duplicates_stay_together(root, tmp_path):
    # the same performance in another file, of another person by the manifest's word
    write_video(root / "again.avi", 10, quality=10)
    add_row(root, "again.avi,fear,s3")
    manifest = run(root, tmp_path, protocol="loso")
    assert manifest.notes["near_duplicates"] == {"clips": 2, "sets": 1}
    remark = "4 subjects, but only 3 folds: some subjects share a group or near-duplicates"
    assert manifest.notes["remarks"] == [remark]
    assert manifest.notes["recordings"] == {"again": "again", "fear/s1": "again"}
    side = {
        (row["fold"], row["clip_id"]): row["split"]
        for row in read_splits(tmp_path / SPLITS).to_pylist()
    }
    assert all(side[fold, "again"] == side[fold, "fear/s1"] for fold in range(3))


@pytest.mark.parametrize(
    ("copied", "what"), [(True, "are the same file"), (False, "are near-duplicates")]
)
def test_near_duplicates_on_two_sides_are_refused(root, tmp_path, copied, what):
    if copied:
        shutil.copy(root / "fear" / "s1.mp4", root / "again.mp4")
    else:
        write_video(root / "again.mp4", 10, quality=10)
    rows = ["path,label,split", "again.mp4,fear,test"]
    for subject, split in enumerate(["train", "train", "val", "test"]):
        rows += [f"{label}/s{subject}.mp4,{label},{split}" for label in LABELS]
    (root / "labels.csv").write_text("\n".join(rows))
    with pytest.raises(UserError, match=f"'again' and 'fear/s1' {what} but are in test and train"):
        run(root, tmp_path, protocol="official", group_by="clip")
    assert not (tmp_path / MANIFEST).exists()


def test_same_images_with_two_labels_are_remarked(root, tmp_path):
    write_video(root / "again.mp4", 10, quality=10)
    add_row(root, "again.mp4,joy,s1")
    remarks = run(root, tmp_path).notes["remarks"]
    assert remarks == ["1 group of near-duplicates has conflicting labels"]


def test_parts_of_a_file(root, tmp_path):
    rows = ["path,label,subject,start_s,end_s"]
    for subject in range(SUBJECTS):
        rows += [f"joy/s{subject}.mp4,joy,s{subject},0,0.5"]
        rows += [f"joy/s{subject}.mp4,fear,s{subject},0.5,"]
    rows += ["joy/s0.mp4,joy,s0,99,"]
    (root / "labels.csv").write_text("\n".join(rows))
    manifest = run(root, tmp_path, protocol="loso")
    assert [clip.clip_id for clip in manifest.clips][:3] == [
        "joy/s0@0-0.5",
        "joy/s0@0.5-end",
        "joy/s0@99-end",
    ]
    assert manifest.clips[2].reason == "starts after the end of the file"
    assert manifest.notes["near_duplicates"] == {"clips": 0, "sets": 0}


def test_folder_without_subjects(root, tmp_path):
    settings = {"name": "folder", "manifest": None, "folds": 2}
    with pytest.raises(UserError, match=r"the clips have no subject: set dataset.group_by: clip"):
        run(root, tmp_path, **settings)
    manifest = run(root, tmp_path, **settings, group_by="clip")
    assert manifest.dataset == "folder"
    assert manifest.notes["unused_files"] == {"count": 1, "first": ["labels.csv"]}


def test_clip_ids_are_unique():
    listed = [
        ListedClip("a.mp4", "x"),
        ListedClip("a.avi", "x"),
        ListedClip("b.c.mp4", "x", start_s=1.25, end_s=3.0),
        ListedClip("d/a.mp4", "x", end_s=10.0),
    ]
    assert clip_ids(listed) == ["a.mp4", "a.avi", "b.c@1.25-3", "d/a@0-10"]


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["a.mp4", "a.avi", "a.mp4.mov"], ["a.mp4", "a.avi", "a.mp4.mov"]),
        (["a.mp4.mov", "a.mp4.avi", "b.mp4.mov"], ["a.mp4.mov", "a.mp4.avi", "b.mp4"]),
        (["a", "a.mp4", "a.mp4.mp4"], ["a", "a.mp4", "a.mp4.mp4"]),
        (["cafe\u0301.mp4", "x.mp4"], ["caf\u00e9", "x"]),
        (["cafe\u0301.mp4", "caf\u00e9.mp4"], ["cafe\u0301.mp4", "caf\u00e9.mp4"]),
    ],
)
def test_names_that_meet_keep_their_suffix(paths, names):
    listed = [ListedClip(path, "x") for path in paths]
    assert clip_ids(listed) == names
    assert clip_ids(listed[::-1]) == names[::-1]


def test_a_file_named_like_a_part():
    listed = [
        ListedClip("v.mp4", "x", end_s=1.0),
        ListedClip("v@0-1.mp4", "x"),
        ListedClip("w.mp4@0-1.mp4", "x"),
        ListedClip("w.mp4", "x", end_s=1.0),
        ListedClip("w.mp4", "x", person="left"),
    ]
    names = clip_ids(listed)
    assert names == ["v.mp4@0-1", "v@0-1.mp4", "w.mp4@0-1.mp4", "w@0-1", "w@left"]
    assert clip_ids(listed[::-1]) == names[::-1]


def test_a_folder_of_images_named_like_a_part():
    listed = [
        ListedClip("w.mp4", "x", end_s=1.0),
        ListedClip("w@0-1.mp4", "x"),
        ListedClip("w.mp4@0-1", "x", images=Images()),
    ]
    names = clip_ids(listed)
    assert len(set(names)) == 3
    assert clip_ids(listed[::-1]) == names[::-1]


def test_files_that_differ_by_suffix_are_ingested(root, tmp_path):
    shutil.copy(root / "fear/s0.mp4", root / "fear/s0.avi")
    shutil.copy(root / "fear/s1.mp4", root / "fear/s0.mp4.mov")
    add_row(root, "fear/s0.avi,fear,s0", "fear/s0.mp4.mov,fear,s1")
    clips = run(root, tmp_path, protocol="loso").clips
    assert [clip.clip_id for clip in clips][:3] == ["fear/s0.avi", "fear/s0.mp4", "fear/s0.mp4.mov"]


def test_demo_is_rendered_once(tmp_path, monkeypatch):
    import arpgnet.pipeline.demo

    calls = []

    def render(root, *, subjects, clips_per_class, frame_px, fps, seed, workers, progress=None):
        calls.append((subjects, clips_per_class, frame_px, fps, seed))
        rows = ["path,label,subject"]
        for subject in range(subjects):
            for number, label in enumerate(LABELS):
                write_video(root / f"{label}/s{subject:02d}_c0.mp4", 10 * subject + number)
                rows.append(f"{label}/s{subject:02d}_c0.mp4,{label},s{subject:02d}")
        (root / "manifest.csv").write_text("\n".join(rows))

    monkeypatch.setattr(arpgnet.pipeline.demo, "render_dataset", render, raising=False)
    small = DatasetParams(demo={"subjects": 4, "clips_per_class": 1, "frame_px": 96})
    for _ in range(2):
        ingest(small, folder=tmp_path)
    assert calls == [(4, 1, 96, 25.0, 0)]
    assert read_manifest(tmp_path / MANIFEST).dataset == "demo"
    ingest(small.model_copy(update={"protocol": "loso"}), folder=tmp_path)
    assert len(calls) == 1


needs_bytes = pytest.mark.skipif(sys.platform == "darwin", reason="its files have UTF-8 names")


def folder(root, tmp_path):
    (root / "labels.csv").unlink(missing_ok=True)
    ingest(params(root, name="folder", manifest=None, group_by="clip"), folder=tmp_path)
    return read_manifest(tmp_path / MANIFEST)


@needs_bytes
def test_names_that_are_not_utf8_are_quarantined_and_named(root, tmp_path):
    for name in (b"caf\xe9.mp4", b"two\nlines\xff.mp4"):
        shutil.copy(root / "joy/s0.mp4", root / "joy" / os.fsdecode(name))
    (root / os.fsdecode(b"unused\xe9.txt")).write_text("")
    found = folder(root, tmp_path)
    reasons = {clip.path: clip.reason for clip in found.clips if clip.reason}
    assert reasons == dict.fromkeys(
        ("joy/caf\\xe9.mp4", "joy/two\\nlines\\xff.mp4"), "its name is not UTF-8"
    )
    assert len(found.clips) == 2 + SUBJECTS * len(LABELS)
    assert found.notes["remarks"][0] == (
        "2 names are not UTF-8, rename the files: 'joy/caf\\xe9.mp4', 'joy/two\\nlines\\xff.mp4'"
    )
    assert found.notes["unused_files"]["first"] == ["unused\\xe9.txt"]


@needs_bytes
def test_a_class_whose_name_is_not_utf8_is_left_out_and_named(root, tmp_path):
    shutil.copytree(root / "joy", root / os.fsdecode(b"d\xe9go\xfbt"))
    found = folder(root, tmp_path)
    assert found.classes == list(LABELS)
    why = "the name of class 'd\\xe9go\\xfbt' is not UTF-8: rename it"
    assert found.notes["left_out"] == {why: SUBJECTS}


@needs_bytes
def test_if_no_name_is_utf8_that_is_the_line(root, tmp_path):
    for label in LABELS:
        for path in list((root / label).iterdir()):
            path.rename(path.with_name(os.fsdecode(b"\xe9") + path.name))
    with pytest.raises(UserError, match=r"its name is not UTF-8 \(first: 'fear/\\xe9s0.mp4'\)"):
        folder(root, tmp_path)


@needs_bytes
def test_a_root_whose_name_is_not_utf8(root, tmp_path):
    place = tmp_path / os.fsdecode(b"d\xe9")
    root.rename(place)
    root.symlink_to(place)
    assert {clip.status for clip in folder(root, tmp_path / "out").clips} == {"ok"}


def test_names_that_mean_something_elsewhere(root, tmp_path):
    names = ["12:30", "file:x", "concat:a|b", "100%d#?&", "-x", "two\nlines", "{x}", "[b]*", " y "]
    rows = []
    for number, name in enumerate(names):
        write_video(root / f"joy/{name}.mp4", 100 + number)
        rows.append(f'"joy/{name}.mp4",joy,s{number % SUBJECTS}')
    add_row(root, *rows)
    found = run(root, tmp_path)
    assert {clip.reason for clip in found.clips} == {None}
    assert {f"joy/{name}.mp4" for name in names} < {clip.path for clip in found.clips}
    assert all(clip.frames for clip in found.clips)
