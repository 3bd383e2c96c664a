"""`arpgnet predict` on files of any name, and on disks that are full."""

import errno
import os
import re
import shutil
import sys
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from arpgnet.pipeline.cli.main import app
from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.predict.output import open_table
from arpgnet.pipeline.predict.rows import Row, TableHeader
from arpgnet.pipeline.video import encode
from helpers.face_videos import film_of_a_face
from helpers.overlay_videos import frames_of
from helpers.small_disk import SmallDisk
from helpers.untrained_run import write_run

FRAMES = 6
# what libraries take for a protocol, a pattern, an option, a fragment, markup or a template
NAMES = [
    "12:30:05.mp4", "file:x.mp4", "concat:a|b.mp4", "http:x.mp4", "subfile,,start,0,end,9,,:x.mp4",
    "100%d#?&.mp4", "%41.mp4", "-x.mp4", "two\nlines.mp4", "{name}.mp4", "[bold]*.mp4",
    " blank .mp4", "quote'\".mp4", "back\\slash.mp4", "\u65e5\u672c.mp4",
]  # fmt: skip


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("run"), {"decode": {"frames": 4}})


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return film_of_a_face(tmp_path_factory.mktemp("video") / "one.mp4", FRAMES)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, so that names are relative."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def arpgnet(workspace: Path, *arguments: str) -> tuple[int, list[str]]:
    """Exit status, and the lines said, without progress (a slow machine says some) and the summary
    of several videos."""
    words = ["predict", "--model", str(workspace), "--window", "0.6", *arguments]
    done = CliRunner().invoke(app, words)
    if isinstance(done.exception, UserError):
        return 1, str(done.exception).splitlines()
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    lines = [line for line in done.output.splitlines() if line.strip() not in ("", "Faces")]
    told = [line for line in lines if not re.search(r": \d+/\d+ frames, ", line)]
    return done.exit_code, [
        line for line in told if line[0] not in "┏┃┡│└" and "summary.csv: " not in line
    ]


def test_any_name_is_a_file(workspace: Path, video: Path, here: Path) -> None:
    for name in NAMES:
        shutil.copy(video, name)
    options = ("--out", "out:12#%41", "--format", "parquet", "--page")
    status, said = arpgnet(workspace, *options, "--", *NAMES)
    # its table and its page
    assert (status, len(said)) == (0, 2 * len(NAMES)), said
    # pandas takes the relative name for an address
    tables = [pd.read_parquet(path) for path in (here / "out:12#%41").glob("*.parquet")]
    assert {len(table) for table in tables} == {FRAMES}
    names = {table["video"][0] for table in tables}
    assert names == {name.replace("\n", "\\n") for name in NAMES}
    assert len(list(Path("out:12#%41").glob("*.html"))) == len(NAMES)


def test_no_result_replaces_another(workspace: Path, video: Path, here: Path) -> None:
    for name in ("a/talk.mp4", "b/talk.mp4", "talk-2.mp4"):
        (here / name).parent.mkdir(exist_ok=True)
        shutil.copy(video, name)
    status, said = arpgnet(workspace, "a/talk.mp4", "b/talk.mp4", "talk-2.mp4", "--out", "out:1")
    assert (status, len(said)) == (0, 3)
    assert said[1].startswith("out:1/talk-3.csv: 6 frames")
    assert said[1].endswith("of b/talk.mp4")
    assert len(list(Path("out:1").iterdir())) == 4  # with summary.csv


def test_long_names(workspace: Path, video: Path, here: Path) -> None:
    long = "L" * 251 + ".mp4"
    shutil.copy(video, long)
    shutil.copy(video, "other.mp4")
    status, said = arpgnet(workspace, long, "other.mp4", "--overlay", "--out", "tables")
    # of each a table and an overlay
    assert (status, len(said)) == (0, 4), said
    assert len(list(Path("tables").iterdir())) == 5  # with summary.csv
    # a name that no file can have, and a folder that cannot be made
    status, said = arpgnet(workspace, "L" * 300 + ".mp4", "other.mp4")
    assert (status, len(said)) == (1, 1)
    status, said = arpgnet(workspace, "other.mp4", "other.mp4", "--out", "F" * 300)
    assert status == 1
    assert "choose another one" in said[0]


@pytest.mark.skipif(sys.platform == "darwin", reason="its file systems refuse such names")
def test_names_that_are_not_utf8(workspace: Path, video: Path, here: Path) -> None:
    folder = os.fsdecode(b"vid\xe9os")
    (here / folder).mkdir()
    shutil.copy(video, here / folder / os.fsdecode(b"caf\xe9.mp4"))
    shutil.copy(video, here / folder / "fine.mp4")
    (here / folder / os.fsdecode(b"bad\xe9.mp4")).write_text("text")
    status, said = arpgnet(workspace, folder, "--page", "--overlay", "--out", folder)
    # of each of the two a table, an overlay and a page
    assert (status, len(said)) == (1, 1 + 2 * 3), said
    assert said[0] == "error: vid\\xe9os/bad\\xe9.mp4: not a video, or its header is damaged"
    assert sorted(path.name for path in (here / folder).glob("*.csv")) == [
        "caf-xe9.csv",
        "fine.csv",
        "summary.csv",
    ]
    assert set(pd.read_csv(here / folder / "caf-xe9.csv")["video"]) == {"caf\\xe9.mp4"}
    status, said = arpgnet(workspace, folder, "--format", "parquet", "--out", folder)
    assert len(list((here / folder).glob("*.parquet"))) == 2


@pytest.mark.parametrize(
    ("more", "size", "kept"),
    [
        (["--overlay"], 6_000, {"one.csv", "two.csv"}),
        (["--page"], 40_000, {"one.csv", "two.csv"}),
        (["--overlay", "--page", "--format", "jsonl"], 8_000, {"one.jsonl", "two.jsonl"}),
        (["--format", "csv"], 50, set()),
    ],
)
def test_a_full_disk_leaves_no_parts(
    workspace: Path,
    video: Path,
    here: Path,
    monkeypatch: pytest.MonkeyPatch,
    more: list[str],
    size: int,
    kept: set[str],
) -> None:
    shutil.copy(video, "one.mp4")
    shutil.copy(video, "two.mp4")
    (here / "out").mkdir()
    SmallDisk(Path("out"), size).mount(monkeypatch)
    status, said = arpgnet(workspace, "one.mp4", "two.mp4", "--out", "out", *more)
    assert status == 1
    assert len(said) == 2
    for line, name in zip(said, ("one.mp4", "two.mp4"), strict=True):
        assert line.startswith(f"error: {name}: the disk of out")
        assert line.endswith("is full: free some space, or fix the folder")
    assert {path.name for path in Path("out").iterdir()} == kept
    for name in kept:
        # written before the others are finished
        assert len(Path("out", name).read_text().splitlines()) >= FRAMES


def test_a_video_that_fits_follows_one_that_does_not(
    workspace: Path, video: Path, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    film_of_a_face(here / "long.mp4", 48)
    shutil.copy(video, "short.mp4")
    (here / "out").mkdir()
    SmallDisk(Path("out"), 44_000).mount(monkeypatch)
    monkeypatch.setattr(encode, "BUFFER", 1)
    status, said = arpgnet(workspace, "long.mp4", "short.mp4", "--out", "out", "--overlay")
    assert (status, len(said)) == (1, 3)
    assert said[2] == "out/short.overlay.mp4: overlay"
    assert said[0].startswith("error: long.mp4: the disk of out is full")
    assert not pd.read_csv("out/long.csv")["complete"].iloc[-1]
    assert len(frames_of(Path("out/short.overlay.mp4"))[0]) == FRAMES


def test_a_parquet_file_without_its_end_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    table = open_table(tmp_path / "a.parquet", "parquet", TableHeader("a.mp4", ["x", "y"], 0))
    table.add(Row(0, 0.0))
    monkeypatch.setattr(pq.ParquetWriter, "write_table", full)
    with pytest.raises(UserError, match="is full"):
        table.close(complete=True)
    assert not list(tmp_path.iterdir())
