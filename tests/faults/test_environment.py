"""Faults of the machine around the run, through the commands.

Each is one line and exit status 1, or is repaired by running again; what was finished stays.
"""

import hashlib
import os
import shutil
from pathlib import Path

import pytest

from helpers.in_process import arpgnet, stage
from helpers.support import TINY, Workspace
from helpers.tiny_videos import write_video

CLIPS = 12


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    """Small videos of two classes and their manifest."""
    folder = tmp_path / "clips"
    folder.mkdir()
    for number in range(CLIPS):
        write_video(folder / f"{number}.mp4", seed=number)
    write_manifest(folder, [f"{number}.mp4" for number in range(CLIPS)])
    return folder


def write_manifest(folder: Path, names: list[str]) -> None:
    lines = [f"{name},{'ab'[number % 2]}" for number, name in enumerate(names)]
    (folder / "clips.csv").write_text("\n".join(["path,label", *lines]) + "\n")


@pytest.fixture
def workspace(tmp_path: Path, clips: Path) -> Workspace:
    settings = {
        **TINY,
        "dataset.name": "csv",
        "dataset.root": str(clips),
        "dataset.manifest": str(clips / "clips.csv"),
        "dataset.group_by": "clip",
        "engine.workers": 1,
    }
    return Workspace(tmp_path / "project", settings)


def done(workspace: Workspace, *stages: str) -> None:
    for name in stages:
        finished = stage(name, workspace.root)
        assert finished.returncode == 0, finished.stderr


def refused(workspace: Workspace, name: str) -> str:
    """The one line that a stage says before it exits with 1."""
    finished = stage(name, workspace.root)
    assert finished.returncode == 1
    lines = finished.stderr.strip().splitlines()
    assert len(lines) == 1, finished.stderr
    return lines[0]


def shards(workspace: Workspace) -> dict[str, str]:
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted((workspace.root / "data/frames").iterdir())
    }


def entries(store: Path) -> dict[Path, int]:
    return {path: path.stat().st_ino for path in store.glob("decode/*/*.table")}


def test_what_is_no_readable_file_is_quarantined_with_its_reason(
    workspace: Workspace, clips: Path
) -> None:
    (clips / "folder.mp4").mkdir()
    (clips / "dangling.mp4").symlink_to(clips / "nowhere.mp4")
    (clips / "loop.mp4").symlink_to(clips / "loop.mp4")
    os.mkfifo(clips / "pipe.mp4")
    bad = ["folder.mp4", "dangling.mp4", "loop.mp4", "pipe.mp4", "absent.mp4"]
    write_manifest(clips, [*(f"{number}.mp4" for number in range(CLIPS)), *bad])
    finished = stage("ingest", workspace.root)
    assert finished.returncode == 0, finished.stderr
    assert "5 quarantined" in finished.stdout
    assert "not a file" in finished.stdout
    done(workspace, "decode")


def test_a_file_that_vanishes_is_named_and_the_rest_is_kept(
    workspace: Workspace, clips: Path, own_store: Path
) -> None:
    done(workspace, "ingest")
    (clips / "7.mp4").rename(clips / "away")
    line = refused(workspace, "decode")
    assert "7.mp4" in line
    assert "put it back or run `dvc repro`" in line
    before = entries(own_store)
    (clips / "away").rename(clips / "7.mp4")
    done(workspace, "decode")
    assert before.items() <= entries(own_store).items()


def test_a_file_that_changes_after_it_was_listed_is_not_taken_for_the_old_one(
    workspace: Workspace, clips: Path
) -> None:
    done(workspace, "ingest")
    write_video(clips / "3.mp4", seed=33)
    assert "3.mp4 changed since it was listed" in refused(workspace, "decode")
    done(workspace, "ingest", "decode")


def test_a_full_disk_is_one_line_and_running_again_goes_on(workspace: Workspace) -> None:
    """A limit on the length of files stands for the disk: both refuse the write."""
    done(workspace, "ingest")
    limited = workspace.run(
        "bash", "-c", "ulimit -f 4; python -m arpgnet.stages.decode", check=False
    )
    assert limited.returncode == 1
    assert len(limited.stderr.strip().splitlines()) == 1, limited.stderr
    assert "is full" in limited.stderr
    assert "ARPGNET_STORE" in limited.stderr
    assert "0 damaged" in arpgnet("store", "verify").stdout
    done(workspace, "decode")


@pytest.mark.parametrize("what", ["a file in its place", "a folder that takes no files"])
def test_a_store_that_cannot_be_written_is_one_line(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    done(workspace, "ingest")
    place = tmp_path / "place"
    place.write_text("in the way")
    # no user can make files in /proc, the superuser neither
    folder = place / "store" if what.startswith("a file") else Path("/proc/arpgnet")
    monkeypatch.setenv("ARPGNET_STORE", str(folder))
    assert "set ARPGNET_STORE to a folder you may write" in refused(workspace, "decode")


def damage(found: list[Path]) -> int:
    """A flipped byte in one entry, another one cut, a third one emptied; how many that are."""
    flipped, cut, emptied = found[:3]
    data = flipped.read_bytes()
    middle = len(data) // 2
    flipped.write_bytes(data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :])
    cut.write_bytes(cut.read_bytes()[:-1])
    emptied.write_bytes(b"")
    return 3


def test_damaged_entries_are_computed_again_to_the_same_bytes(
    workspace: Workspace, own_store: Path
) -> None:
    done(workspace, "ingest", "decode")
    whole, before = shards(workspace), sorted(own_store.glob("decode/*/*.table"))
    count = damage(before)
    # rubbish of a run that was killed does not matter
    (before[0].parent / "tmp-rubbish").write_bytes(b"half an entry")
    again = stage("decode", workspace.root)
    assert f"decode: {count} computed" in again.stdout, again.stderr
    assert shards(workspace) == whole
    assert sorted(own_store.glob("decode/*/*.table")) == before


def test_verify_finds_and_deletes_what_is_damaged(workspace: Workspace, own_store: Path) -> None:
    done(workspace, "ingest", "decode")
    count = damage(sorted(entries(own_store)))
    assert f"{count} damaged" in arpgnet("store", "verify").stdout
    assert "0 damaged" in arpgnet("store", "verify").stdout
    assert "decode" in arpgnet("store", "stats").stdout
    assert "0 entries" in arpgnet("store", "gc", "--dry-run").stdout


@pytest.mark.slow
def test_a_damaged_output_is_one_line_and_dvc_makes_it_anew(workspace: Workspace) -> None:
    workspace.dvc("repro", "decode")
    whole = shards(workspace)
    part = workspace.root / "data/frames/part-00000.parquet"
    part.unlink()
    part.write_bytes(b"PAR1 and then nothing")
    assert "run `dvc repro`" in refused(workspace, "align")
    workspace.dvc("repro", "decode")
    assert shards(workspace) == whole
    shutil.rmtree(workspace.root / "data/frames")
    assert "run `dvc repro`" in refused(workspace, "align")
