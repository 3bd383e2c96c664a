from collections.abc import Iterator
from itertools import count

import pytest

from arpgnet.pipeline.store import Store, store_place
from helpers.s3_server import CREDENTIALS, PREFIX, Remote, S3Server, s3_server

_numbers = count()


@pytest.fixture(scope="session")
def running_s3() -> Iterator[S3Server]:
    with s3_server() as server:
        yield server


@pytest.fixture
def s3(running_s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Server]:
    """The server as the environment names it, without faults."""
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    for name in ("AWS_ENDPOINT_URL_S3", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ENDPOINT_URL", running_s3.url)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("ARPGNET_STORE_TIMEOUT_S", "1")
    running_s3.requests.clear()
    yield running_s3
    running_s3.heal()


@pytest.fixture
def remote(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> Remote:
    bucket = s3.bucket(f"bucket-{next(_numbers)}")
    monkeypatch.setenv("ARPGNET_STORE", f"s3://{bucket}/{PREFIX}")
    return Remote(s3, bucket, Store(store_place()))
