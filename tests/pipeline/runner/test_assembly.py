"""Which clip lies in which file, and that it does not matter who wrote it."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.common.files import partial
from arpgnet.pipeline.common.params import EngineParams
from arpgnet.pipeline.runner import assembly
from arpgnet.pipeline.runner.assembly import (
    Lost,
    Member,
    Part,
    PartJob,
    Written,
    cut_into_parts,
    write_parts,
)
from arpgnet.pipeline.runner.engine import Summary, run_clips
from arpgnet.pipeline.runner.workers import Crashed
from arpgnet.pipeline.store import Store
from arpgnet.pipeline.tables.manifest import Clip
from arpgnet.pipeline.tables.shards import ShardReader, shard_name
from helpers.squares import Squares, clips, contents

ONE = EngineParams(workers=1)
TWO = EngineParams(workers=2)
# an entry of `Squares` has some 600 bytes
TARGET = 2000


@pytest.fixture
def work(tmp_path: Path) -> Squares:
    (tmp_path / "traces").mkdir()
    return Squares(tmp_path / "traces")


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of a few clips each, written by workers."""
    monkeypatch.setattr(assembly, "TARGET_BYTES", TARGET)
    monkeypatch.setattr(assembly, "FEW", 2)


@given(st.lists(st.integers(1, 50)), st.integers(1, 100))
def test_a_file_ends_with_the_first_clip_that_reaches_the_target(
    sizes: list[int], target: int
) -> None:
    members = [Member(f"c{number}", "k", size) for number, size in enumerate(sizes)]
    parts = cut_into_parts(iter(members), target)
    assert [member for part in parts for member in part.members] == members
    assert [part.number for part in parts] == list(range(len(parts)))
    for part in parts:
        before = sum(member.size for member in part.members[:-1])
        assert before < target
        assert before + part.members[-1].size >= target or part is parts[-1]


@pytest.mark.usefixtures("small")
def test_workers_write_what_one_process_writes(
    work: Squares, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    some = [*clips(30, c5="bad", c29="bad"), Clip("twin", "twin.mp4", clips(1)[0].sha256)]
    assert run_clips(work, some, tmp_path / "dispatched", TWO) == Summary(29, 0, 2)
    monkeypatch.setattr(assembly, "dispatch", None)
    monkeypatch.setattr(assembly, "FEW", 1000)
    assert run_clips(work, some, tmp_path / "alone", ONE).reused == 29
    assert contents(tmp_path / "dispatched") == contents(tmp_path / "alone")
    reader = ShardReader(tmp_path / "alone")
    assert reader.clip_ids == [clip.clip_id for clip in some]
    shards = [reader.entry(name).shard for name in reader.clip_ids if reader.entry(name).ok]
    assert shards == sorted(shards)
    # of about 600 bytes each, at least 4 reach the target
    assert max(map(shards.count, shards)) == 4
    assert reader.read("twin")["noise"].equals(reader.read("c0")["noise"])


def damage(store: Store, key: str, change: Callable[[bytes], bytes]) -> None:
    assert isinstance(store.root, Path)
    (path,) = store.root.glob(f"squares/*/{key}.table")
    path.write_bytes(change(path.read_bytes()))


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("engine", [ONE, pytest.param(TWO, marks=pytest.mark.slow)])
def test_damaged_entries_are_computed_again(
    work: Squares, tmp_path: Path, engine: EngineParams
) -> None:
    """One too short, by which the files would be cut elsewhere, and two of a file with a flaw."""
    some, store = clips(30, c5="bad"), Store()
    run_clips(work, some, tmp_path / "out", engine)
    whole, before = contents(tmp_path / "out"), work.count()
    damage(store, work.key(some[2]), lambda data: data[:-200])
    for number in (20, 21):
        damage(store, work.key(some[number]), lambda data: data[:50] + b"\1" + data[51:])
    assert run_clips(work, some, tmp_path / "out", engine) == Summary(3, 26, 1)
    assert work.count() == before + 3
    assert contents(tmp_path / "out") == whole


@pytest.mark.slow
@pytest.mark.usefixtures("small")
def test_a_clip_that_has_turned_bad_moves_the_others_up(work: Squares, tmp_path: Path) -> None:
    """The output is the one of a run that never knew better."""
    some = clips(30)
    run_clips(work, some, tmp_path / "out", TWO)
    # of 8 files the last one holds one clip alone
    assert len(list((tmp_path / "out").glob("part-*"))) == 8
    spoilt = {f"c{number}": "dies" for number in (1, 2)}
    for name in spoilt:
        damage(Store(), work.key(some[int(name[1:])]), lambda data: data[:-1] + b"?")
    assert run_clips(work, clips(30, **spoilt), tmp_path / "out", TWO).quarantined == 2
    fresh = Store(tmp_path / "fresh")
    run_clips(work, clips(30, **spoilt), tmp_path / "other", TWO, store=fresh)
    assert contents(tmp_path / "out") == contents(tmp_path / "other")
    assert len(list((tmp_path / "out").glob("part-*"))) == 7


def test_a_store_that_keeps_nothing_ends_the_run(
    work: Squares, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nothing(self: Store, stage: str, key: str) -> Iterator[pa.Table] | None:
        return None

    monkeypatch.setattr(Store, "get_table", nothing)
    with pytest.raises(UserError, match=r"squares: the store .* lost .* twice: `arpgnet store"):
        run_clips(work, clips(3), tmp_path / "out", ONE)
    assert work.count() == 6
    assert [path.name for path in tmp_path.iterdir() if "out" in path.name] == []


@pytest.mark.usefixtures("small")
def test_ctrl_c_leaves_nothing_half_written(
    work: Squares, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the former out as it was."""
    run_clips(work, clips(20), tmp_path / "out", TWO)
    before = contents(tmp_path / "out")

    def interrupted(path: Path, size: int) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(assembly, "_check_arrival", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run_clips(work, clips(30), tmp_path / "out", TWO)
    assert contents(tmp_path / "out") == before
    assert not partial(tmp_path / "out").exists()
    assert run_clips(work, clips(30), tmp_path / "out", TWO) == Summary(0, 30, 0)


@pytest.fixture
def job(work: Squares, tmp_path: Path) -> PartJob:
    """With the entries of three clips, and a place to write to."""
    run_clips(work, clips(3), tmp_path / "first", ONE)
    partial(tmp_path / "out").mkdir()
    return PartJob("squares", work.schema, Store().root, tmp_path / "out")


def part_of(work: Squares, count: int) -> Part:
    return Part(0, tuple(Member(c.clip_id, work.key(c), 1) for c in clips(count)))


def test_what_a_lost_machine_left_is_written_over(
    job: PartJob, work: Squares, tmp_path: Path
) -> None:
    job.path(part_of(work, 3)).write_bytes(bytes(10_000))
    written = job.do(part_of(work, 3))
    assert isinstance(written, Written)
    whole = tmp_path / "first" / shard_name(0)
    assert job.path(part_of(work, 3)).read_bytes() == whole.read_bytes()
    assert written.size == whole.stat().st_size
    assert [row.clip_id for row in written.rows] == ["c0", "c1", "c2"]


def test_all_lost_clips_of_a_file_are_reported_at_once(job: PartJob, work: Squares) -> None:
    part = part_of(work, 5)
    job.path(part).touch()
    assert job.do(part) == Lost(part.members[3:])


def test_folders_that_machines_do_not_share(
    job: PartJob, work: Squares, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = part_of(work, 3)
    with pytest.raises(UserError, match=r"not there on machine .* machines of the cluster share"):
        job.do(part)

    def elsewhere(self: PartJob, part: Part) -> Written:
        return Written((), 1234)

    monkeypatch.setattr(PartJob, "do", elsewhere)
    with pytest.raises(UserError, match=r"wrote 1234 bytes of it, 0 are here: .* share"):
        list(write_parts(job, [part], ONE))


def test_a_worker_that_cannot_write_says_which_file(
    job: PartJob, work: Squares, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dying(job: PartJob, parts: list[Part], *about: object, **more: object) -> Iterator[object]:
        yield parts[0], Crashed(-9)

    monkeypatch.setattr(assembly, "dispatch", dying)
    monkeypatch.setattr(assembly, "FEW", 1)
    with pytest.raises(UserError, match=r"part-00000.parquet cannot be written .*exit code -9"):
        list(write_parts(job, [part_of(work, 3)], ONE))


def test_a_bug_in_a_worker_is_reported_with_its_place(
    job: PartJob, monkeypatch: pytest.MonkeyPatch, work: Squares
) -> None:
    monkeypatch.setattr(assembly, "FEW", 1)
    wrong = PartJob("squares", pa.schema([("other", pa.int8())]), job.root, job.output)
    with pytest.raises(RuntimeError, match=r"(?s)out: .*other"):
        list(write_parts(wrong, [part_of(work, 3)], ONE))
