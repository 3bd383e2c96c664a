import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pytest

from arpgnet.pipeline.common.errors import ClipError, UserError
from arpgnet.pipeline.common.params import EngineParams
from arpgnet.pipeline.runner.engine import Summary, run_clips
from arpgnet.pipeline.store import Store
from arpgnet.pipeline.tables.manifest import Clip
from arpgnet.pipeline.tables.shards import PIECE_ROWS, ShardReader
from helpers.squares import Squares, clips, contents

ONE = EngineParams(workers=1)
TWO = EngineParams(workers=2)


@pytest.fixture
def work(tmp_path: Path) -> Squares:
    (tmp_path / "traces").mkdir()
    return Squares(tmp_path / "traces")


def test_rows_come_in_manifest_order(work: Squares, tmp_path: Path) -> None:
    summary = run_clips(work, clips(5, c2="bad"), tmp_path / "out", ONE)
    assert summary == Summary(done=4, reused=0, quarantined=1)
    assert str(summary) == "4 computed, 0 reused, 1 quarantined"
    reader = ShardReader(tmp_path / "out")
    assert reader.clip_ids == ["c0", "c1", "c2", "c3", "c4"]
    assert reader.metadata == {"setting": 0}
    assert reader.entry("c2").reason == "no face found"
    assert reader.entry("c1").key == work.key(clips(2)[1])
    assert reader.read("c3")["clip_id"].to_pylist() == ["c3"] * 3


def test_a_new_clip_costs_one_clip(work: Squares, tmp_path: Path) -> None:
    run_clips(work, clips(6, c1="bad"), tmp_path / "out", ONE)
    before = work.count()
    # a failure is remembered as well as a result
    assert run_clips(work, clips(7, c1="bad"), tmp_path / "out", ONE) == Summary(1, 5, 1)
    assert work.count() - before == 1
    assert run_clips(work, clips(7, c1="bad"), tmp_path / "out", ONE) == Summary(0, 6, 1)
    assert work.count() - before == 1


def test_another_setting_computes_and_the_old_one_returns(work: Squares, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run_clips(work, clips(3), out, ONE)
    first = contents(out)
    other = Squares(work.traces, setting=1)
    assert run_clips(other, clips(3), out, ONE) == Summary(3, 0, 0)
    assert contents(out) != first
    assert run_clips(work, clips(3), out, ONE) == Summary(0, 3, 0)
    assert contents(out) == first


def test_bytes_do_not_depend_on_history(work: Squares, tmp_path: Path) -> None:
    """Cold, warm, half warm, and after an entry was damaged: the same out."""
    all_clips = clips(8, c5="bad")
    stores = [Store(tmp_path / name) for name in ("one", "two")]
    out = tmp_path / "out"

    def run(store: Store) -> dict[str, bytes]:
        run_clips(work, all_clips, out, ONE, store=store)
        return contents(out)

    cold = run(stores[0])
    assert run(stores[0]) == cold
    run_clips(work, all_clips[4:], tmp_path / "half", ONE, store=stores[1])
    assert run(stores[1]) == cold
    damaged = stores[0].root / "squares" / work.key(all_clips[2])[:2]
    (path,) = damaged.glob(f"{work.key(all_clips[2])}.table")
    path.write_bytes(path.read_bytes()[:-9])
    assert run(stores[0]) == cold


@dataclass(frozen=True)
class Long(Squares):
    """As many rows as the label says, in pieces of `cut` rows, each 10 KB."""

    cut: int = PIECE_ROWS
    schema: ClassVar[pa.Schema] = pa.schema(
        [("clip_id", pa.string()), ("n", pa.int32()), ("noise", pa.binary())]
    )

    def run(self, clip: Clip) -> Iterator[pa.Table]:
        noise = np.random.default_rng(0).bytes(10_000)
        for start in range(0, int(clip.label or 0), self.cut):
            numbers = range(start, min(start + self.cut, int(clip.label or 0)))
            if start >= 1000:
                raise ClipError("too long")
            yield pa.table({"n": pa.array(numbers, pa.int32()), "noise": [noise] * len(numbers)})


def test_a_long_clip_goes_through_in_pieces(work: Squares, tmp_path: Path) -> None:
    out, count = tmp_path / "out", 10 * PIECE_ROWS + 1
    run_clips(Long(work.traces), clips(3, c0="2", c1=str(count), c2="3"), out, ONE)
    reader = ShardReader(out)
    assert reader.entry("c1").row_groups == 11
    assert reader.read("c1")["n"].to_pylist() == list(range(count))
    assert reader.read("c1")["clip_id"].to_pylist() == ["c1"] * count
    assert reader.read("c2")["n"].to_pylist() == [0, 1, 2]


def test_a_clip_may_turn_out_bad_in_its_middle(work: Squares, tmp_path: Path) -> None:
    some = clips(2, c0="5", c1="2000")
    assert run_clips(Long(work.traces), some, tmp_path / "out", ONE) == Summary(1, 0, 1)
    assert ShardReader(tmp_path / "out").entry("c1").reason == "too long"
    assert sum(namespace.failures for namespace in Store().stats().values()) == 1


def test_badly_cut_pieces_are_a_bug_of_the_work(work: Squares, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"(?s)clip c0: .*a piece of 10 rows is not the last"):
        run_clips(Long(work.traces, cut=10), clips(1, c0="25"), tmp_path / "out", ONE)
    assert Store().stats() == {}


def test_one_content_under_two_names_is_computed_once(work: Squares, tmp_path: Path) -> None:
    one = clips(1)[0]
    twin = Clip("twin", "other.mp4", one.sha256)
    assert run_clips(work, [one, twin], tmp_path / "out", ONE).done == 2
    assert work.count() == 1
    reader = ShardReader(tmp_path / "out")
    assert reader.read("twin")["clip_id"].to_pylist() == ["twin"] * 3
    assert reader.read("twin")["noise"].equals(reader.read("c0")["noise"])


def test_what_failed_upstream_is_not_tried(work: Squares, tmp_path: Path) -> None:
    lost = Clip("lost", "x.mp4", "", status="quarantined", reason="the file is empty")
    summary = run_clips(work, [*clips(2), lost], tmp_path / "out", ONE)
    assert summary.quarantined == 1
    assert work.count("lost") == 0
    assert ShardReader(tmp_path / "out").entry("lost").reason == "the file is empty"


def test_too_many_bad_clips_stop_the_run(work: Squares, tmp_path: Path) -> None:
    some = clips(10, **{f"c{number}": "bad" for number in range(4)})
    with pytest.raises(UserError, match=r"squares: 4 of 10 clips .* no face found \(4\).*max_bad"):
        run_clips(work, some, tmp_path / "out", EngineParams(workers=1, max_bad=0.3))
    assert not (tmp_path / "out").exists()
    assert run_clips(work, some, tmp_path / "out", EngineParams(workers=1, max_bad=0.4))


def test_it_stops_as_soon_as_it_is_certain(work: Squares, tmp_path: Path) -> None:
    some = clips(100, **{f"c{number}": "bad" for number in range(100)})
    with pytest.raises(UserError, match="51 of 100"):
        run_clips(work, some, tmp_path / "out", ONE)
    # the worker may have begun the next one
    assert work.count() in (51, 52)


def test_all_clips_bad_is_an_error_whatever_the_limit(work: Squares, tmp_path: Path) -> None:
    generous = EngineParams(workers=1, max_bad=1.0)
    with pytest.raises(UserError, match=r"1 of 1 clips .* nothing is left"):
        run_clips(work, clips(1, c0="bad"), tmp_path / "out", generous)


def test_a_bug_names_its_clip_and_keeps_what_was_done(work: Squares, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "old").touch()
    with pytest.raises(RuntimeError, match=r"(?s)clip c3: .*KeyError: 'oops'"):
        run_clips(work, clips(5, c3="bug"), out, ONE)
    assert [path.name for path in out.iterdir()] == ["old"]
    # fixed: only the rest is computed, and the output is replaced
    before = work.count()
    assert run_clips(work, clips(5), out, ONE) == Summary(2, 3, 0)
    assert work.count() - before == 2
    assert not (out / "old").exists()
    assert not list(tmp_path.glob("*.partial"))


def test_a_users_mistake_is_not_wrapped(work: Squares, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^models are absent: fetch them$"):
        run_clips(work, clips(2, c1="mistake"), tmp_path / "out", ONE)


def test_workers_change_nothing_but_the_time(work: Squares, tmp_path: Path) -> None:
    some = clips(60, c5="bad", c59="bad")
    stores = [Store(tmp_path / name) for name in ("one", "two")]
    run_clips(Squares(work.traces), some, tmp_path / "alone", ONE, store=stores[0])
    before = work.processes()
    summary = run_clips(work, some, tmp_path / "dispatched", TWO, store=stores[1])
    assert work.processes() - before == 2
    assert summary == Summary(58, 0, 2)
    assert contents(tmp_path / "alone") == contents(tmp_path / "dispatched")


def test_a_worker_that_dies_is_replaced(
    work: Squares, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """One clip kills every worker, one only the first: the first is bad, the second is fine."""
    some = clips(50, c20="dies", c30="dies once")
    summary = run_clips(work, some, tmp_path / "out", TWO)
    assert summary == Summary(49, 0, 1)
    reader = ShardReader(tmp_path / "out")
    assert reader.entry("c20").reason == "worker crashed"
    assert reader.entry("c30").ok
    assert (work.count("c20"), work.count("c30")) == (2, 2)
    assert re.search(r"c20: worker crashed twice \(exit code 7\)", capfd.readouterr().err)
    # it may have been the machine's fault: the next run tries again
    assert run_clips(work, clips(50), tmp_path / "out", TWO) == Summary(1, 49, 0)


def test_a_clip_that_hangs_is_given_up(
    work: Squares, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """For this run: the machine may have been busy."""
    hasty = EngineParams(workers=2, clip_timeout_s=4.0)
    assert run_clips(work, clips(8, c3="hangs"), tmp_path / "out", hasty) == Summary(7, 0, 1)
    assert work.count("c3") == 1
    assert ShardReader(tmp_path / "out").entry("c3").reason == "took longer than 4 s"
    assert re.search(r"c3: took .*clip_timeout_s\).*dvc repro -f squares", capfd.readouterr().err)
    assert run_clips(work, clips(8), tmp_path / "out", ONE) == Summary(1, 7, 0)


def test_the_engine_changes_no_byte(work: Squares, tmp_path: Path) -> None:
    """A worker that may hold nothing is replaced again and again, unless it does not grow."""
    some = clips(12, c5="bad", c7="dies once")
    tight = EngineParams(workers=2, worker_memory_mb=1, clip_timeout_s=100.0)
    for number, engine in enumerate((ONE, tight)):
        store = Store(tmp_path / f"store{number}")
        assert run_clips(work, some, tmp_path / f"out{number}", engine, store=store).done == 11
    assert contents(tmp_path / "out0") == contents(tmp_path / "out1")


@pytest.mark.parametrize(
    ("kind", "error", "text"),
    [("bug", RuntimeError, "clip c45: .*KeyError: 'oops'"), ("mistake", UserError, "fetch them")],
)
def test_errors_come_out_of_workers(
    work: Squares, tmp_path: Path, kind: str, error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=re.compile(text, re.DOTALL)):
        run_clips(work, clips(46, c45=kind), tmp_path / "out", TWO)
    assert Store().has("squares", work.key(clips(46)[20]))


@dataclass(frozen=True)
class Overtaken(Squares):
    """Another run finishes c1 while this one computes c0."""

    def run(self, clip: Clip) -> Iterator[pa.Table]:
        if clip.clip_id == "c0":
            other = clips(2)[1]
            Store().put_table(self.stage, self.key(other), super().run(other))
        yield from super().run(clip)


def test_what_was_finished_meanwhile_is_not_computed_again(work: Squares, tmp_path: Path) -> None:
    run_clips(Overtaken(work.traces), clips(3), tmp_path / "out", ONE)
    assert [work.count(name) for name in ("c0", "c1", "c2")] == [1, 1, 1]
    run_clips(work, clips(3), tmp_path / "out-calm", ONE, store=Store(tmp_path / "other"))
    assert contents(tmp_path / "out") == contents(tmp_path / "out-calm")


class Empty(Squares):
    def run(self, clip: Clip) -> Iterator[pa.Table]:
        for table in super().run(clip):
            yield table.slice(0, 0)


def test_no_rows_is_a_bug_of_the_work(work: Squares, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"(?s)clip c0: .*a piece of 0 rows"):
        run_clips(Empty(work.traces), clips(1), tmp_path / "out", ONE)
