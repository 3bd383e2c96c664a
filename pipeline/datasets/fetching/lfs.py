"""Fetches sets that lie in a git repository with Git LFS; git is needed, git-lfs is not.

The pointers are read out of a clone without files, and the files asked of the Git LFS batch API.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, Field, ValidationError

from arpgnet.pipeline.common.download import Expectation, Retries, fetch_file, read_json
from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.common.progress import track
from arpgnet.pipeline.common.wording import plural
from arpgnet.pipeline.datasets.fetching.folder import (
    check_space,
    free_bytes,
    inside,
    read_state,
    write_state,
)
from arpgnet.pipeline.datasets.fetching.table import GB, LfsRepository

Say = Callable[[str], object]

POINTER = re.compile(
    rb"version https://git-lfs\.github\.com/spec/v1\n"
    rb"(?:ext-[^\n]*\n)*oid sha256:([0-9a-f]{64})\nsize (\d+)\n"
)
LFS_JSON = "application/vnd.git-lfs+json"
# the addresses of a batch are valid for some minutes: 50 files are 18 MB
BATCH = 50
# more at once is refused by servers as too many requests
CONNECTIONS = 4


@dataclass(frozen=True)
class Pointer:
    """A file of the repository: where it belongs, and what it holds."""

    path: str
    oid: str
    size: int

    @property
    def expected(self) -> Expectation:
        """Length and sha256."""
        return Expectation(self.size, "sha256", self.oid)


class _Action(BaseModel):
    href: Annotated[str, Field(pattern=r"^https?://")]
    header: dict[str, str] | None = None


class _Actions(BaseModel):
    download: _Action | None = None


class _Error(BaseModel):
    code: int = 0
    message: str = ""


class _Object(BaseModel):
    oid: str
    actions: _Actions | None = None
    error: _Error | None = None


class _Batch(BaseModel):
    """The answer of a Git LFS server's batch API."""

    objects: list[_Object]


def fetch_repository(
    root: Path, work: Path, name: str, source: LfsRepository, retries: Retries, say: Say
) -> None:
    """Download the files that are missing or differ from their pointers.

    Raises:
        UserError: no copy of the repository can be read, or none has all files; or the disk is
            too small.
    """
    state = read_state(work)
    if name not in state:
        say(f"{name}: reading the list of files")
        state[name] = _first(source.urls, lambda url: _read_pointers(url, source, work), say)
        write_state(work, state)
    pointers = [Pointer(**one) for one in state[name]["files"]]
    with track(len(pointers), f"check {name}", "files") as progress:
        missing = []
        for pointer in pointers:
            if not _is_sound(root, pointer):
                missing.append(pointer)
            progress.advance()
    if not missing:
        say(f"{name}: everything is there already, and every file is sound")
        return
    length = sum(pointer.size for pointer in missing)
    say(
        f"{name}: {plural(len(missing), 'file')} to download, {length / GB:.2f} GB; needs as much "
        f"disk, {free_bytes(root) / GB:.2f} GB are free in {root}"
    )
    check_space(root, length, name)

    def fetch_from(url: str) -> None:
        left = [pointer for pointer in missing if not _is_sound(root, pointer)]
        _fetch_files(url, left, root, work, name, retries)

    _first(source.urls, fetch_from, say)


def _first(urls: Sequence[str], attempt: Callable[[str], Any], say: Say) -> Any:
    """Try a repository and its copies in turn.

    Raises:
        UserError: all failed; the line holds what each said.
    """
    faults = []
    for number, url in enumerate(urls):
        try:
            return attempt(url)
        except UserError as error:
            faults.append(str(error))
            if number + 1 < len(urls):
                say(f"{error}; next: {urls[number + 1]}")
    raise UserError("; ".join(dict.fromkeys(faults)))


def _is_sound(root: Path, pointer: Pointer) -> bool:
    path = root / pointer.path
    if path.is_symlink() or not path.is_file():
        return False
    return pointer.expected.find_fault(path) is None


def _read_pointers(url: str, source: LfsRepository, work: Path) -> dict[str, Any]:
    """Clone the newest commit without files, and read its pointers.

    Raises:
        UserError: git fails; or a file of the folder is no pointer.
    """
    clone = work / "repository"
    shutil.rmtree(clone, ignore_errors=True)
    # servers without filters send every file of the commit, which are pointers too
    _git("clone", "--quiet", "--bare", "--depth=1", "--filter=blob:limit=1k", url, str(clone))
    commit = _git("rev-parse", "HEAD", folder=clone).decode().strip()
    tree = _git("ls-tree", "-r", "-z", "HEAD", f"{source.folder}/", folder=clone)
    blobs = dict(_blobs(tree, source.files))
    if not blobs:
        raise UserError(f"{url}: has no files like {source.files}: has its layout changed?")
    texts = _git("cat-file", "--batch", folder=clone, text="\n".join(blobs.values()) + "\n")
    files = [
        asdict(_pointer(path, content, url))
        for path, content in zip(blobs, _contents(texts), strict=True)
    ]
    shutil.rmtree(clone, ignore_errors=True)
    return {"url": url, "commit": commit, "files": files}


def _blobs(tree: bytes, pattern: str) -> Iterator[tuple[str, str]]:
    """Yield path and object of the plain files that are wanted."""
    for entry in tree.decode("utf-8", "replace").split("\0"):
        header, _, path = entry.partition("\t")
        if header.startswith("100") and re.fullmatch(pattern, path):
            yield path, header.split()[2]


def _contents(texts: bytes) -> Iterator[bytes]:
    """Split what `git cat-file --batch` prints: a line with the length, the bytes, a line end."""
    place = 0
    while place < len(texts):
        end = texts.index(b"\n", place)
        fields = texts[place:end].split()
        length = int(fields[2]) if len(fields) == 3 else 0
        yield texts[end + 1 : end + 1 + length]
        place = end + 1 + length + (1 if len(fields) == 3 else 0)


def _pointer(path: str, content: bytes, url: str) -> Pointer:
    found = POINTER.fullmatch(content)
    if found is None:
        raise UserError(f"{url}: {path} is not a pointer of Git LFS: has the repository changed?")
    return Pointer(path, found[1].decode(), int(found[2]))


def _git(*arguments: str, folder: Path | None = None, text: str | None = None) -> bytes:
    """Run git, which asks nobody for a password and reads no settings of a surrounding one."""
    outer = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE")
    environment = {name: value for name, value in os.environ.items() if name not in outer}
    environment |= {"GIT_TERMINAL_PROMPT": "0", "GIT_LFS_SKIP_SMUDGE": "1", "LC_ALL": "C"}
    # a server that sends nothing for a minute is given up
    slow = ("-c", "http.lowSpeedLimit=1", "-c", "http.lowSpeedTime=60")
    try:
        done = subprocess.run(
            ["git", *slow, *arguments],
            cwd=folder,
            env=environment,
            input=None if text is None else text.encode(),
            stdin=subprocess.DEVNULL if text is None else None,
            capture_output=True,
            check=False,
        )
    except FileNotFoundError:
        raise UserError(
            "git is not installed, and this data set lies in a git repository"
        ) from None
    if done.returncode:
        lines = [line for line in done.stderr.decode(errors="replace").splitlines() if line]
        fatal = [line for line in lines if line.startswith(("fatal:", "remote:"))]
        said = (fatal or lines or ["failed"])[-1].removeprefix("fatal: ")
        raise UserError(f"git {arguments[0]}: {said}")
    return done.stdout


def _fetch_files(
    url: str, missing: Sequence[Pointer], root: Path, work: Path, name: str, retries: Retries
) -> None:
    """Download files of one copy of the repository, some at once.

    Raises:
        UserError: the server refuses one, or sends another than its pointer says.
    """
    objects = work / "objects"
    with (
        track(len(missing), f"fetch {name}", "files") as progress,
        ThreadPoolExecutor(CONNECTIONS) as pool,
    ):
        for start in range(0, len(missing), BATCH):
            batch = missing[start : start + BATCH]
            actions = _ask(url, batch, retries)
            jobs = [
                pool.submit(
                    fetch_file,
                    actions[pointer.oid].href,
                    inside(root, pointer.path, url),
                    pointer.expected,
                    # by place, because two files may hold the same bytes
                    part=objects / f"{start + row}-{pointer.oid}.part",
                    headers=actions[pointer.oid].header,
                    retries=retries,
                )
                for row, pointer in enumerate(batch)
            ]
            try:
                for job in as_completed(jobs):
                    job.result()
                    progress.advance()
            except BaseException:
                pool.shutdown(wait=True, cancel_futures=True)
                raise
    shutil.rmtree(objects, ignore_errors=True)


def _ask(url: str, batch: Sequence[Pointer], retries: Retries) -> dict[str, _Action]:
    """Return where each file of a batch is to be had.

    Raises:
        UserError: the server answers with an error, for all or for one of them.
    """
    address = f"{url.removesuffix('.git')}.git/info/lfs/objects/batch"
    wanted = {
        "operation": "download",
        "transfers": ["basic"],
        "objects": [{"oid": one.oid, "size": one.size} for one in batch],
    }
    answer = read_json(
        address,
        body=wanted,
        headers={"Accept": LFS_JSON, "Content-Type": LFS_JSON},
        retries=retries,
    )
    try:
        objects = {one.oid: one for one in _Batch.model_validate(answer).objects}
    except ValidationError:
        raise UserError(f"{address}: not an answer of Git LFS") from None
    actions = {}
    for pointer in batch:
        found = objects.get(pointer.oid)
        action = found.actions.download if found and found.actions else None
        if action is None:
            error = found.error if found and found.error else _Error(message="not in the answer")
            raise UserError(f"{url}: {pointer.path}: {error.code or ''} {error.message}".strip())
        actions[pointer.oid] = action
    return actions
