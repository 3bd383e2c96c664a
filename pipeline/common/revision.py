"""Files of a Git revision or a DVC experiment, out of Git and DVC's cache, into another folder.

The working tree stays as it is.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path


class UnknownRevision(Exception):  # noqa: N818 - an answer for the caller, who knows what to say
    """There is no such revision, or an experiment's name stands for several."""


class NotInRevision(Exception):  # noqa: N818
    """The revision, its dvc.lock included, knows no such file."""


class NotInCache(Exception):  # noqa: N818
    """The revision knows the file, but its content is not on this machine."""


def checkout(
    rev: str, root: Path, into: Path, paths: Iterable[Path], optional: Iterable[Path] = ()
) -> None:
    """Copy files and folders of the repository `root` at a revision, below the folder `into`.

    Args:
        optional: left out where they are not there.

    Raises:
        UnknownRevision, NotInRevision, NotInCache: with a line about the first one.
    """
    from dvc.exceptions import DvcException
    from dvc.repo import Repo
    from dvc.scm import RevError, SCMError
    from dvc_data.index import DataIndexDirError

    wanted = dict.fromkeys(paths, True) | dict.fromkeys(optional, False)
    try:
        with Repo(str(root.absolute()), rev=rev) as repo:
            for path, must in wanted.items():
                try:
                    _copy(repo.dvcfs, path, into)
                except NotInRevision:
                    if must:
                        raise
                except (OSError, DvcException, DataIndexDirError):
                    if must:
                        raise NotInCache(path.as_posix()) from None
    except (RevError, SCMError) as error:
        raise UnknownRevision(str(error)) from None
    except DvcException as error:
        # no repository, or its dvc.yaml of that time cannot be read
        raise UnknownRevision(" ".join(str(error).split())) from None


def _copy(files: object, path: Path, into: Path) -> None:
    from dvc.fs import DVCFileSystem

    assert isinstance(files, DVCFileSystem)
    name = path.as_posix()
    info = files.info(name) if files.exists(name) else {}
    # of Git, or an output of dvc.yaml that dvc.lock has a digest of
    if "fs_info" not in info and not info.get("md5"):
        raise NotInRevision(name)
    target = into / path
    target.parent.mkdir(parents=True, exist_ok=True)
    files.get(name, str(target), recursive=files.isdir(name))
    if not target.exists():
        raise FileNotFoundError(name)
