"""Where the user's folders are, and what the user is called, if the machine says so.

In a container started with another uid (`docker run --user 12345`) there is no passwd entry, often
no HOME, and Python raises RuntimeError or KeyError.
"""

from __future__ import annotations

import getpass
import os
from pathlib import Path

import platformdirs

from arpgnet.pipeline.common.errors import UserError


def home() -> Path | None:
    """Return the home folder; None if there is none."""
    try:
        return Path.home()
    except (RuntimeError, KeyError):
        return None


def cache_folder(purpose: str) -> Path:
    """Return `arpgnet` in the user's cache folder.

    Args:
        purpose: the variable to set instead, and what for.

    Raises:
        UserError: the user has none.
    """
    try:
        folder = Path(platformdirs.user_cache_dir("arpgnet", appauthor=False))
    except (RuntimeError, KeyError):
        folder = Path("~")
    if not folder.is_absolute():
        raise UserError(
            f"user {os.getuid()} has no home folder: set {purpose}, or HOME to a writable folder"
        )
    return folder


def expanded(path: str | Path) -> Path:
    """Replace a leading `~`.

    Raises:
        UserError: the user has no home folder, or there is no such user.
    """
    try:
        return Path(path).expanduser()
    except (RuntimeError, KeyError):
        raise UserError(
            f"{path}: there is no such home folder: set HOME, or write the whole path"
        ) from None


def name() -> str | None:
    """Return the user's name, from LOGNAME, USER or the passwd file; None if none says it."""
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):
        return None


def missing_for_dvc() -> str | None:
    """Say in one line what DVC, which asks for both, lacks: the user's name or folder of settings.

    Without them it ends with a traceback (3.67).
    """
    if name() is None:
        return f"user {os.getuid()} has no name, which DVC needs: set USER, for example USER=me"
    if os.environ.get("DVC_GLOBAL_CONFIG_DIR"):
        return None
    try:
        platformdirs.user_config_dir("dvc")
    except (RuntimeError, KeyError):
        who = f"user {os.getuid()} has no home folder"
        return f"{who}, which DVC needs: set HOME, for example HOME=/tmp"
    return None


def require_dvc() -> None:
    """Check that DVC can start.

    Raises:
        UserError: it lacks something.
    """
    missing = missing_for_dvc()
    if missing is not None:
        raise UserError(missing)
