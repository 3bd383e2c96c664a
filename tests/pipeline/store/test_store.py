import errno
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.common.params import DecodeParams
from arpgnet.pipeline.store import Store, digest, file_sha256, store_root

KEY = digest("a key")
TABLE = pa.table({"x": pa.array([1, 2, None], pa.int32()), "jpeg": [b"a", b"", b"\xff\x00"]})

plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text("abc"), inner),
)  # fmt: skip


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def entry(store: Store) -> Path:
    """The store's only file."""
    (path,) = (path for path in store.root.rglob("*") if path.is_file())
    return path


def entry_of(store: Store, key: str) -> Path:
    return store.root / "align" / key[:2] / f"{key}.table"


def read(store: Store, namespace: str = "align", key: str = KEY) -> list[pa.Table] | None:
    pieces = store.get_table(namespace, key)
    return None if pieces is None else list(pieces)


def test_a_table_comes_back_as_it_was(store: Store) -> None:
    assert read(store) is None
    assert store.size("align", KEY) is None
    size = store.put_table("align", KEY, [TABLE])
    assert store.has("align", KEY)
    assert store.size("align", KEY) == size == store.stats()["align"].bytes
    (table,) = read(store)
    assert table.equals(TABLE, check_metadata=True)
    assert read(store, "decode") is None
    assert read(store, key=digest("another")) is None


def test_pieces_come_back_as_they_were_cut(store: Store) -> None:
    """Whatever chunks and slices they are made of, and with the same bytes."""
    pieces = [TABLE.slice(1), TABLE.slice(0, 1), pa.concat_tables([TABLE, TABLE])]
    store.put_table("align", KEY, iter(pieces))
    assert [piece.to_pydict() for piece in read(store)] == [piece.to_pydict() for piece in pieces]
    before = entry(store).read_bytes()
    store.put_table("align", KEY, [pa.concat_tables([piece]).combine_chunks() for piece in pieces])
    assert entry(store).read_bytes() == before


def test_a_long_table_goes_through_in_pieces(store: Store) -> None:
    """400 MB; what Arrow holds at a time is a few pieces of 1 MB."""
    count, largest = 400, 0
    noise = np.random.default_rng(0).bytes(1 << 20)
    before = pa.total_allocated_bytes()

    def pieces() -> Iterator[pa.Table]:
        nonlocal largest
        for number in range(count):
            yield pa.table({"number": [number], "noise": [noise]})
            largest = max(largest, pa.total_allocated_bytes() - before)

    store.put_table("align", KEY, pieces())
    found = store.get_table("align", KEY)
    for number, piece in enumerate(found):
        assert piece["number"].to_pylist() == [number]
        largest = max(largest, pa.total_allocated_bytes() - before)
    assert number == count - 1
    assert 1 << 20 < largest < 8 << 20


@pytest.mark.parametrize("error", [ZeroDivisionError("oops"), PermissionError(13, "not yours")])
def test_what_fails_while_it_is_made_leaves_the_old_entry(store: Store, error: Exception) -> None:
    """And the error is the maker's own: it says nothing about the store."""
    store.put_table("align", KEY, [TABLE])

    def pieces() -> Iterator[pa.Table]:
        yield TABLE.slice(1)
        raise error

    with pytest.raises(type(error)) as raised:
        store.put_table("align", KEY, pieces())
    assert raised.value is error
    assert read(store) == [TABLE]
    assert entry(store).suffix == ".table"  # and no temporary file


def test_a_table_without_pieces_is_refused(store: Store) -> None:
    with pytest.raises(ValueError, match="at least one piece"):
        store.put_table("align", KEY, [])
    assert read(store) is None


def test_a_failure_comes_back(store: Store) -> None:
    assert store.get_failure("align", KEY) is None
    store.put_failure("align", KEY, "no face found – really")
    assert store.get_failure("align", KEY) == "no face found – really"
    assert not store.has("align", KEY)
    store.remove("align", KEY, "failure")
    assert store.get_failure("align", KEY) is None


def test_files_come_back(store: Store, tmp_path: Path) -> None:
    model = tmp_path / "model.bin"
    model.write_bytes(os.urandom(3_000_000))
    store.put_file("train", KEY, model)
    assert store.get_file("train", KEY, tmp_path / "deep/model.bin")
    assert (tmp_path / "deep/model.bin").read_bytes() == model.read_bytes()


def test_nothing_is_touched_when_there_is_no_entry(store: Store, tmp_path: Path) -> None:
    target = tmp_path / "kept"
    target.mkdir()
    (target / "file").write_text("mine")
    assert not store.get_file("train", KEY, target / "file")
    assert (target / "file").read_text() == "mine"


@pytest.mark.parametrize("damage", ["flip", "cut", "grow", "empty"])
def test_a_damaged_entry_is_missing_and_goes(store: Store, damage: str) -> None:
    store.put_table("align", KEY, [TABLE, TABLE])
    path = entry(store)
    data = bytearray(path.read_bytes())
    if damage == "flip":
        data[len(data) // 2] ^= 1
    path.write_bytes({"cut": data[:-1], "grow": data + b"\0", "empty": b""}.get(damage, data))
    assert read(store) is None
    assert not path.exists()
    store.put_table("align", KEY, [TABLE])
    assert read(store) == [TABLE]


def test_a_reader_keeps_what_it_began_to_read(store: Store) -> None:
    """Another process may replace or remove the entry meanwhile."""
    store.put_table("align", KEY, [TABLE, TABLE.slice(1)])
    found = store.get_table("align", KEY)
    store.put_table("align", KEY, [TABLE.slice(2)])
    store.remove("align", KEY, "table")
    assert list(found) == [TABLE, TABLE.slice(1)]


def test_a_write_that_fails_leaves_the_old_entry(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.put_table("align", KEY, [TABLE])

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match=r"disk of .* is full: .*ARPGNET_STORE"):
        store.put_table("align", KEY, [TABLE.slice(1)])
    assert read(store) == [TABLE]
    assert entry(store).suffix == ".table"  # and no temporary file


def test_a_folder_that_cannot_be_one_is_the_users_to_fix(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    store = Store(tmp_path / "file" / "store")
    with pytest.raises(UserError, match="ARPGNET_STORE"):
        store.put_failure("align", KEY, "bad")


def test_verify_finds_what_is_damaged(store: Store) -> None:
    store.put_table("align", KEY, [TABLE])
    store.put_failure("align", digest(2), "bad")
    assert store.verify() == []
    path = store.root / "align" / KEY[:2] / f"{KEY}.table"
    path.write_bytes(b"nonsense" * 20)
    assert store.verify() == [path]
    assert store.verify() == []


def test_stats_count_by_namespace(store: Store) -> None:
    assert store.stats() == {}
    store.put_table("align", KEY, [TABLE])
    store.put_failure("align", digest(2), "bad")
    store.put_table("decode", KEY, [TABLE])
    stats = store.stats()
    assert list(stats) == ["align", "decode"]
    assert (stats["align"].entries, stats["align"].failures) == (2, 1)
    sizes = sum(path.stat().st_size for path in store.root.rglob("*") if path.is_file())
    assert sum(namespace.bytes for namespace in stats.values()) == sizes


def test_what_lies_beside_the_entries_is_counted(store: Store) -> None:
    store.put_table("align", KEY, [TABLE])
    assert store.local_files() == {}
    (store.root / "demo/abc/happiness").mkdir(parents=True)
    (store.root / "demo/abc/happiness/s00_c0.mp4").write_bytes(bytes(1000))
    (store.root / "demo/abc/manifest.csv").write_bytes(bytes(24))
    (stats,) = store.local_files().values()
    assert (stats.entries, stats.bytes) == (2, 1024)
    assert "demo" not in store.stats()


def abandoned(store: Store) -> Path:
    """What a process leaves that is killed while it writes."""
    path = store.root / "align" / "00" / "tmp-dead"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("half")
    return path


def test_sweep_removes_what_the_killed_left(store: Store) -> None:
    """Not what is being written now, nor what is kept."""
    store.put_table("align", KEY, [TABLE])
    old, new = abandoned(store), abandoned(store).with_name("tmp-new")
    new.touch()
    os.utime(old, (0, 0))
    os.utime(entry_of(store, KEY), (0, 0))
    store.sweep("decode")
    assert old.exists()
    store.sweep("align")
    assert (old.exists(), new.exists()) == (False, True)
    assert read(store) == [TABLE]


def test_verify_gc_and_stats_go_on_beside_writers(store: Store) -> None:
    """Entries come, change and go meanwhile: nothing fails, and none is called damaged."""
    keys = [digest(number) for number in range(30)]

    def write() -> None:
        for number in range(300):
            key = keys[number % len(keys)]
            store.put_table("align", key, [TABLE, TABLE])
            store.remove("align", keys[(number * 7) % len(keys)], "table")

    with ThreadPoolExecutor(2) as pool:
        writers = [pool.submit(write) for _ in range(2)]
        rounds = 0
        while not all(writer.done() for writer in writers):
            assert store.verify() == []
            assert store.gc(unused_days=1).entries == 0
            assert set(store.stats()) <= {"align"}
            rounds += 1
        for writer in writers:
            writer.result()
    assert rounds > 3


def test_what_a_killed_run_left_beside_a_target_is_used_up(store: Store, tmp_path: Path) -> None:
    """Not one more stray file with every kill."""
    (tmp_path / "a").write_text("1")
    store.put_file("train", KEY, tmp_path / "a")
    out = tmp_path / "out"
    out.mkdir()
    (out / "file.partial").write_text("half of it")
    assert store.get_file("train", KEY, out / "file")
    assert [path.name for path in out.iterdir()] == ["file"]


def test_gc_removes_what_nobody_used(store: Store) -> None:
    day = 86400
    for name, age in (("old", 40), ("read", 40), ("new", 1)):
        store.put_failure("align", digest(name), name)
        path = store.root / "align" / digest(name)[:2] / f"{digest(name)}.failure"
        os.utime(path, (path.stat().st_mtime - age * day,) * 2)
    dead = abandoned(store)
    os.utime(dead, (0, 0))
    assert store.get_failure("align", digest("read")) == "read"
    assert store.gc(unused_days=30, dry_run=True).entries == 1
    assert dead.exists()
    assert store.gc(unused_days=30).entries == 1
    assert not dead.exists()
    assert store.get_failure("align", digest("old")) is None
    assert store.get_failure("align", digest("read")) == "read"
    assert store.get_failure("align", digest("new")) == "new"


def test_namespaces_and_keys_cannot_leave_the_store(store: Store) -> None:
    for namespace, key in (("..", KEY), ("align", "../../x"), ("a/b", KEY), ("align", "")):
        with pytest.raises(ValueError, match="hex key"):
            store.put_failure(namespace, key, "bad")


def test_the_root_is_named_by_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARPGNET_STORE", "relative/store")
    with pytest.raises(UserError, match="absolute"):
        store_root()
    monkeypatch.delenv("ARPGNET_STORE")
    assert store_root().is_absolute()
    assert store_root().name == "arpgnet"


@settings(deadline=None)
@given(plain, plain)
def test_equal_digests_mean_equal_values(one: object, other: object) -> None:
    assert (digest(one) == digest(other)) == (repr(_sorted(one)) == repr(_sorted(other)))


def _sorted(value: object) -> object:
    if isinstance(value, dict):
        return {key: _sorted(value[key]) for key in sorted(value)}
    return [_sorted(item) for item in value] if isinstance(value, list) else value


def test_digest_takes_settings_and_refuses_what_has_no_form() -> None:
    assert digest(DecodeParams()) == digest(DecodeParams().model_dump(mode="json"))
    assert digest(DecodeParams()) != digest(DecodeParams(frames=17))
    assert digest("ab", "c") != digest("a", "bc")
    for strange in (Path("x"), b"x", {1}, object()):
        with pytest.raises(TypeError, match="no canonical form"):
            digest(strange)
    with pytest.raises(ValueError, match="JSON"):
        digest(float("nan"))


def test_file_sha256(tmp_path: Path) -> None:
    (tmp_path / "abc").write_bytes(b"abc")
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2
    assert file_sha256(tmp_path / "abc") == expected


def test_two_entries_in_each_other_s_places_are_no_entries(store: Store) -> None:
    """Each is whole, but not what its key says."""
    keys = [digest("one"), digest("other")]
    paths = []
    for number, key in enumerate(keys):
        store.put_table("align", key, [TABLE.slice(number)])
        paths.append(store.root / "align" / key[:2] / f"{key}.table")
    first, second = (path.read_bytes() for path in paths)
    paths[0].write_bytes(second)
    paths[1].write_bytes(first)
    assert [store.get_table("align", key) for key in keys] == [None, None]
