"""`data/networks/`: what tells DVC and the store which networks are in use."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from ruamel.yaml import YAML
from safetensors.torch import save_file

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.networks.listed import list_networks, load_listed
from arpgnet.pipeline.networks.pack_file import ROLES
from arpgnet.pipeline.networks.packs import load_pack
from arpgnet.pipeline.networks.trial import try_unlisted
from arpgnet.pipeline.store import file_sha256
from arpgnet.pipeline.store.code import import_closure
from helpers import graphs

REPOSITORY = Path(__file__).parents[3]


@pytest.fixture
def pack(tmp_path: Path) -> Path:
    return graphs.small_pack(tmp_path / "pack")


def listed(pack: Path, folder: Path) -> dict[str, str]:
    """Role -> the bytes that DVC compares."""
    list_networks(str(pack), folder)
    return {role: (folder / f"{role}.json").read_text() for role in ROLES}


def edit(pack: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the pack's description."""
    path, yaml = pack / "pack.yaml", YAML()
    described = yaml.load(path.read_text())
    change(described)
    with path.open("w") as file:
        yaml.dump(described, file)


def test_lists_a_file_of_each_network_and_gives_the_pack_back(pack: Path, tmp_path: Path) -> None:
    found = listed(pack, tmp_path / "networks")
    for role in ROLES:
        spec = load_listed(str(pack), role, folder=tmp_path / "networks").models[role]
        assert json.loads(found[role])["sha256"] == spec.sha256 == file_sha256(spec.path)
    assert listed(pack, tmp_path / "again") == found


def test_neither_place_nor_other_files_of_a_pack_matter(pack: Path, tmp_path: Path) -> None:
    before = listed(pack, tmp_path / "networks")
    (pack / "README.md").write_text("about this pack")
    moved = pack.rename(tmp_path / "elsewhere")
    assert listed(moved, tmp_path / "networks") == before


@pytest.mark.parametrize(
    ("field", "value"),
    [("color", "bgr"), ("mean", 12.0), ("std", 99.0), ("map_tensor", "other"), ("input_px", 96)],
)
def test_how_a_network_is_fed_belongs_to_it(
    pack: Path, tmp_path: Path, field: str, value: Any
) -> None:
    before = listed(pack, tmp_path / "networks")

    def change(described: dict[str, Any]) -> None:
        entry = described["models"]["embedding"]
        entry |= {"mean": 127.5, "std": 127.5} | {field: value}

    edit(pack, change)
    after = listed(pack, tmp_path / "networks")
    assert {role for role in ROLES if after[role] != before[role]} == {"embedding"}


def test_another_file_is_another_network_and_leaves_the_others(pack: Path, tmp_path: Path) -> None:
    networks = tmp_path / "networks"
    before = listed(pack, networks)
    keys = {role: load_pack(str(pack)).models[role].identity for role in ROLES}
    other = graphs.small_open_pack(tmp_path / "open")

    def change(described: dict[str, Any]) -> None:
        theirs = YAML(typ="safe").load((other / "pack.yaml").read_text())["models"]["detector"]
        (pack / theirs["file"]).write_bytes((other / theirs["file"]).read_bytes())
        described["models"]["detector"] = theirs

    edit(pack, change)
    with pytest.raises(UserError, match=r"its detector changed since it was listed"):
        load_listed(str(pack), "detector", folder=networks)
    # what uses another role goes on
    load_listed(str(pack), "landmark", folder=networks)
    after = listed(pack, networks)
    assert {role for role in ROLES if after[role] != before[role]} == {"detector"}
    models = load_pack(str(pack)).models
    assert {role for role in ROLES if models[role].identity != keys[role]} == {"detector"}


def checkpoint_pack(folder: Path, arch: str = "mobilefacenet") -> Path:
    """A pack whose embedding network is a checkpoint."""
    from arpgnet.pipeline.networks.backbones import ARCHITECTURES

    pack = graphs.small_pack(folder)
    torch.manual_seed(0)
    save_file(ARCHITECTURES[arch]().state_dict(), pack / "net.safetensors")

    def change(described: dict[str, Any]) -> None:
        described["models"]["embedding"] = {
            "file": "net.safetensors",
            "sha256": file_sha256(pack / "net.safetensors"),
            "kind": "arcface",
            "arch": arch,
        }

    edit(pack, change)
    return pack


def test_the_code_of_a_checkpoint_s_network_belongs_to_it(
    tmp_path: Path,
) -> None:
    """`models/` makes what such a pack gives: its name is listed, and its code is in every key."""
    pack = checkpoint_pack(tmp_path / "pack")
    before = listed(pack, tmp_path / "networks")
    assert json.loads(before["embedding"])["arch"] == "mobilefacenet"

    def change(described: dict[str, Any]) -> None:
        described["models"]["embedding"]["arch"] = "iresnet18"

    edit(pack, change)
    after = listed(pack, tmp_path / "networks")
    assert {role for role in ROLES if after[role] != before[role]} == {"embedding"}
    for entry in ("appearance.clip", "finetune.tune"):
        reached = import_closure(REPOSITORY, f"arpgnet.pipeline.{entry}")
        assert {"models.iresnet", "models.mobilefacenet"} <= set(reached), entry


def test_weights_that_do_not_fit_are_refused_before_anything_is_computed(tmp_path: Path) -> None:
    path, networks = checkpoint_pack(tmp_path / "pack"), tmp_path / "networks"
    try_unlisted(load_pack(str(path)), networks)

    def change(described: dict[str, Any]) -> None:
        described["models"]["embedding"]["arch"] = "iresnet18"

    edit(path, change)
    with pytest.raises(UserError, match=r"does not hold the weights of iresnet18: missing: "):
        try_unlisted(load_pack(str(path)), networks)
    list_networks(str(path), networks)
    try_unlisted(load_pack(str(path)), networks)  # what is listed is not loaded again


def test_a_wrong_description_of_an_onnx_network_is_refused_at_once(
    pack: Path, tmp_path: Path
) -> None:
    edit(pack, lambda described: described["models"]["embedding"].update(input_px=96))
    with pytest.raises(UserError, match=r"takes 112 pixels, pack.yaml says input_px: 96"):
        try_unlisted(load_pack(str(pack)), tmp_path / "networks")


@pytest.mark.parametrize("role", ROLES)
def test_a_file_that_changes_after_it_was_checked_is_refused(pack: Path, role: Any) -> None:
    spec = load_pack(str(pack)).models[role]
    spec.path.write_bytes(spec.path.read_bytes() + b"x")
    line = rf"^{re.escape(str(spec.path))} changed while it was in use: run `dvc repro` again$"
    with pytest.raises(UserError, match=line):
        spec.require_unchanged()


def test_nothing_listed_says_what_to_run(pack: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"detector\.json cannot be read: run `dvc repro`"):
        load_listed(str(pack), "detector", folder=tmp_path)
    (tmp_path / "detector.json").write_text("{")
    with pytest.raises(UserError, match=r"detector\.json cannot be read: run `dvc repro`"):
        load_listed(str(pack), "detector", folder=tmp_path)


def test_a_pack_that_lacks_a_file_is_one_line(pack: Path, tmp_path: Path) -> None:
    name = load_pack(str(pack)).models["landmark"].path.name
    (pack / name).unlink()
    with pytest.raises(UserError, match=f"names {name}, which is not in"):
        list_networks(str(pack), tmp_path / "networks")
    assert not (tmp_path / "networks").exists()
