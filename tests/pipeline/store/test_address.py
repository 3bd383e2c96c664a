"""ARPGNET_STORE: what it may say, and what is told to whom it may not."""

import pickle
from pathlib import Path

import pytest

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.store import Address, store_place, store_root


@pytest.mark.parametrize(
    ("named", "text"),
    [
        ("s3://bucket", "s3://bucket"),
        ("s3://bucket/", "s3://bucket"),
        ("S3://bucket/a/b=c/", "s3://bucket/a/b=c"),
        ("gs://some_bucket.org/prefix", "gs://some_bucket.org/prefix"),
    ],
)
def test_addresses_of_object_storage(
    named: str, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ARPGNET_STORE", named)
    place = store_place()
    assert isinstance(place, Address)
    assert str(place) == text
    assert str(place / "align/00/x.table") == f"{text}/align/00/x.table"
    assert pickle.loads(pickle.dumps(place)) == place
    # what must be files lies on this machine
    assert isinstance(store_root(), Path)
    assert store_root().name == "arpgnet"


@pytest.mark.parametrize(
    ("named", "folder"),
    [
        ("/a folder/store", "/a folder/store"),
        ("file:///a/store", "/a/store"),
        ("file:///a%20folder", "/a folder"),
        ("file://localhost/a", "/a"),
    ],
)
def test_folders(named: str, folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARPGNET_STORE", named)
    assert store_place() == store_root() == Path(folder)


@pytest.mark.parametrize(
    ("named", "why"),
    [
        ("relative/store", "absolute"),
        ("ftp://host/folder", "no store on ftp://"),
        ("s3:/bucket/prefix", "://"),
        ("s3:bucket", "://"),
        ("s3://", "'' is not the name of a bucket"),
        ("s3:///prefix", "'' is not the name of a bucket"),
        ("s3://Bucket/prefix", "'Bucket' is not the name of a bucket"),
        ("s3://key:secret@bucket/prefix", "is not the name of a bucket"),
        ("s3://bucket/a//b", "prefix"),
        ("s3://bucket/../other", "prefix"),
        ("s3://bucket/a b", "prefix"),
        ("s3://bucket/a?region=x", "environment variables"),
        ("s3://[bucket/a", "Invalid IPv6 URL"),
        ("file://host/folder", "three slashes"),
        ("file:relative", "://"),
    ],
)
def test_what_is_no_address(named: str, why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARPGNET_STORE", named)
    with pytest.raises(UserError) as raised:
        store_place()
    assert why in str(raised.value)
    assert str(raised.value).startswith(f"ARPGNET_STORE={named}")
    assert "s3://bucket/prefix" in str(raised.value)
    assert "\n" not in str(raised.value)
