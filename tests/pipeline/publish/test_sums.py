"""A published folder is read again to the last byte."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.publish.sums import SUMS, check_sums, write_sums


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "given"
    (root / "backbone").mkdir(parents=True)
    (root / "a.txt").write_text("a")
    (root / "backbone/b.bin").write_bytes(bytes(range(256)))
    write_sums(root)
    return root


def test_sums_are_those_of_sha256sum(folder: Path) -> None:
    assert check_sums(folder) == 2
    done = subprocess.run(["sha256sum", "--check", "--strict", SUMS], cwd=folder, check=False)
    assert done.returncode == 0


def test_what_git_and_hubs_add_is_not_counted(folder: Path) -> None:
    (folder / ".gitattributes").write_text("*.bin filter=lfs")
    (folder / ".cache/huggingface").mkdir(parents=True)
    (folder / ".cache/huggingface/metadata").write_text("")
    assert check_sums(folder) == 2


def test_the_card_may_be_edited(folder: Path) -> None:
    for text in ("license: unknown", "license: cc-by-4.0"):
        (folder / "README.md").write_text(text)
        assert check_sums(folder) == 2
    write_sums(folder)
    assert "README" not in (folder / SUMS).read_text()


def flip(folder: Path) -> None:
    data = bytearray((folder / "backbone/b.bin").read_bytes())
    data[-1] ^= 1
    (folder / "backbone/b.bin").write_bytes(data)


def link(folder: Path) -> None:
    (folder / "a.txt").rename(folder.parent / "elsewhere")
    (folder / "a.txt").symlink_to(folder.parent / "elsewhere")


def append(line: str) -> Callable[[Path], object]:
    return lambda folder: (folder / SUMS).write_text((folder / SUMS).read_text() + line)


ZEROS = "0" * 64


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (flip, "backbone/b.bin has other bytes"),
        (link, "a.txt is a link"),
        (lambda folder: (folder / "a.txt").unlink(), "a.txt is absent"),
        (lambda folder: (folder / "more").write_text(""), "more is not listed"),
        (lambda folder: (folder / SUMS).unlink(), "not a folder that `arpgnet publish` wrote"),
        (lambda folder: (folder / SUMS).write_bytes(b"\xff\xfe"), "cannot be read"),
        (lambda folder: (folder / SUMS).write_text(""), "is empty"),
        (append("nonsense\n"), "line 3 is damaged"),
        (append(f"{ZEROS}  ../outside\n"), "line 3 is damaged"),
        (append(f"{ZEROS}  /etc/passwd\n"), "line 3 is damaged"),
        (append(f"{ZEROS}  a.txt\n"), "line 3 is damaged"),
    ],
)
def test_harm_is_named(folder: Path, harm: Callable[[Path], object], said: str) -> None:
    harm(folder)
    with pytest.raises(UserError, match=said) as raised:
        check_sums(folder)
    assert "\n" not in str(raised.value)


def test_many_problems_are_still_one_line(folder: Path) -> None:
    for number in range(20):
        (folder / f"more{number:02}").write_text("")
    with pytest.raises(UserError, match="and 15 more"):
        check_sums(folder)


def test_no_folder_at_all(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        check_sums(tmp_path / "absent")
