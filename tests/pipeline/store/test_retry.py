"""Which faults of a service are waited out, and how long."""

import errno
from pathlib import PurePosixPath

import pytest

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.store.address import Address
from arpgnet.pipeline.store.retry import RetryPolicy

ADDRESS = Address("s3", PurePosixPath("bucket/prefix"))
HASTY = RetryPolicy(attempts=4, first_wait_s=0.001)


class Service:
    """Fails with these errors, one after the other, and then works."""

    def __init__(self, *errors: OSError) -> None:
        self.errors = list(errors)
        self.calls = 0

    def __call__(self) -> str:
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return "done"


# as pyarrow 26 words them
TEMPORARY = [
    "AWS Error UNKNOWN (HTTP status 500) during PutObject operation: No response body.",
    "AWS Error SLOW_DOWN during PutObject operation: Please reduce your request rate.",
    "AWS Error SERVICE_UNAVAILABLE during GetObject operation: Service is unavailable",
    "AWS Error NETWORK_CONNECTION during PutObject operation: curlCode: 28, Timeout was reached",
    "AWS Error NETWORK_CONNECTION during PutObject operation: curlCode: 52, Empty reply",
    "AWS Error NETWORK_CONNECTION during HeadObject operation: curlCode: 6, Could not resolve",
    "When reading 'SIGNATURE' in bucket 'credentials': AWS Error SLOW_DOWN during GetObject: wait",
]
LASTING = {
    "AWS Error NO_SUCH_BUCKET during PutObject operation: it does not exist": "make the bucket",
    "AWS Error ACCESS_DENIED during HeadObject operation: No response body.": "credentials",
    "AWS Error UNKNOWN (HTTP status 403) during X operation: no.": "credentials",
    "AWS Error EXPIRED_TOKEN during X operation: expired": "credentials",
    "AWS Error NETWORK_CONNECTION during X: curlCode: 7, Could not connect": "AWS_ENDPOINT_URL",
    "google::cloud::Status(UNAVAILABLE: Could not create a OAuth2 access token)": "credentials",
    "google::cloud::Status(UNAVAILABLE: CURL error [7]=Could not)": "STORAGE_EMULATOR_HOST",
    "AWS Error NETWORK_CONNECTION during X: curlCode: 60, SSL certificate": "certificate",
    "AWS Error UNKNOWN (HTTP status 301) during HeadObject operation: No body.": "AWS_REGION",
}


@pytest.mark.parametrize("text", TEMPORARY)
def test_what_is_temporary_is_tried_again_and_given_up(text: str) -> None:
    service = Service(*[OSError(text)] * 3)
    assert HASTY.call(ADDRESS, "read it", service) == "done"
    assert service.calls == 4
    service = Service(*[OSError(text)] * 5)
    with pytest.raises(UserError, match="s3://bucket/prefix: cannot read it, tried 4 times"):
        HASTY.call(ADDRESS, "read it", service)
    assert service.calls == 4


@pytest.mark.parametrize("text", LASTING)
def test_what_lasts_is_said_at_once_with_its_remedy(text: str) -> None:
    service = Service(OSError(text))
    with pytest.raises(UserError, match=f"s3://bucket/prefix: cannot read it .*{LASTING[text]}"):
        HASTY.call(ADDRESS, "read it", service)
    assert service.calls == 1


def test_the_message_is_one_line_of_bearable_length() -> None:
    text = "AWS Error X: a\n  b (Request ID: 6M2jFDHo3vvJAjal)" + " more" * 1000
    with pytest.raises(UserError) as raised:
        HASTY.call(ADDRESS, "read it", Service(*[OSError(text)] * 4))
    said = str(raised.value)
    assert "\n" not in said
    assert "6M2j" not in said
    assert len(said) < 400


def test_what_is_no_fault_of_the_service_comes_out_as_it_is() -> None:
    for error in (FileNotFoundError(errno.ENOENT, "none"), OSError(errno.EIO, "a local disk")):
        service = Service(error)
        with pytest.raises(type(error)) as raised:
            HASTY.call(ADDRESS, "read it", service)
        assert raised.value is error
        assert service.calls == 1


@pytest.mark.parametrize("named", ["soon", "0", "-1", "nan", "1e9"])
def test_a_timeout_is_a_number_of_seconds(named: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARPGNET_STORE_TIMEOUT_S", "7.5")
    assert RetryPolicy.from_environment().stall_s == 7.5
    monkeypatch.setenv("ARPGNET_STORE_TIMEOUT_S", named)
    with pytest.raises(UserError, match=f"ARPGNET_STORE_TIMEOUT_S={named}: give 1 to 3600"):
        RetryPolicy.from_environment()
