"""Packs: found by name or path, checked strictly, and every mistake explained."""

import hashlib
import os
from pathlib import Path

import platformdirs
import pytest

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.networks import packs
from helpers import graphs


@pytest.fixture(autouse=True)
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No pack of this machine is seen; returns an empty search folder."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr(platformdirs, "user_cache_dir", lambda *a, **k: str(tmp_path / "cache"))
    root = tmp_path / "models"
    root.mkdir()
    monkeypatch.setenv("ARPGNET_MODELS", str(root))
    return root


@pytest.fixture
def pretend_open(nowhere: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A table of known packs with one pack, `mini`, whose files are not on disk yet."""
    bundled = tmp_path / "bundled"
    made = graphs.small_pack(tmp_path / "made" / "mini")
    bundled.mkdir()
    (made / "pack.yaml").rename(bundled / "mini.yaml")
    monkeypatch.setattr(packs, "BUNDLED", bundled)
    return made


def edit(folder: Path, old: str, new: str) -> None:
    path = folder / "pack.yaml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_a_folder_is_a_pack_and_keeps_its_order_of_preprocessing(tmp_path: Path) -> None:
    pack = packs.load_pack(str(graphs.small_open_pack(tmp_path / "mine")))
    assert pack.name == "mine"
    assert {role: spec.kind for role, spec in pack.models.items()} == {
        "detector": "yunet",
        "landmark": "pfld98",
        "embedding": "arcface",
    }
    landmark = pack.models["landmark"]
    assert landmark.scheme == "98"
    assert landmark.mean == (0.0, 0.0, 0.0)
    assert landmark.std == (255.0, 255.0, 255.0)
    assert pack.models["embedding"].std is None
    assert pack.models["detector"].input_px == 128
    assert landmark.input_px == 112


def test_a_pack_in_a_search_folder_is_found_by_name(nowhere: Path) -> None:
    folder = graphs.small_pack(nowhere / "lab")
    assert packs.load_pack("lab").folder == folder
    assert "lab" in {status.name for status in packs.describe_all()}


def test_search_folders_are_tried_in_order(
    pretend_open: Path, nowhere: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    last = tmp_path / "home" / ".insightface" / "models"
    last.mkdir(parents=True)
    (last / "mini").symlink_to(pretend_open)
    assert packs.load_pack("mini").folder == last / "mini"
    first = tmp_path / "first"
    first.mkdir()
    (first / "mini").symlink_to(pretend_open)
    monkeypatch.setenv("ARPGNET_MODELS", os.pathsep.join([str(nowhere), str(first)]))
    assert packs.load_pack("mini").folder == first / "mini"


def test_bundled_tables_are_valid_and_complete() -> None:
    known = packs.known_entries()
    assert {"buffalo_l", "buffalo_s", "open"} <= set(known)
    assert known["buffalo_l"].models["embedding"].file == "w600k_r50.onnx"
    assert "non-commercial" in known["buffalo_l"].license
    # either the archive or every file must have an address, else fetch has nothing to do
    for name in ("buffalo_l", "buffalo_s", "open"):
        entry = known[name]
        assert entry.archive or all(model.url for model in entry.models.values())


def test_an_unknown_pack_names_the_nearest() -> None:
    with pytest.raises(UserError, match=r"unknown pack 'bufalo_l'; did you mean 'buffalo_l'"):
        packs.load_pack("bufalo_l")
    with pytest.raises(UserError, match=r"known: .*buffalo_l.*open"):
        packs.load_pack("xyz")


def test_a_folder_without_a_pack_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds no pack\.yaml"):
        packs.load_pack(str(tmp_path))


def test_absent_weights_say_which_file_where_to_and_what_else() -> None:
    with pytest.raises(UserError) as error:
        packs.load_pack("buffalo_l")
    line = str(error.value)
    assert "\n" not in line
    for part in (
        "det_10g.onnx, 2d106det.onnx, w600k_r50.onnx",
        str(packs.user_models_folder() / "buffalo_l"),
        "arpgnet models fetch buffalo_l --accept-license",
        "faces.pack: demo",
        "faces.pack: open",
    ):
        assert part in line


def test_the_folder_that_is_nearly_complete_is_the_one_named(
    pretend_open: Path, nowhere: Path
) -> None:
    (nowhere / "mini").mkdir()
    for role in ("detector", "landmark"):
        (pretend_open / f"{role}.onnx").rename(nowhere / "mini" / f"{role}.onnx")
    with pytest.raises(UserError) as error:
        packs.load_pack("mini")
    assert f"embedding.onnx not found; put the file into {nowhere / 'mini'}" in str(error.value)


@pytest.mark.parametrize("role", packs.ROLES)
def test_a_changed_file_is_refused_with_both_hashes(tmp_path: Path, role: packs.Role) -> None:
    folder = graphs.small_pack(tmp_path / "p")
    packs.load_pack(str(folder))
    path = folder / f"{role}.onnx"
    before = path.read_bytes()
    path.write_bytes(before + b"\0")
    with pytest.raises(UserError) as error:
        packs.load_pack(str(folder))
    for data in (before, before + b"\0"):
        assert hashlib.sha256(data).hexdigest() in str(error.value)
    assert str(path) in str(error.value)
    assert packs.verify(str(folder)) == [str(error.value)]


def test_only_the_roles_asked_for_are_hashed(tmp_path: Path) -> None:
    folder = graphs.small_pack(tmp_path / "p")
    (folder / "embedding.onnx").write_bytes(b"other")
    assert packs.load_pack(str(folder), roles=("detector",)).name == "p"
    with pytest.raises(UserError, match="embedding"):
        packs.load_pack(str(folder), roles=("embedding",))


def test_a_truncated_file_is_reported_by_its_length(tmp_path: Path) -> None:
    folder = graphs.small_pack(tmp_path / "p", det_px=96)
    length = (folder / "detector.onnx").stat().st_size
    edit(folder, "    input_px: 96", f"    input_px: 96\n    bytes: {length + 1}")
    with pytest.raises(UserError, match=f"has {length} bytes, expected {length + 1}"):
        packs.load_pack(str(folder))


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("file: detector.onnx", "file: ../detector.onnx", "leaves the pack's folder"),
        ("file: detector.onnx", "file: /etc/passwd", "leaves the pack's folder"),
        ("file: detector.onnx", "file: 'C:\\x.onnx'", "leaves the pack's folder"),
        ("kind: 'scrfd'", "kind: 'arcface'", "'arcface' is not one of scrfd, yunet"),
        ("kind: 'scrfd'", "kind: 'yolo'", "models.detector.kind"),
        ("  landmark:", "  pose:", "models.pose"),
        ("license: MIT", "terms: MIT", "license: Field required"),
        ("sha256: ", "sha256: x", "models.detector.sha256"),
        ("kind: 'arcface'", "kind: 'arcface'\n    mean: 1.0", "mean and std are given together"),
        ("kind: 'arcface'", "kind: 'arcface'\n    mean: 1\n    std: 0", "std must be above 0"),
        ("name: p", "name: [", "not valid YAML"),
        ("name: p", "name: ../p", "name:"),
        ("file: detector.onnx", "file: absent.onnx", "absent.onnx, which is not in"),
    ],
)
def test_a_wrong_pack_file_is_refused(tmp_path: Path, old: str, new: str, line: str) -> None:
    folder = graphs.small_pack(tmp_path / "p")
    edit(folder, old, new)
    with pytest.raises(UserError) as error:
        packs.load_pack(str(folder))
    assert line in str(error.value)
    assert "pack.yaml" in str(error.value)


def test_british_spelling_is_read(tmp_path: Path) -> None:
    folder = graphs.small_pack(tmp_path / "p")
    edit(folder, "license: MIT", "licence: MIT")
    edit(folder, "kind: 'arcface'", "kind: 'arcface'\n    colour: bgr")
    pack = packs.load_pack(str(folder))
    assert pack.license == "MIT"
    assert pack.models["embedding"].color == "bgr"


def test_status_tells_present_absent_and_broken(nowhere: Path) -> None:
    good = graphs.small_pack(nowhere / "good")
    bad = graphs.small_pack(nowhere / "bad")
    (bad / "landmark.onnx").write_bytes(b"")
    found = {status.name: status for status in packs.describe_all()}
    assert found["good"].present
    assert found["good"].problems == []
    assert found["good"].bytes == sum(path.stat().st_size for path in good.glob("*.onnx"))
    assert len(found["bad"].problems) == 1
    assert not found["buffalo_s"].present
    assert found["buffalo_s"].folder is None
    assert list(found) == sorted(found)
