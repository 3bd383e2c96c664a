"""`arpgnet store` and `arpgnet doctor` with a store on S3."""

import pytest

from arpgnet.pipeline.store import digest
from helpers.in_process import arpgnet
from helpers.s3_server import Remote

KEY = digest("a key")


def refused(*arguments: str) -> str:
    done = arpgnet(*arguments)
    assert done.returncode == 1
    (line,) = done.stderr.strip().splitlines()
    return line


def test_store_commands_on_s3(remote: Remote) -> None:
    remote.store.put_failure("align", KEY, "bad")
    done = arpgnet("store", "stats")
    assert done.returncode == 0, done.stderr
    assert str(remote.store.root) in done.stdout
    assert "align" in done.stdout
    key = f"some/prefix/align/{KEY[:2]}/{KEY}.failure"
    remote.server.client.put_object(Bucket=remote.bucket, Key=key, Body=b"nonsense")
    done = arpgnet("store", "verify")
    assert (done.returncode, done.stdout) == (0, "1 damaged entry deleted\n"), done.stderr
    assert remote.objects() == {}
    line = refused("store", "gc")
    assert line.startswith(f"error: {remote.store.root}: object storage keeps no time")
    assert "lifecycle rule, see docs/store.md" in line


def test_what_is_wrong_with_the_address_is_one_line(
    remote: Remote, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ARPGNET_STORE", "s3://no-such-bucket")
    assert "error: s3://no-such-bucket: cannot list it" in refused("store", "stats")
    monkeypatch.setenv("ARPGNET_STORE", "nfs://host/folder")
    assert "there is no store on nfs://; give an absolute path" in refused("store", "verify")
