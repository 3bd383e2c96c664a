"""The networks in use, as ingest lists them: `data/networks/<role>.json`, one file per role.

A stage depends on the files of the roles that it uses, so that DVC runs it again when another
network takes the place of one of them, wherever the pack lies and whatever it is called.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.common.files import write_whole
from arpgnet.pipeline.networks.pack_file import ROLES, Role
from arpgnet.pipeline.networks.packs import Pack, load_pack

NETWORKS = Path("data/networks")


def list_networks(name_or_path: str, folder: Path = NETWORKS) -> None:
    """Write the identity of each of a pack's networks.

    Raises:
        UserError: as `load_pack`.
    """
    pack = load_pack(name_or_path)
    for role in pack.models:
        text = json.dumps(_listed(pack, role), indent=2, sort_keys=True) + "\n"
        write_whole(folder / f"{role}.json", text.encode())


def is_listed(name_or_path: str, folder: Path = NETWORKS) -> bool:
    """Check whether the networks of the pack of that name are listed."""
    listed = [_read_listed(folder, role) for role in ROLES]
    return all(one is not None and one.get("pack") == name_or_path for one in listed)


def lists(folder: Path, pack: Pack, role: Role) -> bool:
    """Check whether the network of a role is the one that is listed."""
    return _read_listed(folder, role) == _as_json(_listed(pack, role))


def load_listed(name_or_path: str, *roles: Role, folder: Path = NETWORKS) -> Pack:
    """Return `load_pack` for some roles, whose networks must be the listed ones.

    Raises:
        UserError: one is another, or is not listed; or as `load_pack`.
    """
    pack = load_pack(name_or_path, roles)
    for role in roles:
        if _read_listed(folder, role) is None:
            raise UserError(f"{folder / role}.json cannot be read: run `dvc repro`")
        if not lists(folder, pack, role):
            raise UserError(
                f"pack {pack.name}: its {role} changed since it was listed: run `dvc repro` again"
            )
    return pack


def _listed(pack: Pack, role: Role) -> dict[str, Any]:
    return {"pack": pack.name, "license": pack.license, **pack.models[role].identity}


def _as_json(values: dict[str, Any]) -> dict[str, Any]:
    """Return values as a file has them: lists, not tuples."""
    found: dict[str, Any] = json.loads(json.dumps(values))
    return found


def _read_listed(folder: Path, role: Role) -> dict[str, Any] | None:
    try:
        found = json.loads((folder / f"{role}.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None
