"""Data sets that consist of links: class folders, DVC's cache, snapshots of Hugging Face."""

from __future__ import annotations

from pathlib import Path

import pytest

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.common.params import DatasetParams, DecodeParams
from arpgnet.pipeline.datasets.corpora import corpora
from arpgnet.pipeline.datasets.layout import unused_files, videos_below
from arpgnet.pipeline.decode.clip import DecodeClip
from arpgnet.pipeline.predict.run import list_videos
from arpgnet.pipeline.store import file_sha256
from arpgnet.pipeline.tables.manifest import Clip
from helpers.tiny_videos import write_video

REFUSED = "is a link that leads out of the data set's root: set dataset.follow_links=true if"


def make(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(name.encode())
    return root


def paths(root: Path, *, follow_links: bool, name: str = "folder", **more: str) -> list[str]:
    params = DatasetParams(name=name, root=str(root), follow_links=follow_links, **more)
    return [clip.path for clip in corpora(params)[0].listing().clips]


@pytest.fixture
def linked(tmp_path: Path) -> Path:
    """Two class folders that are links."""
    elsewhere = make(tmp_path / "elsewhere", "joy/a.mp4", "fear/b.mp4")
    root = tmp_path / "root"
    root.mkdir()
    for label in ("joy", "fear"):
        (root / label).symlink_to(elsewhere / label)
    return root


def test_linked_class_folders(linked):
    with pytest.raises(UserError, match=REFUSED):
        paths(linked, follow_links=False)
    assert paths(linked, follow_links=True) == ["fear/b.mp4", "joy/a.mp4"]


def test_csv(linked):
    make(linked, "l.csv").joinpath("l.csv").write_text("path,label\njoy/a.mp4,x\nfear/b.mp4,y\n")
    with pytest.raises(UserError, match=rf"line 2 of l.csv: path 'joy/a.mp4' {REFUSED}"):
        paths(linked, follow_links=False, name="csv", manifest="l.csv")
    assert len(paths(linked, follow_links=True, name="csv", manifest="l.csv")) == 2


@pytest.mark.parametrize("path", ["../elsewhere/joy/a.mp4", "/etc/passwd", "joy/../../x.mp4", ""])
def test_links_do_not_excuse_paths(linked, path):
    make(linked, "l.csv").joinpath("l.csv").write_text(f"path,label\n{path},x\n")
    with pytest.raises(UserError, match=r"must be relative|is empty"):
        paths(linked, follow_links=True, name="csv", manifest="l.csv")


def test_snapshot_of_hugging_face(tmp_path):
    snapshot = tmp_path / "models--x/snapshots/0f"
    for label in ("joy", "fear"):
        make(tmp_path / "models--x/blobs", f"{label:0>64}")
        (snapshot / label).mkdir(parents=True)
        (snapshot / label / "a.mp4").symlink_to(f"../../../blobs/{label:0>64}")
    with pytest.raises(UserError, match=REFUSED):
        paths(snapshot, follow_links=False)
    assert paths(snapshot, follow_links=True) == ["fear/a.mp4", "joy/a.mp4"]


@pytest.mark.parametrize("cache", [".dvc/cache", "shared"])
def test_links_into_the_cache_of_dvc(tmp_path, cache):
    root, repository = tmp_path / "repo/videos", tmp_path / "repo"
    (repository / ".dvc").mkdir(parents=True)
    if cache == "shared":
        (repository / ".dvc/config").write_text(
            "[cache]\n    type = symlink\n    dir = ../shared\n"
        )
    entries = repository / cache / "files/md5"
    for number, label in enumerate(("joy", "fear")):
        entry = write_video(entries / f"0{number}" / f"{'ab' * 15}.mp4", number, frames=5)
        entry = entry.rename(entry.with_suffix(""))
        (root / label).mkdir(parents=True)
        (root / label / "a.mp4").symlink_to(entry)
    assert paths(root, follow_links=False) == ["fear/a.mp4", "joy/a.mp4"]
    clip = Clip("joy/a", "joy/a.mp4", file_sha256(root / "joy/a.mp4"))
    (table,) = DecodeClip({"": root}, DecodeParams()).run(clip)
    assert table.num_rows == 5
    # what only lies beside the cache's entries is refused
    make(repository / cache, "secret.mp4")
    (root / "joy/b.mp4").symlink_to(repository / cache / "secret.mp4")
    with pytest.raises(UserError, match=REFUSED):
        paths(root, follow_links=False)


def test_decode_follows_links_where_ingest_did(linked):
    write_video(linked / "joy/a.mp4", 1, frames=5)
    clip = Clip("joy/a", "joy/a.mp4", file_sha256(linked / "joy/a.mp4"))
    with pytest.raises(UserError, match=REFUSED):
        list(DecodeClip({"": linked}, DecodeParams()).run(clip))
    (table,) = DecodeClip({"": linked}, DecodeParams(), follow_links=True).run(clip)
    assert table.num_rows == 5


def test_deep_linked_folders(tmp_path):
    for speaker in ("s1", "s2"):
        make(tmp_path / f"elsewhere/{speaker}", "an1.avi", "ha1.avi")
        (tmp_path / "root" / speaker).mkdir(parents=True)
        (tmp_path / "root" / speaker / "english").symlink_to(tmp_path / "elsewhere" / speaker)
    root = tmp_path / "root"
    with pytest.raises(UserError, match=r"rml: no video .*; linked folders are not followed: data"):
        paths(root, follow_links=False, name="rml")
    # links in a circle end, and do not bring one speaker's clips to another
    (root / "s1/again").symlink_to(root / "s1")
    (root / "s2/up").symlink_to(root)
    (root / "s2/self").symlink_to(root / "s2/self")
    assert paths(root, follow_links=True, name="rml") == [
        "s1/english/an1.avi",
        "s1/english/ha1.avi",
        "s2/english/an1.avi",
        "s2/english/ha1.avi",
    ]


def test_a_linked_folder_that_is_not_followed_is_unused(linked):
    make(linked, "fear2/c.mp4")
    assert unused_files(linked, ["joy/a.mp4"]) == ["fear", "fear2/c.mp4"]
    assert unused_files(linked, ["joy/a.mp4"], follow_links=True) == ["fear/b.mp4", "fear2/c.mp4"]


def test_predict_reads_linked_folders(linked):
    (linked / "joy/up").symlink_to(linked)
    make(linked, "c.mp4")
    assert list_videos([linked]) == [linked / name for name in ("c.mp4", "fear/b.mp4", "joy/a.mp4")]
    assert videos_below(linked) == [linked / "c.mp4"]
