"""A user without passwd entry, as in a container started with another uid."""

from __future__ import annotations

import os
import pwd
import re
from pathlib import Path

import pytest

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.common.revision import checkout
from arpgnet.pipeline.networks.packs import describe_all, load_pack
from arpgnet.pipeline.store import store_root
from arpgnet.pipeline.train.curve_log import RunLog
from helpers.in_process import arpgnet, stage

VARIABLES = (
    *("HOME", "USER", "LOGNAME", "LNAME", "USERNAME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"),
    *("ARPGNET_STORE", "ARPGNET_MODELS", "DVC_GLOBAL_CONFIG_DIR"),
)
EPOCH = {"train_loss": 1.0, "val_loss": 1.0, "val_uar": 0.5, "val_macro_f1": 0.5}


@pytest.fixture
def nobody(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    def unknown(uid: int) -> None:
        raise KeyError(f"getpwuid(): uid not found: {uid}")

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def test_without_variables_it_is_one_line(nobody: pytest.MonkeyPatch, tmp_path: Path) -> None:
    who = f"user {os.getuid()} has no "
    with pytest.raises(UserError, match=f"^{who}home folder: set ARPGNET_STORE to a writable"):
        store_root()
    with pytest.raises(UserError, match=f"{who}home folder: set ARPGNET_MODELS"):
        load_pack("buffalo_l")
    with pytest.raises(UserError, match=f"^{who}name, which DVC needs: set USER"):
        checkout("HEAD", tmp_path, tmp_path / "copy", [])
    nobody.setenv("USER", "me")
    with pytest.raises(UserError, match=f"^{who}home folder, which DVC needs: set HOME"):
        checkout("HEAD", tmp_path, tmp_path / "copy", [])
    (tmp_path / "params.yaml").write_text("dataset: {name: folder, root: ~/clips}\n")
    nobody.setenv("ARPGNET_STORE", str(tmp_path))
    done = stage("ingest", tmp_path)
    assert done.returncode == 1
    assert done.stderr == (
        "error: ~/clips: there is no such home folder: set HOME, or write the whole path\n"
    )


def test_with_variables_it_works(nobody: pytest.MonkeyPatch, tmp_path: Path) -> None:
    nobody.setenv("ARPGNET_STORE", str(tmp_path / "store"))
    nobody.setenv("ARPGNET_MODELS", str(tmp_path / "packs"))
    assert store_root() == tmp_path / "store"
    assert load_pack("demo").name == "demo"
    problems = [problem for status in describe_all() for problem in status.problems]
    assert not [problem for problem in problems if "home" in problem]


@pytest.mark.parametrize("known", [{}, {"USER": "me"}, {"HOME": "/"}, {"USER": "me", "HOME": "/"}])
def test_learning_curves_need_no_name(
    nobody: pytest.MonkeyPatch, tmp_path: Path, known: dict[str, str]
) -> None:
    for name, value in known.items():
        nobody.setenv(name, value)
    # a DVC repository, of which dvclive asks the folder of its cache
    (tmp_path / ".dvc").mkdir()
    nobody.chdir(tmp_path)
    with RunLog(tmp_path / "curves", lambda **_: None) as log:
        log.add(0, EPOCH)
    assert (tmp_path / "curves/plots/metrics/val_uar.tsv").is_file()


def test_doctor_says_it(nobody: pytest.MonkeyPatch, tmp_path: Path) -> None:
    nobody.setenv("COLUMNS", "400")
    said = arpgnet("doctor", folder=tmp_path).stdout
    assert re.search(rf"!!.*user name.*no passwd entry for uid {os.getuid()}.*set USER", said)
    assert re.search(r"!!.*home folder.*none.*set HOME", said)
    assert re.search(r"!!.*store.*no folder.*set ARPGNET_STORE", said)
    nobody.setenv("USER", "me")
    nobody.setenv("HOME", str(tmp_path))
    said = arpgnet("doctor", folder=tmp_path).stdout
    assert re.search(r"ok.*user name.*me", said)
    assert re.search(r"ok.*home folder.*", said)
    assert re.search(r"ok.*store.*GB free", said)
