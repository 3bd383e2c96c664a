"""What is refused before and while a folder is published; a whole one is in test_end_to_end."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.common.params import Params, parse_params
from arpgnet.pipeline.export.write import Exported
from arpgnet.pipeline.publish import write
from arpgnet.pipeline.publish.write import publish
from arpgnet.pipeline.report.settings import settings_digest
from arpgnet.pipeline.store import file_sha256
from arpgnet.pipeline.tables.predictions import PREDICTIONS
from arpgnet.pipeline.train.run import train
from helpers.synthetic_data import small_params, write_data

PARAMS = small_params(epochs=1)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("trained")
    write_data(root)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ARPGNET_STORE", str(root / "store"))
        train(PARAMS, root=root)
    torch.set_num_threads(threads)
    digest = file_sha256(root / PREDICTIONS)
    (root / "artifacts/MODEL_CARD.md").write_text(f"# Card\n\n{digest} {settings_digest(PARAMS)}\n")
    (root / "artifacts/backbone").mkdir()
    tuned = {"enabled": True, "weights_sha256": "0"}
    (root / "artifacts/backbone/backbone.json").write_text(json.dumps(tuned))
    (root / "artifacts/backbone/backbone.safetensors").write_bytes(b"weights")
    (root / "reports").mkdir()
    runs = [{"fold": 1, "seed": 0, "clips": 24, "uar": 0.875, "war": 0.75}]
    details = {"predictions_sha256": digest, "runs": runs}
    (root / "reports/evaluation.json").write_text(json.dumps(details))
    return root


@pytest.fixture(autouse=True)
def no_face_pack(monkeypatch: pytest.MonkeyPatch) -> None:
    """Synthetic features come from no face pack, which an ONNX file would describe."""

    def export(params: Params, out: Path, **_: Any) -> Exported:
        out.write_bytes(b"onnx")
        return Exported("", 0.0)

    monkeypatch.setattr(write, "export", export)


def test_a_tuned_network_takes_its_backbone_along(trained: Path, tmp_path: Path) -> None:
    done = publish(PARAMS, tmp_path / "deep/given", run="fold1-seed0", root=trained)
    given = tmp_path / "deep/given"
    assert (done.run, done.files) == ("fold1-seed0", 8)
    assert (given / "backbone/backbone.safetensors").read_bytes() == b"weights"
    card = (given / "MODEL_CARD.md").read_text()
    assert "On its own test part of 24 clips, not used in training: UAR 0.875, WAR 0.750." in card
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["given"]


def test_an_empty_folder_is_taken_and_no_other(trained: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    publish(PARAMS, tmp_path / "empty", root=trained)
    (tmp_path / "file").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "empty")
    (tmp_path / "full").mkdir()
    (tmp_path / "full/mine").write_text("mine")
    for name, said in (("file", "not a folder"), ("link", "not a folder"), ("full", "not empty")):
        with pytest.raises(UserError, match=said):
            publish(PARAMS, tmp_path / name, root=trained)
    assert (tmp_path / "file").read_text() == (tmp_path / "full/mine").read_text() == "mine"


@pytest.mark.parametrize("run", ["fold9-seed9", "../runs/fold0-seed0"])
def test_an_unknown_run_is_refused(trained: Path, tmp_path: Path, run: str) -> None:
    with pytest.raises(UserError, match="available: fold0-seed0, fold1-seed0"):
        publish(PARAMS, tmp_path / "given", run=run, root=trained)


def test_settings_of_another_run_are_refused(trained: Path, tmp_path: Path) -> None:
    changed = PARAMS.model_dump(mode="json")
    changed["fusion"]["layers"] += 1
    changed["train"]["lr"] = 0.5
    with pytest.raises(UserError, match=r"\(fusion.layers, train.lr\): run `dvc repro`"):
        publish(parse_params(changed), tmp_path / "given", root=trained)


def test_settings_of_the_stages_before_training_must_be_the_runs_too(
    trained: Path, tmp_path: Path
) -> None:
    changed = PARAMS.model_dump(mode="json")
    changed["decode"]["frames"] += 1
    with pytest.raises(UserError, match="has changed since"):
        publish(parse_params(changed), tmp_path / "given", root=trained)
    # these cannot change a result
    changed = PARAMS.model_dump(mode="json")
    changed["engine"]["workers"] = 1
    changed["dataset"]["root"] = str(tmp_path)
    publish(parse_params(changed), tmp_path / "given", root=trained)


def test_a_folder_that_cannot_be_made_is_one_line(trained: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for target in (tmp_path / "file/given", tmp_path / ("x" * 300)):
        with pytest.raises(UserError, match="cannot be used"):
            publish(PARAMS, target, root=trained)


def test_a_card_of_another_run_is_refused(trained: Path, tmp_path: Path) -> None:
    card = trained / "artifacts/MODEL_CARD.md"
    before = card.read_text()
    card.write_text("# Card of old\n")
    with pytest.raises(UserError, match="describes another run"):
        publish(PARAMS, tmp_path / "given", root=trained)
    card.unlink()
    with pytest.raises(UserError, match=r"MODEL_CARD.md not found: run `dvc repro` first"):
        publish(PARAMS, tmp_path / "given", root=trained)
    card.write_text(before)


def test_what_fails_leaves_nothing(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise UserError("the graph differs")

    monkeypatch.setattr(write, "export", broken)
    with pytest.raises(UserError, match="the graph differs"):
        publish(PARAMS, tmp_path / "given", root=trained)
    assert list(tmp_path.iterdir()) == []
