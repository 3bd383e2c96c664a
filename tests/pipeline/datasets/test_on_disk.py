"""Files are found under a name in another Unicode form."""

from __future__ import annotations

from unicodedata import normalize

import pytest

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.datasets.adapters.csv_file import list_clips, read_csv
from arpgnet.pipeline.datasets.base import Wanted
from arpgnet.pipeline.datasets.on_disk import NamesOnDisk
from arpgnet.pipeline.datasets.root import resolve_root

NAME = "\u00e9t\u00e9/caf\u00e9 \u1ec7.mp4"


def make(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


@pytest.mark.parametrize(("disk", "said"), [("NFD", "NFC"), ("NFC", "NFD")])
def test_a_table_in_another_form(tmp_path, disk, said):
    root = make(tmp_path, normalize(disk, NAME))
    (root / normalize(disk, "\u00e9tiquettes.csv")).write_text(
        f"path,label\n{normalize(said, NAME)},x\n", encoding="utf-8"
    )
    wanted = Wanted(root, manifest=normalize(said, "\u00e9tiquettes.csv"))
    (clip,) = list_clips(wanted).clips
    assert clip.path == normalize(disk, NAME)
    assert (root / clip.path).is_file()


def test_the_exact_name_wins(tmp_path):
    both = [normalize(form, "caf\u00e9.mp4") for form in ("NFC", "NFD")]
    names = NamesOnDisk(make(tmp_path, *both))
    assert [names.find(name) for name in both] == both
    assert names.find("caf\u00e8.mp4") == "caf\u00e8.mp4"


def test_several_files_and_none_exact(tmp_path):
    # two accents that are composed, not composed, or in one order
    forms = ["\u1ec7", "\u1eb9\u0302", "\u00ea\u0323"]
    names = NamesOnDisk(make(tmp_path, *(f"{form}.mp4" for form in forms[1:])))
    with pytest.raises(UserError, match=r"several files differ from .* rename all but one"):
        names.find(f"{forms[0]}.mp4")


def test_one_file_in_two_rows(tmp_path):
    make(tmp_path, normalize("NFD", NAME))
    rows = "".join(f"{normalize(form, NAME)},x\n" for form in ("NFC", "NFD"))
    (tmp_path / "a.csv").write_text(f"path,label\n{rows}", encoding="utf-8")
    with pytest.raises(UserError, match=r"line 3 of a.csv: .* is already listed in line 2"):
        read_csv(tmp_path / "a.csv", tmp_path)


def test_a_way_out_is_none(tmp_path):
    (tmp_path / "root").mkdir()
    make(tmp_path, normalize("NFD", "\u00e9.mp4"))
    (tmp_path / "root/a.csv").write_text("path,label\n../\u00e9.mp4,x\n", encoding="utf-8")
    with pytest.raises(UserError, match="must be relative to the data set's root"):
        read_csv(tmp_path / "root/a.csv", tmp_path / "root")


def test_root(tmp_path):
    (tmp_path / normalize("NFD", "vid\u00e9os")).mkdir()
    found = resolve_root(str(tmp_path / normalize("NFC", "vid\u00e9os")))
    assert found == tmp_path / normalize("NFD", "vid\u00e9os")
