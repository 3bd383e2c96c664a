"""Files of a Git revision or a DVC experiment, out of Git and DVC's cache, into another folder.

The working tree stays as it is.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from arpgnet.pipeline.common.user import require_dvc

if TYPE_CHECKING:
    from dvc.repo import Repo


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
    from dvc_data.index import DataIndexDirError

    wanted = dict.fromkeys(paths, True) | dict.fromkeys(optional, False)
    try:
        with repository_at(rev, root) as repo:
            for path, must in wanted.items():
                try:
                    _copy(repo.dvcfs, path, into)
                except NotInRevision:
                    if must:
                        raise
                except (OSError, DvcException, DataIndexDirError):
                    if must:
                        raise NotInCache(path.as_posix()) from None
    except DvcException as error:
        # its dvc.yaml of that time cannot be read
        raise UnknownRevision(" ".join(str(error).split())) from None


@contextmanager
def repository_at(rev: str, root: Path) -> Iterator[Repo]:
    """Open the DVC repository of the folder `root` as it was at a revision.

    `Repo(rev=...)` looks for it at the top of the Git repository only (DVC 3.67): a project in a
    subfolder is not found, or another project at the top is taken for it.

    Raises:
        UnknownRevision: no repository, or no such revision; with a line about it.
        UserError: DVC cannot start for this user.
    """
    from dvc.exceptions import DvcException
    from dvc.fs import GitFileSystem
    from dvc.repo import Repo
    from dvc.scm import SCM, RevError, SCMError

    require_dvc()
    try:
        project = os.path.realpath(Repo.find_root(str(root.absolute())))
        scm = SCM(project)
        files = GitFileSystem(scm=scm, rev=rev)
        folder = "/" / Path(project).relative_to(os.path.realpath(scm.root_dir))
        if not files.isdir(f"{folder / Repo.DVC_DIR}"):
            raise UnknownRevision(f"'{rev}' has no DVC project in {folder.relative_to('/')}")
        repo = Repo(f"{folder}", fs=files, scm=scm)
    except (RevError, SCMError) as error:
        raise UnknownRevision(str(error)) from None
    except DvcException as error:
        raise UnknownRevision(" ".join(str(error).split())) from None
    with repo:
        yield repo


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
