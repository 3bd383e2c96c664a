"""What a manifest may say, and the line that each mistake gets."""

from __future__ import annotations

from pathlib import Path

import pytest

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.datasets.adapters.csv_file import list_clips, read_csv
from arpgnet.pipeline.datasets.base import Wanted


def read(tmp_path: Path, text: str | bytes) -> list:
    manifest = tmp_path / "labels.csv"
    manifest.write_bytes(text.encode() if isinstance(text, str) else text)
    return read_csv(manifest, tmp_path)


def test_all_columns(tmp_path):
    clips = read(
        tmp_path,
        "\ufefflabel,PATH,subject,split,fold,group,start_s,end_s,note\n"
        'joy,a/1.mp4,s1,Validation,2,g,0.5,2,"x, y"\n'
        "\n"
        "fear,a/2.mp4,,,,,,,\n",
    )
    first, second = clips
    assert (first.path, first.label, first.subject) == ("a/1.mp4", "joy", "s1")
    assert (first.split, first.fold, first.group) == ("val", 2, "g")
    assert (first.start_s, first.end_s) == (0.5, 2.0)
    assert first.where == "line 2 of labels.csv"
    assert second.where == "line 4 of labels.csv"
    assert (second.subject, second.split, second.fold, second.start_s) == (None,) * 4


def test_columns_of_traits_name_groups_of_people(tmp_path):
    first, second = read(
        tmp_path,
        "path,label,Trait_Gender,trait_age,trait_\na.mp4,x,female,30-44,y\nb.mp4,x,,18-29,\n",
    )
    assert first.traits == (("age", "30-44"), ("gender", "female"))
    assert second.traits == (("age", "18-29"),)


def test_a_trait_with_a_value_for_everybody_is_none(tmp_path):
    rows = "".join(f"{n}.mp4,x,{n}\n" for n in range(21))
    with pytest.raises(UserError, match=r"column 'trait_age' of labels.csv has 21 values, more"):
        read(tmp_path, f"path,label,trait_age\n{rows}")


def test_all_wrong_rows_are_named_at_once(tmp_path):
    rows = "a.mp4,\nb.mp4,x\n../c.mp4,x\nb.mp4,x\n" + ",x\n" * 4
    with pytest.raises(UserError) as raised:
        read(tmp_path, f"path,label\n{rows}")
    line = str(raised.value)
    assert "\n" not in line
    for number, said in ((2, "'label' is empty"), (4, "must be relative"), (5, "already listed")):
        assert f"line {number} of labels.csv: " in line
        assert said in line
    assert line.endswith("; and 2 more")


def test_parts_of_one_file_are_clips_of_their_own(tmp_path):
    clips = read(tmp_path, "path,label,start_s,end_s\na.mp4,x,0,1\na.mp4,y,1,\n")
    assert [(clip.start_s, clip.end_s) for clip in clips] == [(0.0, 1.0), (1.0, None)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "labels.csv is empty; it needs a header with path and label"),
        ("path,label\n", "labels.csv has no rows"),
        ("path,lable\na.mp4,x\n", "no column 'label' (found: path, lable); rename 'lable' to 'l"),
        ("path;label\na.mp4;x\n", "the separator must be a comma"),
        (
            "path;label\na.mp4;x\n",
            "not ';': save the table with commas, or put a first line 'sep=;'",
        ),
        ("path\tlabel\na.mp4\tx\n", r"the separator must be a comma, not '\t'"),
        ("sep=,\npath;label\na.mp4;x\n", "the separator must be a comma, not ';'"),
        (
            "filename,emotion\na.mp4,x\n",
            "no column 'path' and no column 'label' (found: filename, emotion); rename 'filename' "
            "to 'path', 'emotion' to 'label'?",
        ),
        ("Video Name,label\na.mp4,x\n", "rename 'video name' to 'path'?"),
        ("path,label,subjct\na.mp4,x,s\n", "'subjct', which means nothing here; did you mean 'sub"),
        ("path,label,start\na.mp4,x,1\n", "did you mean 'start_s'? rename it, or drop it"),
        ("path,split\na.mp4,train\n", "no column 'label' (found: path, split); its first line m"),
        ("a.mp4,joy\nb.mp4,fear\n", "its first line is a clip: put a line 'path,label' before it"),
        ("'path','label'\n'a.mp4','x'\n", 'quotes must be ", or left out'),
        ('"path,label"\n"a.mp4,x"\n', "its lines are in quotes as a whole"),
        ("sep=;\npath;label\na.mp4\n", "line 3 of labels.csv: 1 fields where the header has 2; q"),
        ("path,label,start_s,end_s\na.mp4,x,,1\na.mp4,y,0,1\n", "already listed in line 2"),
        ("path,label,label\na.mp4,x,y\n", "two columns 'label'"),
        ("path,label\na.mp4\n", "line 2 of labels.csv: 1 fields where the header has 2"),
        ("path,label\na.mp4,\n", "line 2 of labels.csv: 'label' is empty"),
        ("path,label\n,x\n", "line 2 of labels.csv: 'path' is empty"),
        ("path,label\na.mp4,x\na.mp4,y\n", "line 3 of labels.csv: 'a.mp4' is already listed in l"),
        ("path,label\na.mp4,x\n./a.mp4,y\n", "already listed in line 2"),
        ("path,label\n../a.mp4,x\n", "line 2 of labels.csv: path '../a.mp4' must be relative"),
        ("path,label\n/etc/passwd,x\n", "line 2 of labels.csv: path '/etc/passwd' must be rel"),
        ("path,label,start_s\na.mp4,x,soon\n", "start_s 'soon' is not a nonnegative number of"),
        ("path,label,end_s\na.mp4,x,nan\n", "end_s 'nan' is not a nonnegative number of seconds"),
        ("path,label,start_s\na.mp4,x,-1\n", "start_s '-1' is not a nonnegative number of seconds"),
        ("path,label,start_s,end_s\na.mp4,x,2,1\n", "line 2 of labels.csv: end_s 1.0 is not after"),
        ("path,label,end_s\na.mp4,x,0\n", "end_s 0.0 is not after start_s 0.0"),
        ("path,label,split\na.mp4,x,dev\n", "split 'dev' is not one of train, val"),
        ("path,label,fold\na.mp4,x,one\n", "line 2 of labels.csv: fold 'one' is not a whole"),
        ('path,label\n"a.mp4,x\n', "not valid csv"),
        ("path,label\nä.mp4,x\n".encode("latin-1"), "labels.csv is not UTF-8 (byte 11)"),
    ],
)
def test_mistakes(tmp_path, text, message):
    with pytest.raises(UserError) as error:
        read(tmp_path, text)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_absent_manifest(tmp_path):
    with pytest.raises(UserError, match=r"dataset.manifest: no file .*labels\.csv"):
        read_csv(tmp_path / "labels.csv", tmp_path)


def test_link_out_of_the_root(tmp_path):
    (tmp_path / "outside.mp4").write_bytes(b"x")
    root = tmp_path / "root"
    root.mkdir()
    (root / "in.mp4").symlink_to(tmp_path / "outside.mp4")
    (root / "labels.csv").write_text("path,label\nin.mp4,x\n")
    with pytest.raises(UserError, match=r"line 2 of labels.csv: .*in\.mp4.* out of the data set"):
        read_csv(root / "labels.csv", root)


@pytest.mark.parametrize(
    "text",
    [
        "sep=,\npath,label\na.mp4,joy\n",
        '"sep=;"\r\npath;label\r\na.mp4;joy\r\n',
        "sep=\t\npath\tlabel\na.mp4\tjoy\n",
        "\ufeffSEP=,\r\nPath,Label\r\na.mp4,joy\r\n",
        'path, "label"\n"a.mp4", "joy"\n',
        "path,label\ra.mp4,joy\r",
        "path\u200b,\ufefflabel\na.mp4,joy\n",
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_what_spreadsheets_write(tmp_path, text, encoding):
    (clip,) = read(tmp_path, text.encode(encoding))
    assert (clip.path, clip.label) == ("a.mp4", "joy")


def test_missing_values_of_people_are_no_people(tmp_path):
    (tmp_path / "labels.csv").write_text(
        "path,label,subject,group,trait_gender\n"
        "a.mp4,x,s1,g,f\nb.mp4,y,NA,nan,None\nc.mp4,y,NA,-1,n/a\nd.mp4,y,,,\n"
    )
    found = list_clips(Wanted(tmp_path, manifest="labels.csv"))
    assert [clip.subject for clip in found.clips] == ["s1", None, None, None]
    assert [clip.group for clip in found.clips] == ["g", None, None, None]
    assert [clip.traits for clip in found.clips] == [(("gender", "f"),), (), (), ()]
    assert found.remarks == [
        "group '-1' is read as missing: 1 clip",
        "group 'nan' is read as missing: 1 clip",
        "subject 'NA' is read as missing: 2 clips",
        "trait_gender 'None' is read as missing: 1 clip",
        "trait_gender 'n/a' is read as missing: 1 clip",
    ]


def test_missing_values_of_optional_columns(tmp_path):
    text = "path,label,split,fold,start_s,end_s,faces\na.mp4,x,NA,NA,NA,n/a,NA\nb.mp4,x,test,,,,\n"
    first, second = read(tmp_path, text)
    assert (first.split, first.fold, first.start_s, first.end_s) == (None, None, None, None)
    assert second.split == "test"
