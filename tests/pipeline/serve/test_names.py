from pathlib import Path

import pytest

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.serve.names import below, shown_name


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("talk.mp4", "talk.mp4"),
        ("../../etc/passwd", "passwd"),
        ("C:\\videos\\talk.mp4", "talk.mp4"),
        ("", "video"),
        ("..", ".."),
        ("a\r\nSet-Cookie: b\x00.mp4", "aSet-Cookie: b.mp4"),
        # the direction of writing turned, which hides what a name ends with
        ("talk\u202e4pm.exe", "talk4pm.exe"),
        ("=cmd()|calc.mp4", "_=cmd()|calc.mp4"),
        ("<img src=x onerror=alert(1)>.mp4", "<img src=x onerror=alert(1)>.mp4"),
        ("ä" * 300, "ä" * 120),
    ],
)
def test_a_name_is_a_single_line_of_what_can_be_seen(given: str, shown: str) -> None:
    assert shown_name(given) == shown


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "videos"
    (root / "in/ner").mkdir(parents=True)
    (root / "in/ner/a.mp4").write_text("inside")
    (tmp_path / "secret.mp4").write_text("outside")
    (tmp_path / "videos-other").mkdir()
    (tmp_path / "videos-other/b.mp4").write_text("outside")
    (root / "link.mp4").symlink_to(tmp_path / "secret.mp4")
    (root / "folder").symlink_to(tmp_path / "videos-other")
    (root / "near.mp4").symlink_to(root / "in/ner/a.mp4")
    (root / "loop.mp4").symlink_to(root / "loop.mp4")
    return root


@pytest.mark.parametrize("given", ["in/ner/a.mp4", "./in//ner/a.mp4", "near.mp4"])
def test_what_lies_below_the_root_is_found(root: Path, given: str) -> None:
    assert below(root, given).read_text() == "inside"


@pytest.mark.parametrize(
    "given",
    [
        "../secret.mp4",
        "in/../../secret.mp4",
        "in/../in/ner/a.mp4",
        "/etc/passwd",
        "{root}/in/ner/a.mp4",
        "..\\secret.mp4",
        "%2e%2e/secret.mp4",
        "link.mp4",
        "folder/b.mp4",
        "../videos-other/b.mp4",
        "loop.mp4",
        "in",
        "",
        ".",
        "absent.mp4",
        "in/ner/a.mp4\x00.txt",
        "x" * 5000,
    ],
)
def test_all_else_is_refused_with_the_same_words(root: Path, given: str) -> None:
    with pytest.raises(UserError, match=r"no such file in the service's folder$") as said:
        below(root, given.format(root=root))
    assert str(root) not in str(said.value)


def test_a_root_that_is_a_link_is_followed(root: Path, tmp_path: Path) -> None:
    (tmp_path / "alias").symlink_to(root)
    assert below(tmp_path / "alias", "in/ner/a.mp4").read_text() == "inside"
