"""Where the store is: a folder, or an address on object storage."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal, cast
from urllib.parse import unquote, urlsplit

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.common.user import cache_folder, expanded

STORE_VARIABLE = "ARPGNET_STORE"

Scheme = Literal["s3", "gs"]
SCHEMES = ("s3", "gs")
_FORMS = "an absolute path, file:///folder, s3://bucket/prefix or gs://bucket/prefix"
# the rules that S3 and Google Cloud Storage have in common
_BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]{1,61}[a-z0-9]")
# what needs no escaping in a request on either
_PREFIX = re.compile(r"[A-Za-z0-9!_.*'()=/-]*")


@dataclass(frozen=True)
class Address:
    """A place on object storage; behaves like the paths of a folder where the store needs it.

    Args:
        scheme: `s3` or `gs`.
        path: the bucket and what follows, as pyarrow takes it.
    """

    scheme: Scheme
    path: PurePosixPath

    def __truediv__(self, name: str) -> Address:
        return Address(self.scheme, self.path / name)

    def __str__(self) -> str:
        return f"{self.scheme}://{self.path}"

    @property
    def bucket(self) -> str:
        return self.path.parts[0]

    @property
    def parent(self) -> Address:
        return Address(self.scheme, self.path.parent)

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def stem(self) -> str:
        return self.path.stem

    @property
    def suffix(self) -> str:
        return self.path.suffix


Place = Path | Address


def store_place() -> Place:
    """Return the store: `ARPGNET_STORE`, else `arpgnet` in the user's cache folder.

    Raises:
        UserError: `ARPGNET_STORE` is neither an absolute path nor an address. A relative path
            would name another store in the folders that DVC runs experiments in.
    """
    named = os.environ.get(STORE_VARIABLE)
    if not named:
        return _user_cache()
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]*:", named):
        return _parsed(named)
    folder = expanded(named)
    if not folder.is_absolute():
        raise UserError(f"{STORE_VARIABLE}={named}: give {_FORMS}")
    return folder


def store_root() -> Path:
    """Return the store's folder on this machine; with object storage, the user's cache.

    For what must be files: rendered data sets, a SQLite cache. All of it
    is made anew where it is missing.

    Raises:
        UserError: see `store_place`.
    """
    return folder_of(store_place())


def folder_of(place: Place) -> Path:
    """Return a store's folder on this machine: itself, or the user's cache with object storage."""
    return place if isinstance(place, Path) else _user_cache()


def _user_cache() -> Path:
    return cache_folder(f"{STORE_VARIABLE} to a writable folder")


def _parsed(named: str) -> Place:
    def refuse(why: str) -> UserError:
        return UserError(f"{STORE_VARIABLE}={named}: {why}; give {_FORMS}")

    try:
        parts = urlsplit(named)
    except ValueError as error:
        raise refuse(str(error)) from None
    scheme = parts.scheme.lower()
    if not named[len(scheme) :].startswith("://"):
        raise refuse(f"a scheme is followed by ://, as in {scheme}://")
    if scheme == "file":
        if parts.netloc not in ("", "localhost") or not parts.path.startswith("/"):
            raise refuse("a file address has three slashes and an absolute path")
        return Path(unquote(parts.path))
    if scheme not in SCHEMES:
        raise refuse(f"there is no store on {scheme}://")
    if parts.query or parts.fragment:
        raise refuse("settings of the connection are environment variables, see docs/store.md")
    if not _BUCKET.fullmatch(parts.netloc):
        raise refuse(f"{parts.netloc!r} is not the name of a bucket")
    prefix = parts.path.strip("/")
    if not _PREFIX.fullmatch(prefix) or {"", ".", ".."} & set(prefix.split("/") if prefix else ()):
        raise refuse("the prefix has letters, digits and !_.*'()=- between single slashes")
    return Address(cast(Scheme, scheme), PurePosixPath(parts.netloc, prefix))
