"""`arpgnet data fetch`: a data set from its publisher, as `make repro` with its preset reads it."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from urllib.parse import urlsplit

from arpgnet.pipeline.common.download import SEVERAL, Retries
from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.common.user import expanded
from arpgnet.pipeline.datasets.base import ADAPTERS, About, Wanted, adapter
from arpgnet.pipeline.datasets.fetching.archives import (
    Archive,
    Say,
    fetch_archives,
    single_archive,
    zenodo_archives,
)
from arpgnet.pipeline.datasets.fetching.folder import opened
from arpgnet.pipeline.datasets.fetching.lfs import fetch_repository
from arpgnet.pipeline.datasets.fetching.table import (
    PUBLISHERS,
    LfsRepository,
    Publisher,
    ZenodoRecord,
)
from arpgnet.pipeline.datasets.presets import preset_names, read_preset
from arpgnet.pipeline.networks.fetch import fetch as fetch_pack
from arpgnet.pipeline.networks.packs import known_entries, load_pack, user_models_folder


def fetch(
    name: str,
    root: Path,
    *,
    accept_license: bool,
    variant: str | None = None,
    server: str | None = None,
    with_pack: bool = True,
    retries: Retries = SEVERAL,
    say: Say = lambda line: print(line, file=sys.stderr),
) -> None:
    """Put a data set into `root`, and the face pack of its preset beside the other packs.

    What an earlier call finished is read and checked, not downloaded again.

    Args:
        variant: of the set; None: the one that its preset uses.
        server: is asked instead of the publisher's, by the publisher's paths.

    Raises:
        UserError: the set cannot be fetched, its license was not accepted, the disk is too small,
            the publisher cannot be reached, or a file is another than published.
    """
    publisher = _publisher(name, server)
    about = adapter(name).ABOUT
    chosen = publisher.variant if variant is None else variant
    if chosen not in (about.variants or ("",)):
        raise UserError(f"{name} has no variant '{chosen}'; known: {', '.join(about.variants)}")
    pack = _pack_of_preset(name) if with_pack else None
    terms = _terms(about, pack)
    if not accept_license:
        raise UserError(
            f"{name}: {terms} Nothing was downloaded. To accept, run 'arpgnet data fetch {name} "
            f"{root} --accept-license'; it downloads {publisher.summary()}"
        )
    say(f"{name}: {terms}")
    root = expanded(root)
    if root.exists() and not root.is_dir():
        raise UserError(f"{root} is a file; give a folder")
    with opened(root) as work:
        _fetch_set(name, chosen, publisher, root.resolve(), work.resolve(), retries, say)
    say(_count(name, root.resolve(), chosen, publisher.clips(chosen)))
    if pack is not None:
        _fetch_pack(name, pack)
    more = "" if chosen == publisher.variant else f" VARIANT={chosen}"
    say(f"next: make repro PRESET={name} ROOT={root.resolve()}{more}")


def _publisher(name: str, server: str | None) -> Publisher:
    if name not in PUBLISHERS:
        known = ", ".join(PUBLISHERS)
        if name not in ADAPTERS or not adapter(name).ABOUT.published:
            raise UserError(f"no data set '{name}' can be fetched; known: {known}")
        raise UserError(
            f"{name} cannot be fetched: ask its publisher ({adapter(name).ABOUT.obtain}); "
            f"these can be fetched: {known}"
        )
    publisher = PUBLISHERS[name]
    if server is None:
        return publisher
    source = publisher.source
    if isinstance(source, LfsRepository):
        moved = tuple(dict.fromkeys(_moved(url, server) for url in source.urls))
        return dataclasses.replace(publisher, source=dataclasses.replace(source, urls=moved))
    moved_source = dataclasses.replace(source, url=_moved(source.url, server))
    return dataclasses.replace(publisher, source=moved_source)


def _moved(url: str, server: str) -> str:
    if urlsplit(server).scheme not in ("http", "https"):
        raise UserError(f"--server {server}: give an address such as https://mirror.example.org")
    return f"{server.rstrip('/')}{urlsplit(url).path}"


def _terms(about: About, pack: str | None) -> str:
    line = f"license: {about.license} ({about.obtain})."
    if pack is None:
        return line
    entry = known_entries()[pack]
    return f"{line} Its preset uses the face pack {pack}: license: {entry.license}."


def _pack_of_preset(name: str) -> str | None:
    """Return the pack that the preset names, where it is one that can be fetched."""
    if name not in preset_names():
        return None
    pack = read_preset(name).get(("faces", "pack"))
    return pack if pack in known_entries() else None


def _fetch_set(
    name: str,
    variant: str,
    publisher: Publisher,
    root: Path,
    work: Path,
    retries: Retries,
    say: Say,
) -> None:
    source = publisher.source
    if isinstance(source, LfsRepository):
        fetch_repository(root, work, name, source, retries, say)
        return
    part = source.parts[variant] if isinstance(source, ZenodoRecord) else source.part

    def listed() -> list[Archive]:
        if isinstance(source, ZenodoRecord):
            return zenodo_archives(source, part, retries)
        return single_archive(source, retries)

    fetch_archives(root, work, name, variant, part, listed, retries, say)


def _count(name: str, root: Path, variant: str, expected: int) -> str:
    """Return how many clips the adapter finds, beside what is documented."""
    listing = adapter(name).list_clips(Wanted(root, variant))
    subjects = {clip.subject for clip in listing.clips}
    line = f"{name}: {len(listing.clips)} clips of {len(subjects)} people in {root}"
    if expected == len(listing.clips):
        return f"{line}, as documented"
    return f"{line}; documented are {expected:,}: see 'arpgnet data check {name} {root}'"


def _fetch_pack(name: str, pack: str) -> None:
    try:
        load_pack(pack)
    except UserError:
        try:
            fetch_pack(pack, accept_license=True, into=user_models_folder())
        except UserError as error:
            raise UserError(
                f"the data set {name} is complete, its face pack is not: {error}"
            ) from None
