import contextlib
import os
import pickle
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.tables.shards import (
    PIECE_ROWS,
    ShardReader,
    cut,
    fixed,
    quarantined,
    to_numpy,
    write_index,
)
from helpers.outputs import OutputWriter

SCHEMA = pa.schema(
    [
        ("clip_id", pa.string()),
        ("frame_index", pa.int32()),
        ("embedding", pa.list_(pa.float16(), 64)),
        ("crop", pa.binary()),
    ]
)


def rows(clip_id: str, seed: int, count: int = 5) -> pa.Table:
    rng = np.random.default_rng(seed)
    return pa.table(
        [
            pa.array([clip_id] * count),
            pa.array(np.arange(count, dtype=np.int32)),
            fixed(rng.standard_normal((count, 8, 8)).astype(np.float16)),
            pa.array([rng.bytes(1000) for _ in range(count)]),
        ],
        schema=SCHEMA,
    )


def write(folder: Path, clips: int = 12, target_bytes: int = 30_000, split: bool = False) -> Path:
    """`split` gives each table as two chunks."""
    metadata = {"edges": [[0, 1]], "name": "é"}
    with OutputWriter(folder, SCHEMA, metadata, target_bytes=target_bytes) as writer:
        for number in range(clips):
            name = f"clip{number}"
            if number % 5 == 3:
                writer.add_quarantined(name, f"key{number}", "no face found")
                continue
            table = rows(name, number)
            if split:
                table = pa.concat_tables([table.slice(0, 2), table.slice(2)])
            writer.add(name, f"key{number}", [table])
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_what_is_written_is_read(tmp_path: Path) -> None:
    reader = ShardReader(write(tmp_path / "out"))
    assert reader.metadata == {"edges": [[0, 1]], "name": "é"}
    assert reader.clip_ids == [f"clip{number}" for number in range(12)]
    # backwards: clips are found by their place, not by their turn
    for number in reversed(range(12)):
        entry = reader.entry(f"clip{number}")
        assert entry.key == f"key{number}"
        if number % 5 == 3:
            assert (entry.ok, entry.reason, entry.rows) == (False, "no face found", 0)
            with pytest.raises(ValueError, match="no face found"):
                reader.read(entry.clip_id)
        else:
            assert reader.read(entry.clip_id).equals(rows(entry.clip_id, number))
            assert entry.rows == 5


def test_chosen_columns(tmp_path: Path) -> None:
    table = ShardReader(write(tmp_path / "out")).read("clip1", columns=["frame_index"])
    assert table.to_pydict() == {"frame_index": [0, 1, 2, 3, 4]}


def test_clips_are_found_in_any_number_of_files(tmp_path: Path) -> None:
    folder = write(tmp_path / "out", clips=40, target_bytes=30_000)
    parts = sorted(folder.glob("part-*.parquet"))
    assert len(parts) > 3
    groups = [pq.ParquetFile(part).metadata.num_row_groups for part in parts]
    reader = ShardReader(folder)
    usable = [reader.entry(name) for name in reader.clip_ids if reader.entry(name).ok]
    places = [(part, group) for part, count in enumerate(groups) for group in range(count)]
    assert [(entry.shard, entry.row_group) for entry in usable] == places


def test_a_long_clip_is_read_piece_by_piece(tmp_path: Path) -> None:
    """It lies in one file, beyond the target; the next clip begins another."""
    count = 3 * PIECE_ROWS + 5
    table = rows("long", 1, count)
    with OutputWriter(tmp_path / "out", SCHEMA, {}, target_bytes=100_000) as writer:
        writer.add("short", "k", [rows("short", 0)])
        writer.add("long", "k", iter(cut(table)))
        writer.add("next", "k", [rows("next", 2)])
    reader = ShardReader(tmp_path / "out")
    entry = reader.entry("long")
    assert (entry.shard, entry.row_group, entry.row_groups, entry.rows) == (0, 1, 4, count)
    assert (reader.entry("next").shard, reader.entry("next").row_group) == (1, 0)
    assert reader.read("long").equals(table)
    assert reader.read("next").equals(rows("next", 2))
    pieces = list(reader.pieces("long", ["frame_index"]))
    assert [len(piece) for piece in pieces] == [PIECE_ROWS] * 3 + [5]
    assert pa.concat_tables(pieces).equals(table.select(["frame_index"]))
    for number in (0, PIECE_ROWS - 1, PIECE_ROWS, count - 1):
        assert reader.row("long", number).equals(table.slice(number, 1))
    with pytest.raises(IndexError, match=f"{count} rows"):
        reader.row("long", count)


def test_a_reader_holds_one_piece(tmp_path: Path) -> None:
    """Not the file: 128 MB of noise in pieces of 1 MB."""
    schema = pa.schema([("noise", pa.binary())])
    noise = np.random.default_rng(0).bytes((1 << 20) // PIECE_ROWS)
    piece = pa.table([[noise] * PIECE_ROWS], schema=schema)
    before, largest = pa.total_allocated_bytes(), 0
    with OutputWriter(tmp_path / "out", schema, {}) as writer:
        writer.add("long", "k", (piece for _ in range(128)))
        largest = pa.total_allocated_bytes() - before
    for _ in ShardReader(tmp_path / "out").pieces("long"):
        largest = max(largest, pa.total_allocated_bytes() - before)
    assert (1 << 20) < largest < 8 << 20


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.int32])
def test_long_lists_come_back_as_lists(tmp_path: Path, kind: type) -> None:
    """They are bytes in the file, which other tools read with the help of the metadata."""
    array = np.arange(7 * 2000).reshape(7, 2, 1000).astype(kind)
    column = fixed(array)
    schema = pa.schema([pa.field("map", column.type, nullable=False), ("n", pa.int32())])
    table = pa.table([column, pa.array(range(7), pa.int32())], schema=schema)
    with OutputWriter(tmp_path / "out", schema, {}) as writer:
        writer.add("whole", "k", [table])
        writer.add("cut", "k", [table.slice(3, 2)])
        writer.add("chunks", "k", [pa.concat_tables([table.slice(5), table.slice(1, 3)])])
    reader = ShardReader(tmp_path / "out")
    assert reader.read("whole").equals(table)
    assert reader.read("whole").schema.equals(schema)
    assert reader.read("cut", ["map"]).equals(table.slice(3, 2).select(["map"]))
    np.testing.assert_array_equal(
        to_numpy(reader.read("chunks")["map"], (2, 1000)), array[[5, 6, 1, 2, 3]]
    )
    assert reader.row("whole", 4).equals(table.slice(4, 1))
    (file,) = (tmp_path / "out").glob("part-*")
    field = pq.ParquetFile(file).schema_arrow.field("map")
    assert field.type == pa.binary(2000 * array.itemsize)
    assert field.metadata[b"numbers"] == str(column.type.value_type).encode()


def test_a_long_list_has_no_nulls(tmp_path: Path) -> None:
    lists = pa.list_(pa.float32(), 1500)
    writer = OutputWriter(tmp_path / "out", pa.schema([("map", lists)]), {})
    for rows in ([None], [[1.0] * 1499 + [None]]):
        with pytest.raises(ValueError, match="no nulls"):
            writer.add(f"{rows}"[:3], "k", [pa.table({"map": pa.array(rows, lists)})])


def test_badly_cut_rows_are_refused(tmp_path: Path) -> None:
    """Else the bytes would depend on how somebody happens to cut."""
    whole = rows("a", 0, PIECE_ROWS)
    bad = {
        "not the last": [whole.slice(0, 3), whole.slice(3)],
        f"{PIECE_ROWS + 1} rows": [rows("a", 0, PIECE_ROWS + 1)],
        "0 rows": [whole, whole.slice(0, 0)],
        "no rows": [],
    }
    for number, (text, pieces) in enumerate(bad.items()):
        with pytest.raises(ValueError, match=text):
            OutputWriter(tmp_path / f"out{number}", SCHEMA, {}).add("a", "k", pieces)


def test_equal_rows_give_equal_bytes(tmp_path: Path) -> None:
    one = contents(write(tmp_path / "one"))
    assert one == contents(write(tmp_path / "two"))
    assert one == contents(write(tmp_path / "three", split=True))


def test_more_files_than_the_reader_holds_open(tmp_path: Path) -> None:
    reader = ShardReader(write(tmp_path / "out", clips=24, target_bytes=1))
    for _ in range(2):
        for name in reader.clip_ids:
            if reader.entry(name).ok:
                assert reader.read(name)["clip_id"][0].as_py() == name


def test_a_reader_goes_to_another_process(tmp_path: Path) -> None:
    reader = ShardReader(write(tmp_path / "out"))
    reader.read("clip0")
    copy = pickle.loads(pickle.dumps(reader))
    assert copy.read("clip0").equals(reader.read("clip0"))


def test_wrong_tables_are_refused(tmp_path: Path) -> None:
    with OutputWriter(tmp_path / "out", SCHEMA, {}) as writer:
        writer.add("a", "k", [rows("a", 0)])
        with pytest.raises(KeyError):
            writer.add("c", "k", [rows("c", 0).drop_columns(["crop"])])
    row = quarantined("a", "k", "no face found")
    with pytest.raises(ValueError, match="twice"):
        write_index(tmp_path / "out", [row, row], {})


def test_an_output_that_is_not_finished_is_not_read(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="dvc repro"):
        ShardReader(tmp_path / "absent")
    with (
        contextlib.suppress(ZeroDivisionError),
        OutputWriter(tmp_path / "out", SCHEMA, {}) as writer,
    ):
        writer.add("a", "k", [rows("a", 1 // 0)])
    with pytest.raises(UserError, match="dvc repro"):
        ShardReader(tmp_path / "out")


def test_a_lost_file_and_an_unknown_clip_say_what_to_do(tmp_path: Path) -> None:
    folder = write(tmp_path / "out")
    reader = ShardReader(folder)
    (folder / "part-00000.parquet").unlink()
    with pytest.raises(UserError, match=r"part-00000\.parquet is absent"):
        reader.read("clip0")
    with pytest.raises(UserError, match="no clip 'who'"):
        reader.entry("who")


@settings(deadline=None)
@given(hnp.arrays(st.sampled_from([np.float16, np.float32, np.int32]), (3, 2, 4)))
def test_arrays_go_through_columns(array: np.ndarray) -> None:
    column = fixed(array)
    assert column.type == pa.list_(pa.from_numpy_dtype(array.dtype), 8)
    np.testing.assert_array_equal(to_numpy(column, (2, 4)), array)
    parts = pa.chunked_array([column.slice(2), column.slice(0, 2)])
    np.testing.assert_array_equal(to_numpy(parts, (2, 4)), array[[2, 0, 1]])


def test_column_helpers_refuse_what_has_no_shape() -> None:
    assert fixed(np.zeros((0, 5), np.float32)).type == pa.list_(pa.float32(), 5)
    assert fixed(np.ones((2, 3)), pa.float32()).type == pa.list_(pa.float32(), 3)
    with pytest.raises(ValueError, match="needed"):
        fixed(np.zeros(3))
    with pytest.raises(ValueError, match="null"):
        to_numpy(pa.array([[1.0], None], pa.list_(pa.float32(), 1)), (1,))
    with pytest.raises(ValueError, match="shape"):
        to_numpy(fixed(np.zeros((2, 6))), (5,))


@pytest.mark.parametrize("name", [b"out:1", b"file:x", b"100%d#?", b"caf\xe9"])
def test_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: bytes) -> None:
    monkeypatch.chdir(tmp_path)
    folder = Path(os.fsdecode(name))
    with pytest.raises(UserError, match="not found"):
        ShardReader(folder)
    reader = ShardReader(write(folder))
    assert reader.read("clip0").num_rows == 5
    reader.close()
