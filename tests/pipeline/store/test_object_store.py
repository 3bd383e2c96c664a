"""The store on a real S3-compatible server, and what it does when that fails."""

import time
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.store import Store, digest, store_place
from arpgnet.pipeline.store.retry import RetryPolicy
from helpers.s3_server import Remote, S3Server

KEY = digest("a key")
TABLE = pa.table({"x": pa.array([1, 2, None], pa.int32()), "jpeg": [b"a", b"", b"\xff\x00"]})
# more than one part
LONG = np.random.default_rng(0).bytes(12 << 20)


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many attempts as ever, but sooner."""
    hasty = RetryPolicy(stall_s=1.0, first_wait_s=0.02)
    monkeypatch.setattr(RetryPolicy, "from_environment", lambda: hasty)


def read(store: Store, key: str = KEY) -> list[pa.Table] | None:
    pieces = store.get_table("align", key)
    return None if pieces is None else list(pieces)


def test_every_kind_comes_back_and_is_the_same_bytes_as_in_a_folder(
    remote: Remote, tmp_path: Path
) -> None:
    (tmp_path / "model.bin").write_bytes(LONG)
    local = Store(tmp_path / "store")
    for store in (local, remote.store):
        assert not store.has("align", KEY)
        assert read(store) is None
        size = store.put_table("align", KEY, [TABLE, TABLE.slice(1)])
        assert store.size("align", KEY) == size
        store.put_failure("align", digest(2), "no face found – really")
        store.put_file("train", KEY, tmp_path / "model.bin")
    assert remote.objects() == {
        path.relative_to(local.root).as_posix(): path.read_bytes()
        for path in local.root.rglob("*")
        if path.is_file()
    }
    store = remote.store
    assert store.has("align", KEY)
    assert read(store) == [TABLE, TABLE.slice(1)]
    assert store.get_failure("align", digest(2)) == "no face found – really"
    assert store.get_file("train", KEY, tmp_path / "deep/model.bin")
    assert (tmp_path / "deep/model.bin").read_bytes() == LONG
    assert not store.get_file("train", digest(3), tmp_path / "none")
    assert not (tmp_path / "none").exists()
    assert store.stats() == local.stats()
    store.remove("align", KEY, "table")
    store.remove("align", KEY, "table")
    assert not store.has("align", KEY)


def test_what_fails_while_it_is_made_leaves_the_old_entry(remote: Remote) -> None:
    remote.store.put_table("align", KEY, [TABLE])

    def pieces() -> Iterator[pa.Table]:
        yield TABLE.slice(1)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        remote.store.put_table("align", KEY, pieces())
    assert read(remote.store) == [TABLE]


def test_a_reader_keeps_what_it_began_to_read(remote: Remote) -> None:
    remote.store.put_table("align", KEY, [TABLE, TABLE.slice(1)])
    found = remote.store.get_table("align", KEY)
    remote.store.put_table("align", KEY, [TABLE.slice(2)])
    assert list(found) == [TABLE, TABLE.slice(1)]
    assert read(remote.store) == [TABLE.slice(2)]


@pytest.mark.parametrize("fault", ["500", "503", "drop", "stall", "lose"])
def test_a_write_that_fails_for_a_while_is_made_again(remote: Remote, fault: str) -> None:
    times = 1 if fault == "stall" else 3
    rule = remote.server.fail(fault, "PUT", KEY, times=times)
    start = time.monotonic()
    remote.store.put_table("align", KEY, [TABLE])
    # not when the server that stalls has come to its end
    assert time.monotonic() - start < remote.server.stall_s - 2
    assert rule.spent
    assert read(remote.store) == [TABLE]


@pytest.mark.parametrize("fault", ["500", "drop"])
@pytest.mark.parametrize("request_of", ["uploads", "partNumber=1", "partNumber=2", "POST"])
def test_a_part_that_fails_for_a_while_is_sent_again(
    remote: Remote, tmp_path: Path, fault: str, request_of: str
) -> None:
    (tmp_path / "file").write_bytes(LONG)
    method = "PUT" if "part" in request_of else "POST"
    rule = remote.server.fail(fault, method, request_of if request_of != "POST" else KEY, times=1)
    remote.store.put_file("train", KEY, tmp_path / "file")
    assert rule.spent
    assert remote.store.get_file("train", KEY, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == LONG


def test_of_a_write_that_fails_for_good_nothing_is_seen(remote: Remote, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(LONG)
    remote.store.put_file("train", digest("other"), tmp_path / "file")
    before = remote.objects()
    remote.server.fail("drop", "PUT", "partNumber=2")
    with pytest.raises(UserError, match=r"^s3://bucket-\d+/some/.*cannot write it, tried 6 times"):
        remote.store.put_file("train", KEY, tmp_path / "file")
    assert remote.objects() == before
    remote.server.heal()
    remote.store.put_file("train", KEY, tmp_path / "file")
    assert remote.store.get_file("train", KEY, tmp_path / "copy")


@pytest.mark.parametrize(
    ("fault", "method"),
    [("half", "GET"), *product(["500", "503", "drop", "stall"], ["GET", "HEAD"])],
)
def test_a_read_that_fails_for_a_while_is_made_again(
    remote: Remote, fault: str, method: str
) -> None:
    remote.store.put_table("align", KEY, [TABLE])
    rule = remote.server.fail(fault, method, KEY, times=1 if fault == "stall" else 2)
    assert read(remote.store) == [TABLE]
    assert rule.spent


def test_what_came_damaged_is_fetched_again_and_stays(remote: Remote) -> None:
    """Only what is damaged where it lies is deleted."""
    remote.store.put_table("align", KEY, [TABLE])
    rule = remote.server.fail("garble", "GET", KEY, times=1)
    assert read(remote.store) == [TABLE]
    assert rule.spent
    assert remote.store.has("align", KEY)


@pytest.mark.parametrize("damage", ["flip", "cut", "grow", "empty"])
def test_a_damaged_object_is_missing_and_goes(remote: Remote, damage: str) -> None:
    store = remote.store
    store.put_table("align", KEY, [TABLE])
    store.put_failure("align", digest(2), "bad")
    place = store.root / f"align/{KEY[:2]}/{KEY}.table"
    data = bytearray(remote.objects()[f"align/{KEY[:2]}/{KEY}.table"])
    if damage == "flip":
        data[len(data) // 2] ^= 1
    wrong = {"cut": data[:-1], "grow": data + b"\0", "empty": b""}.get(damage, data)
    key = f"some/prefix/align/{KEY[:2]}/{KEY}.table"
    assert store.verify() == []
    remote.server.client.put_object(Bucket=remote.bucket, Key=key, Body=bytes(wrong))
    assert store.verify() == [place]
    assert store.verify() == []
    remote.server.client.put_object(Bucket=remote.bucket, Key=key, Body=bytes(wrong))
    assert read(store) is None
    assert not store.has("align", KEY)
    store.put_table("align", KEY, [TABLE])
    assert read(store) == [TABLE]


def test_what_others_put_there_is_no_entry(remote: Remote) -> None:
    remote.store.put_table("align", KEY, [TABLE])
    before = remote.store.stats()
    for key in ("notes.txt", "align/readme", f"align/ff/{KEY}.table", "align/00/x/y.table"):
        remote.server.client.put_object(
            Bucket=remote.bucket, Key=f"some/prefix/{key}", Body=b"mine"
        )
    assert remote.store.stats() == before
    assert remote.store.verify() == []


def _no_bucket(patch: pytest.MonkeyPatch, bucket: str) -> None:
    patch.setenv("ARPGNET_STORE", "s3://no-such-bucket/prefix")


def _refused(patch: pytest.MonkeyPatch, bucket: str) -> None:
    patch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")


def _not_http(patch: pytest.MonkeyPatch, bucket: str) -> None:
    patch.setenv("AWS_ENDPOINT_URL", "localhost:9000")


def _tls_to_a_plain_server(patch: pytest.MonkeyPatch, bucket: str) -> None:
    import os

    patch.setenv("AWS_ENDPOINT_URL", os.environ["AWS_ENDPOINT_URL"].replace("http:", "https:"))


def _no_credentials(patch: pytest.MonkeyPatch, bucket: str) -> None:
    patch.delenv("AWS_ACCESS_KEY_ID")
    patch.setenv("HOME", "/nonexistent")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (_no_bucket, "s3://no-such-bucket/prefix: .*make the bucket"),
        (_refused, "s3://.*: cannot list it .*AWS_ENDPOINT_URL"),
        (_not_http, "AWS_ENDPOINT_URL=localhost:9000: give http"),
        (_tls_to_a_plain_server, "s3://.*certificate"),
        (_no_credentials, "s3://.*credentials.*docs/store.md"),
    ],
)
def test_what_waiting_does_not_fix_is_said_at_once(
    remote: Remote,
    monkeypatch: pytest.MonkeyPatch,
    spoil: Callable[[pytest.MonkeyPatch, str], None],
    said: str,
) -> None:
    spoil(monkeypatch, remote.bucket)
    start = time.monotonic()
    with pytest.raises(UserError, match=said) as raised:
        Store(store_place()).has("align", KEY)
    assert "\n" not in str(raised.value)
    assert time.monotonic() - start < 3


def test_a_server_that_only_fails_is_given_up_and_comes_back(remote: Remote) -> None:
    remote.store.put_table("align", KEY, [TABLE])
    remote.server.requests.clear()
    remote.server.fail("503", "HEAD", KEY)
    with pytest.raises(UserError, match=r"look it up, tried 6 times .*503.*run again"):
        remote.store.has("align", KEY)
    assert len(remote.server.requests) == 6
    remote.server.heal()
    assert remote.store.has("align", KEY)


def test_few_requests_an_entry(remote: Remote, s3: S3Server) -> None:
    """Each costs tens of milliseconds and money."""
    remote.store.has("align", KEY)

    def requests(call: Callable[[], object]) -> list[str]:
        s3.requests.clear()
        call()
        return [method for method, _ in s3.requests]

    store = remote.store
    assert requests(lambda: store.has("align", KEY)) == ["HEAD"]
    assert requests(lambda: store.put_table("align", KEY, [TABLE])) == ["PUT", "HEAD"]
    assert requests(lambda: read(store)) == ["HEAD", "GET"]
