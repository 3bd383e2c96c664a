"""Finished results by key, in a folder or on object storage; see `pipeline.store.results`."""

from arpgnet.pipeline.store.address import (
    STORE_VARIABLE,
    Address,
    Place,
    folder_of,
    store_place,
    store_root,
)
from arpgnet.pipeline.store.backend import Removed
from arpgnet.pipeline.store.code import code_version, library_version, project_version
from arpgnet.pipeline.store.digests import digest, file_sha256
from arpgnet.pipeline.store.entries import Kind
from arpgnet.pipeline.store.results import NamespaceStats, Store

__all__ = [
    "STORE_VARIABLE",
    "Address",
    "Kind",
    "NamespaceStats",
    "Place",
    "Removed",
    "Store",
    "code_version",
    "digest",
    "file_sha256",
    "folder_of",
    "library_version",
    "project_version",
    "store_place",
    "store_root",
]
