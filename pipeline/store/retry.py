"""What to do when object storage fails: wait and try again, or say what is to be fixed."""

from __future__ import annotations

import os
import random
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.store.address import STORE_VARIABLE, Address

TIMEOUT_VARIABLE = "ARPGNET_STORE_TIMEOUT_S"

Result = TypeVar("Result")

# pyarrow hands out the services' words alone, so they are matched by these
_REMEDIES: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), remedy)
    for pattern, remedy in (
        (r"NO_SUCH_BUCKET|NoSuchBucket", f"make the bucket, or fix {STORE_VARIABLE}"),
        (
            r"ACCESS_DENIED|AccessDenied|HTTP status 40[13]|INVALID_ACCESS_KEY|SIGNATURE|"
            r"INVALID_CLIENT_TOKEN|UNRECOGNIZED_CLIENT|EXPIRED_TOKEN|ExpiredToken|"
            r"PERMISSION_DENIED|UNAUTHENTICATED|OAuth2|credentials",
            "set credentials that may read and write there, see docs/store.md",
        ),
        (
            # refused, and not a matter of time like the other numbers
            r"curlCode: 7,|Connection refused|CURL error \[7\]",
            "is the server running? AWS_ENDPOINT_URL (for gs://, STORAGE_EMULATOR_HOST) says where",
        ),
        (
            r"curlCode: (1|3|35|51|53|58|60|77),|CURL error \[(1|3|35|51|53|58|60|77)\]",
            "fix the scheme (http, https) or the certificate of the endpoint",
        ),
        (
            r"HTTP status 301|PERMANENT_REDIRECT|PermanentRedirect|AUTHORIZATION_HEADER_MALFORMED",
            "set AWS_REGION to the bucket's region",
        ),
        (
            r"INVALID_BUCKET_NAME|InvalidBucketName|HTTP status 400",
            f"fix {STORE_VARIABLE}, the region or the credentials",
        ),
    )
)


class LostWriteError(OSError):
    """The service took an object, and does not have it."""


@dataclass(frozen=True)
class RetryPolicy:
    """How often and how long a failing operation is retried.

    Args:
        attempts: of one operation, before it is given up.
        stall_s: without a byte, and a request has failed. Curl gives one that sends 6 s more.
        first_wait_s: before the second attempt; doubled before each that follows.
    """

    attempts: int = 6
    stall_s: float = 15.0
    first_wait_s: float = 0.25

    @classmethod
    def from_environment(cls) -> RetryPolicy:
        """Build a policy with `ARPGNET_STORE_TIMEOUT_S` as `stall_s`, where it is set.

        Raises:
            UserError: it is no number of seconds.
        """
        named = os.environ.get(TIMEOUT_VARIABLE)
        if not named:
            return cls()
        try:
            seconds = float(named)
        except ValueError:
            seconds = 0.0
        # the client counts in whole seconds
        if not 1 <= seconds <= 3600:
            raise UserError(f"{TIMEOUT_VARIABLE}={named}: give 1 to 3600 seconds")
        return cls(stall_s=seconds)

    def call(self, address: Address, what: str, attempt: Callable[[], Result]) -> Result:
        """Return the result of `attempt`, which is retried while the failure is temporary.

        Args:
            what: is done, for the message: "read", "write", ...

        Raises:
            OSError: with a number, as `attempt` raises it: there is no such object.
            UserError: it fails for good, or has failed as often as there are attempts.
        """
        for number in range(self.attempts):
            try:
                return attempt()
            except OSError as error:
                # the services' faults have no number: this one is of a local file, or says
                # that there is no such object
                if error.errno is not None:
                    raise
                remedy = _remedy(error)
                if remedy is not None:
                    raise UserError(
                        f"{address}: cannot {what} ({_said(error)}): {remedy}"
                    ) from None
                last = error
            if number + 1 < self.attempts:
                # some of them at once must not come back all at once
                time.sleep(self.first_wait_s * 2**number * random.uniform(0.75, 1.25))
        raise UserError(
            f"{address}: cannot {what}, tried {self.attempts} times ({_said(last)}): check the "
            "service, then run again; finished results are cached"
        )


def _remedy(error: OSError) -> str | None:
    """Return what to fix; None where waiting may help."""
    # before the service's own words stands the place, which may be called anything
    text = _own_words(str(error))
    return next((remedy for pattern, remedy in _REMEDIES if pattern.search(text)), None)


def _said(error: OSError) -> str:
    """Return the service's own words on one line, without the place and request numbers."""
    text = re.sub(r"\s*\(Request ID: [^)]*\)", "", " ".join(str(error).split()))
    text = _own_words(text)
    return text if len(text) <= 200 else f"{text[:200]}..."


def _own_words(text: str) -> str:
    return text[max(text.find("AWS Error"), text.find("google::cloud::Status"), 0) :]
