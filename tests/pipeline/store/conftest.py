from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count

import pytest
from s3_server import CREDENTIALS, S3Server, s3_server

from pipeline.store import Store, store_place
from pipeline.store.retry import Patience

_numbers = count()


@pytest.fixture(scope="session")
def running_s3() -> Iterator[S3Server]:
    with s3_server() as server:
        yield server


@dataclass
class Remote:
    """A store on the test's own bucket, and the server behind it."""

    server: S3Server
    bucket: str
    store: Store

    def objects(self) -> dict[str, bytes]:
        """By their path in the store."""
        prefix = "some/prefix/"
        objects = self.server.objects(self.bucket)
        assert all(key.startswith(prefix) for key in objects)
        return {key.removeprefix(prefix): data for key, data in objects.items()}


@pytest.fixture
def s3(running_s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Server]:
    """The server as the environment names it, without faults."""
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    for name in ("AWS_ENDPOINT_URL_S3", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ENDPOINT_URL", running_s3.url)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    # as often as ever, but sooner
    hasty = Patience(stall_s=1.0, first_wait_s=0.02)
    monkeypatch.setattr(Patience, "from_environment", lambda: hasty)
    running_s3.requests.clear()
    yield running_s3
    running_s3.heal()


@pytest.fixture
def remote(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> Remote:
    bucket = s3.bucket(f"bucket-{next(_numbers)}")
    monkeypatch.setenv("ARPGNET_STORE", f"s3://{bucket}/some/prefix")
    return Remote(s3, bucket, Store(store_place()))
