import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.tables.manifest import (
    MANIFEST_SCHEMA,
    SPLITS_SCHEMA,
    Clip,
    read_manifest,
    read_splits,
    resolve_inside,
    table_of,
    write_manifest,
    write_table,
)

FULL = Clip(
    "s1_joy", "s1/joy.mp4", "ab" * 32, "joy", 1, "s1", "g", "train", 0, 0.5, 2.0, 25.0, 50, 2.0,
    640, 480,
)  # fmt: skip
BAD = Clip("s2", "s2.mp4", "", status="quarantined", reason="the file is empty")


def write(path: Path, clips: list[Clip]) -> Path:
    write_manifest(
        clips, path, classes=["anger", "joy"], dataset="csv", notes={"dropped": {"a": 1}}
    )
    return path


def test_a_manifest_comes_back(tmp_path: Path) -> None:
    manifest = read_manifest(write(tmp_path / "data/m.parquet", [FULL, BAD]))
    assert manifest.clips == [FULL, BAD]
    assert (manifest.classes, manifest.dataset) == (["anger", "joy"], "csv")
    assert manifest.notes == {"dropped": {"a": 1}}


def test_columns_are_the_fields_of_a_clip() -> None:
    assert MANIFEST_SCHEMA.names == [field.name for field in fields(Clip)]
    for field in fields(Clip):
        column = MANIFEST_SCHEMA.field(field.name)
        assert column.nullable == str(field.type).endswith("| None"), field.name
    types = {
        "path": pa.string(),
        "label": pa.string(),
        "fold": pa.int32(),
        "start_s": pa.float64(),
        "image_sequence": pa.bool_(),
    }
    assert {name: MANIFEST_SCHEMA.field(name).type for name in types} == types


def test_equal_manifests_are_equal_bytes(tmp_path: Path) -> None:
    one, two = (write(tmp_path / name, [FULL, BAD]).read_bytes() for name in "ab")
    assert one == two


words = st.text(st.characters(exclude_categories=["Cs"]))


@settings(deadline=None)
@given(
    st.lists(
        st.fixed_dictionaries(
            {"word": words, "none": st.none() | words},
            optional={"x": st.floats(allow_nan=False, allow_infinity=False)},
        )
    )
)
def test_tables_of_plain_rows_are_exact(rows: list[dict[str, object]]) -> None:
    schema = pa.schema(
        [pa.field("word", pa.string(), nullable=False), ("none", pa.string()), ("x", pa.float64())]
    )
    assert table_of(rows, schema).equals(pa.Table.from_pylist(rows, schema=schema))


def test_pandas_is_not_imported_for_a_manifest(tmp_path: Path) -> None:
    """It takes longer than everything else that ingest does when nothing is new."""
    code = (
        "import sys; from pathlib import Path; from arpgnet.pipeline.tables.manifest import *;"
        "path = Path(sys.argv[1]); clip = Clip('a', 'a.mp4', 'ab', fps=25.0);"
        "write_manifest([clip], path, classes=['x'], dataset='csv');"
        "assert read_manifest(path).clips == [clip]; print('pandas' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "m.parquet")],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "False\n"


def test_a_manifest_is_checked(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="unique"):
        write(tmp_path / "m", [FULL, FULL])
    with pytest.raises(ValueError, match="status"):
        write(tmp_path / "m", [replace(FULL, status="good")])
    with pytest.raises(UserError, match="dvc repro ingest"):
        read_manifest(tmp_path / "absent")
    (tmp_path / "text").write_text("no")
    with pytest.raises(UserError, match="dvc repro ingest"):
        read_manifest(tmp_path / "text")


def test_splits_must_be_splits(tmp_path: Path) -> None:
    table = pa.table([["a"], pa.array([0], pa.int32()), ["test"]], schema=SPLITS_SCHEMA)
    write_table(table, tmp_path / "s.parquet")
    assert read_splits(tmp_path / "s.parquet").equals(table)
    with pytest.raises(UserError, match="table of splits"):
        read_splits(write(tmp_path / "m.parquet", [FULL]))


def test_paths_stay_inside_the_root(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "sub").mkdir(parents=True)
    (tmp_path / "secret").touch()
    (root / "sub/clip.mp4").touch()
    (root / "inner").symlink_to(root / "sub/clip.mp4")
    (root / "outer").symlink_to(tmp_path / "secret")
    (root / "up").symlink_to(tmp_path)
    assert resolve_inside(root, "sub/clip.mp4") == root / "sub/clip.mp4"
    assert resolve_inside(root, "inner") == root / "sub/clip.mp4"
    assert resolve_inside(root, "sub/absent.mp4") == root / "sub/absent.mp4"
    for path in ("", ".", "../secret", "sub/../../secret", str(tmp_path / "secret"), "a\0b"):
        with pytest.raises(UserError, match=r"relative|out of the"):
            resolve_inside(root, path)
    for path in ("outer", "up/secret"):
        with pytest.raises(UserError, match="out of the data set's root"):
            resolve_inside(root, path)


def test_links_are_followed_where_the_user_says_so(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (tmp_path / "clip.mp4").touch()
    (root / "outer.mp4").symlink_to(tmp_path / "clip.mp4")
    (root / "up").symlink_to(tmp_path)
    for path in ("outer.mp4", "up/clip.mp4"):
        assert resolve_inside(root, path, follow_links=True).resolve() == tmp_path / "clip.mp4"
    for path in ("", ".", "../clip.mp4", "up/../clip.mp4", str(tmp_path / "clip.mp4"), "up/root"):
        with pytest.raises(UserError, match=r"relative|out of the"):
            resolve_inside(root, path, follow_links=True)
