"""The one client for downloads, against a server on this machine."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path

import pytest

from arpgnet.pipeline.common import download as client
from arpgnet.pipeline.common.download import (
    DownloadError,
    Expectation,
    Retries,
    content_length,
    download,
    fetch_file,
    read_json,
)
from arpgnet.pipeline.common.errors import UserError
from helpers.publishers import Fault, Server, serving

DATA = bytes(range(256)) * 200
QUICK = Retries(attempts=4, first_wait_s=0.01, longest_wait_s=2.5)


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as started:
        started.files["/x"] = DATA
        yield started


def md5(data: bytes) -> Expectation:
    return Expectation(len(data), "md5", hashlib.md5(data).hexdigest())


def get(server: Server, folder: Path, expected: Expectation | None = None) -> bytes:
    target = folder / "deep" / "x"
    fetch_file(f"{server.address}/x", target, expected or md5(DATA), retries=QUICK)
    assert sorted(path.name for path in target.parent.iterdir()) == ["x"]
    return target.read_bytes()


def test_a_file_arrives_whole(server: Server, tmp_path: Path) -> None:
    assert get(server, tmp_path) == DATA
    assert server.asked("/x") == [None]


@pytest.mark.parametrize("etags", [True, False])
def test_a_broken_transfer_goes_on_by_itself(server: Server, tmp_path: Path, etags: bool) -> None:
    server.etags = etags
    server.faults["/x"] = [Fault(cut=1000), Fault(cut=500), Fault(cut=0)]
    assert get(server, tmp_path) == DATA
    assert server.asked("/x") == [None, "bytes=1000-", "bytes=1500-", "bytes=1500-"]


def test_a_later_call_goes_on_too(server: Server, tmp_path: Path) -> None:
    server.faults["/x"] = [Fault(cut=1000)]
    with pytest.raises(UserError, match="ended after 1000 of 51200 bytes; run again to go on"):
        download(f"{server.address}/x", tmp_path / "x.part")
    download(f"{server.address}/x", tmp_path / "x.part")
    assert (tmp_path / "x.part").read_bytes() == DATA
    assert server.asked("/x") == [None, "bytes=1000-"]
    assert [path.name for path in tmp_path.iterdir()] == ["x.part"]


def test_no_progress_ends(server: Server, tmp_path: Path) -> None:
    server.faults["/x"] = [Fault(cut=1000), *[Fault(cut=0)] * 10]
    with pytest.raises(DownloadError, match="ended after 1000 of"):
        get(server, tmp_path)
    assert len(server.asked("/x")) == 1 + QUICK.attempts - 1


def test_a_server_that_ignores_ranges_sends_all_again(server: Server, tmp_path: Path) -> None:
    server.ranges = False
    server.faults["/x"] = [Fault(cut=1000)]
    assert get(server, tmp_path) == DATA
    assert server.asked("/x") == [None, "bytes=1000-"]


def test_a_file_that_changes_in_between_is_not_joined(server: Server, tmp_path: Path) -> None:
    """With a version the server says so; the new one is taken whole."""
    server.faults["/x"] = [Fault(cut=1000)]
    with pytest.raises(UserError):
        download(f"{server.address}/x", tmp_path / "x.part")
    server.files["/x"] = new = DATA[::-1]
    download(f"{server.address}/x", tmp_path / "x.part")
    assert (tmp_path / "x.part").read_bytes() == new


def test_without_versions_the_digest_says_so(server: Server, tmp_path: Path) -> None:
    server.etags = False
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep/x.part").write_bytes(b"another version")
    assert get(server, tmp_path) == DATA
    assert server.asked("/x") == ["bytes=15-", None]


@pytest.mark.parametrize("length", [len(DATA), len(DATA) + 7])
def test_a_part_that_is_whole_or_longer(server: Server, tmp_path: Path, length: int) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep/x.part").write_bytes((DATA + b"too long")[:length])
    assert get(server, tmp_path) == DATA
    assert server.asked("/x") == ([] if length == len(DATA) else [None])


def test_a_part_beyond_the_end_of_an_unknown_length(server: Server, tmp_path: Path) -> None:
    (tmp_path / "x.part").write_bytes(DATA + b"too long")
    download(f"{server.address}/x", tmp_path / "x.part", retries=QUICK)
    assert (tmp_path / "x.part").read_bytes() == DATA


def test_a_wrong_file_is_tried_twice_and_discarded(server: Server, tmp_path: Path) -> None:
    server.files["/x"] = DATA[:-1] + b"!"
    with pytest.raises(UserError, match=r"has md5 \w+, expected \w+, twice: it was discarded"):
        get(server, tmp_path)
    assert list((tmp_path / "deep").iterdir()) == []
    assert len(server.asked("/x")) == 2


def test_another_length_is_not_downloaded(server: Server, tmp_path: Path) -> None:
    server.files["/x"] = DATA * 2
    with pytest.raises(UserError, match="has 102400 bytes at the server, expected 51200"):
        get(server, tmp_path)
    assert len(server.asked("/x")) == 1


@pytest.mark.parametrize("code", [429, 500, 502, 503, 504])
def test_a_busy_server_is_asked_again(server: Server, tmp_path: Path, code: int) -> None:
    server.faults["/x"] = [Fault(code), Fault(cut=10), Fault(code)]
    assert get(server, tmp_path) == DATA
    assert server.asked("/x") == [None, None, "bytes=10-", "bytes=10-"]


@pytest.mark.parametrize("dated", [False, True])
def test_retry_after_is_waited_for(
    server: Server, tmp_path: Path, dated: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    # a date has whole seconds
    after = formatdate(time.time() + 2, usegmt=True) if dated else "1"
    server.faults["/x"] = [Fault(429, {"Retry-After": after})]
    began = time.monotonic()
    assert get(server, tmp_path) == DATA
    assert time.monotonic() - began >= 0.9
    assert "429 Too Many Requests and asks to wait" in capsys.readouterr().err


def test_too_long_a_wait_is_the_users(server: Server, tmp_path: Path) -> None:
    server.faults["/x"] = [Fault(503, {"Retry-After": "3600"})]
    with pytest.raises(DownloadError, match="503 Service Unavailable and asks to wait 3600 s"):
        get(server, tmp_path)
    assert len(server.asked("/x")) == 1


@pytest.mark.parametrize("code", [401, 403, 404, 410])
def test_a_refusal_is_final(server: Server, tmp_path: Path, code: int) -> None:
    server.faults["/x"] = [Fault(code, body=b'{"message": "over\\n its budget"}')]
    with pytest.raises(DownloadError, match=rf"answered {code} .*\(over its budget\)") as caught:
        get(server, tmp_path)
    assert caught.value.code == code
    assert len(server.asked("/x")) == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_is_one_line(server: Server, tmp_path: Path) -> None:
    (tmp_path / "x.part").symlink_to("/dev/full")
    with pytest.raises(UserError, match=r"the disk of .*x\.part is full: free some space"):
        download(f"{server.address}/x", tmp_path / "x.part", retries=QUICK)


def test_nobody_answers(tmp_path: Path) -> None:
    with serving() as gone:
        address = gone.address
    with pytest.raises(
        DownloadError, match=r"127\.0\.0\.1:\d+ cannot be reached \(.*\): run again"
    ):
        download(f"{address}/x", tmp_path / "x.part", retries=QUICK)


def test_json(server: Server) -> None:
    server.files["/j"] = b'{"a": [1]}'
    server.faults["/j"] = [Fault(503)]
    assert read_json(f"{server.address}/j", retries=QUICK) == {"a": [1]}
    server.files["/j"] = b"<html>\nlog in"
    with pytest.raises(DownloadError, match="the answer is not JSON: '<html>'"):
        read_json(f"{server.address}/j", retries=QUICK)


def test_length(server: Server) -> None:
    assert content_length(f"{server.address}/x") == len(DATA)
    server.faults["/x"] = [Fault(405)]
    assert content_length(f"{server.address}/x") is None


def test_a_redirect_to_another_host_gets_no_password(server: Server, tmp_path: Path) -> None:
    seen = []

    with serving() as other:
        other.files["/x"] = DATA
        elsewhere = f"{other.address}/x"
        server.faults["/x"] = [Fault(302, {"Location": elsewhere})]

        def opener(request: client.Request) -> object:
            response = client.open_url(request)
            seen.append(response.url)
            return response

        made = client.Request(f"{server.address}/x", headers={"Authorization": "Basic secret"})
        kept = client._Redirects().redirect_request(made, None, 302, "Found", {}, elsewhere)
        assert kept is not None
        assert not kept.has_header("Authorization")
        same = client._Redirects().redirect_request(
            made, None, 302, "Found", {}, f"{server.address}/y"
        )
        assert same is not None
        assert same.has_header("Authorization")
        fetch_file(f"{server.address}/x", tmp_path / "x", md5(DATA), opener=opener)
        assert seen == [elsewhere]
