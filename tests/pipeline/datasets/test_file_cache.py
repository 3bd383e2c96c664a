"""Looking at files: once each, and never an exception for a bad one."""

from __future__ import annotations

import hashlib
import os

import av
import numpy as np
import pytest

from arpgnet.pipeline.datasets import file_cache
from arpgnet.pipeline.datasets.file_cache import FileCache
from arpgnet.pipeline.datasets.media import Media
from arpgnet.pipeline.runner.workers import Crashed, Limits, run_in_workers
from helpers.tiny_videos import write_video


@pytest.fixture
def opened(monkeypatch):
    """The files that were opened, by name."""
    names = []

    def spy(job, paths, *others):
        names.extend(one.path.name for one in paths)
        return run_in_workers(job, paths, *others)

    monkeypatch.setattr(file_cache, "run_in_workers", spy)
    return names


def media(paths):
    return [Media(path) for path in paths]


def test_a_video(tmp_path):
    path = write_video(tmp_path / "a.mp4", 1, frames=25)
    with FileCache() as cache:
        (found,) = cache.describe([Media(path)])
        (start,) = cache.starts([Media(path)])
    assert found.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (found.width, found.height, found.frames, found.fps) == (64, 64, 25, 25.0)
    assert found.duration_s == pytest.approx(1.0, abs=0.05)
    assert found.reason is None
    assert start.shape == (5, 16, 16)


def test_bad_files_have_reasons(tmp_path):
    (tmp_path / "empty.mp4").write_bytes(b"")
    (tmp_path / "text.mp4").write_bytes(b"this is no video" * 99)
    (tmp_path / "folder.mp4").mkdir()
    whole = write_video(tmp_path / "whole.mp4", 1)
    (tmp_path / "truncated.mp4").write_bytes(whole.read_bytes()[:-900])
    with av.open(str(tmp_path / "sound.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=44100)
        silence = np.zeros((1, 1024), np.float32)
        frame = av.AudioFrame.from_ndarray(silence, format="fltp", layout="mono")
        frame.sample_rate = 44100
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    names = ["empty", "text", "folder", "truncated", "sound", "absent"]
    with FileCache() as cache:
        found = cache.describe(media(tmp_path / f"{name}.mp4" for name in names), workers=2)
    reasons = dict(zip(names, (file.reason for file in found), strict=True))
    assert all(reasons.values())
    assert reasons["folder"] == "not a file"
    assert reasons["absent"] == "file not found"
    # one reason for each kind of damage, so that counting them says something
    assert len({reasons["empty"], reasons["text"], reasons["sound"]}) == 3
    assert str(tmp_path) not in " ".join(reasons.values())


def test_unchanged_files_are_not_opened(tmp_path, opened):
    paths = [write_video(tmp_path / f"{n}.mp4", n) for n in range(3)]
    (tmp_path / "bad.mp4").write_bytes(b"bad")
    paths.append(tmp_path / "bad.mp4")
    with FileCache() as cache:
        first = cache.describe(media(paths), workers=2)
    assert sorted(opened) == ["0.mp4", "1.mp4", "2.mp4", "bad.mp4"]
    opened.clear()
    with FileCache() as cache:
        assert cache.describe(media(paths)) == first
        assert opened == []
        write_video(paths[1], 9)
        changed = cache.describe(media(paths))
    assert opened == ["1.mp4"]
    assert changed[1].sha256 != first[1].sha256
    assert changed[0] == first[0]


def test_a_touched_file_is_opened(tmp_path, opened):
    path = write_video(tmp_path / "a.mp4", 1)
    with FileCache() as cache:
        cache.describe([Media(path)])
        os.utime(path, ns=(1, 1))
        cache.describe([Media(path)])
    assert opened == ["a.mp4", "a.mp4"]


def test_an_absent_file_is_looked_for_again(tmp_path):
    path = tmp_path / "a.mp4"
    with FileCache() as cache:
        assert cache.describe([Media(path)])[0].reason == "file not found"
        write_video(path, 1)
        assert cache.describe([Media(path)])[0].reason is None


def test_a_file_that_ends_or_holds_up_its_worker(tmp_path, monkeypatch):
    """It has a reason, which is forgotten: the next run looks again."""
    paths = [write_video(tmp_path / f"{n}.mp4", n) for n in range(2)]
    os.mkfifo(tmp_path / "pipe.mp4")  # opening it waits for a writer, for ever

    def spy(job, items, *others):
        for item, result in run_in_workers(job, items, *others):
            yield item, Crashed(11) if item.path == paths[0] else result

    with FileCache() as cache:
        with monkeypatch.context() as patch:
            patch.setattr(file_cache, "run_in_workers", spy)
            found = cache.describe(media([*paths, tmp_path / "pipe.mp4"]), 2, Limits(seconds=60.0))
        assert [file.reason for file in found] == ["worker crashed", None, "not a file"]
        assert cache.describe(media(paths))[0].reason is None
    with FileCache() as cache:
        limits = Limits(seconds=0.001)
        write_video(paths[0], 7)
        (late,) = cache.describe(media(paths[:1]), 1, limits)
        assert late.reason == "took longer than 0.001 s"
        assert cache.describe(media(paths[:1]))[0].reason is None


def test_a_damaged_cache_is_made_anew(tmp_path):
    path = write_video(tmp_path / "a.mp4", 1)
    with FileCache() as cache:
        first = cache.describe([Media(path)])
        place = cache.path
    place.write_bytes(b"not a data base, whatever it was" * 200)
    with FileCache() as cache:
        assert cache.describe([Media(path)]) == first


def test_whole_clip_is_kept(tmp_path, monkeypatch):
    path = write_video(tmp_path / "a.mp4", 1, frames=40)
    with FileCache() as cache:
        cache.describe([Media(path)])
        (whole,) = cache.wholes([Media(path)])
        assert len(whole) == 8
        monkeypatch.setattr(file_cache.fingerprint, "thumbnails", None)
        (again,) = cache.wholes([Media(path)])
        assert (again == whole).all()


def test_many_whole_clips_are_read_by_workers(tmp_path):
    paths = [write_video(tmp_path / f"{n}.mp4", n, frames=40) for n in range(17)]
    with FileCache() as cache:
        cache.describe(media(paths))
        paths[16].write_bytes(b"")
        found = cache.wholes(media(paths), workers=2)
        start = cache.starts(media(paths[16:]))[0]
    assert {len(images) for images in found[:16]} == {8}
    # one that can no longer be read counts by its start
    assert (found[16] == start).all()


def test_what_was_changed_in_the_cache_is_not_believed(tmp_path):
    """Its pages are sound, but a digest in them is another: the file is looked at again."""
    path = write_video(tmp_path / "a.mp4", 1)
    with FileCache() as cache:
        (first,) = cache.describe([Media(path)])
        place = cache.path
    data = place.read_bytes()
    at = data.index(first.sha256.encode())
    for wrong in (b"x", b"\xff"):
        place.write_bytes(data[:at] + wrong + data[at + 1 :])
        with FileCache() as cache:
            assert cache.describe([Media(path)]) == [first]


@pytest.mark.slow
def test_a_damaged_page_is_found_when_the_cache_is_opened(tmp_path):
    paths = [write_video(tmp_path / f"{n}.mp4", n) for n in range(3)]
    with FileCache() as cache:
        first = cache.describe(media(paths))
        place = cache.path
    data = place.read_bytes()
    for start in range(4096, len(data), 4096):
        place.write_bytes(data[:start] + bytes(512) + data[start + 512 :])
        with FileCache() as cache:
            assert cache.describe(media(paths)) == first
