"""What is refused before and while a folder is published; a whole one is in test_end_to_end."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from ruamel.yaml import YAML

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.common.params import Params
from arpgnet.pipeline.common.params_file import parse_params
from arpgnet.pipeline.export.write import Exported
from arpgnet.pipeline.predict.source import open_model
from arpgnet.pipeline.publish import write
from arpgnet.pipeline.publish.hub import license_of
from arpgnet.pipeline.publish.write import publish
from arpgnet.pipeline.report.settings import settings_digest
from arpgnet.pipeline.store import file_sha256
from arpgnet.pipeline.tables.manifest import MANIFEST, Clip, read_manifest, write_manifest
from arpgnet.pipeline.tables.predictions import NETWORK, PREDICTIONS
from arpgnet.pipeline.train.run import train
from arpgnet.pipeline.training.state import read_tensors, write_tensors
from helpers.face_videos import film_of_a_face
from helpers.synthetic_data import small_params, write_data
from helpers.untrained_run import CLASSES as OF_RUN
from helpers.untrained_run import publish_untrained, write_run

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
    (root / "artifacts/MODEL_CARD.md").write_text(
        f"# Card\n\n> Note.\n\n## First\n\n{digest} {settings_digest(PARAMS)}\n"
        "| code | version 0.1.0, commit 0123456789 of 2026-02-03, with changes |\n"
    )
    (root / "artifacts/backbone").mkdir()
    tuned = {"enabled": True, "weights_sha256": "0"}
    (root / "artifacts/backbone/backbone.json").write_text(json.dumps(tuned))
    (root / "artifacts/backbone/backbone.safetensors").write_bytes(b"weights")
    (root / "reports").mkdir()
    runs = [{"fold": 1, "seed": 0, "clips": 24, "uar": 0.875, "war": 0.75}]
    scores = {"uar": {"mean": 0.8123456}, "war": {"mean": 0.5}, "macro_f1": {"mean": 0.25}}
    models = {NETWORK: {"scores": scores}}
    details = {"predictions_sha256": digest, "runs": runs, "models": models}
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
    assert (done.run, done.listed) == ("fold1-seed0", 7)
    # all that lies there: also the card and the sums
    there = sorted(path for path in given.rglob("*") if path.is_file())
    assert done.files == [path.relative_to(given).as_posix() for path in there]
    assert len(there) == 9
    assert (given / "backbone/backbone.safetensors").read_bytes() == b"weights"
    card = (given / "README.md").read_text()
    assert "On its own test part of 24 clips, not used in training: UAR 0.875, WAR 0.750." in card
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["given"]


def test_a_pre_trained_encoder_goes_along_without_the_faces_it_was_shown(
    trained: Path, tmp_path: Path
) -> None:
    changes = {"enabled": True, "stills": ["/home/me/faces"]}
    pretrain = PARAMS.pretrain.model_copy(update=changes)
    params = PARAMS.model_copy(update={"pretrain": pretrain})
    root = tmp_path / "root"
    shutil.copytree(trained, root)
    card = root / "artifacts/MODEL_CARD.md"
    card.write_text(card.read_text().replace(settings_digest(PARAMS), settings_digest(params)))
    (root / "artifacts/pretrained").mkdir()
    for name in ("metadata.json", "encoder.safetensors", "reconstructions.jpg"):
        (root / "artifacts/pretrained" / name).write_bytes(name.encode())
    publish(params, tmp_path / "given", run="fold1-seed0", root=root)
    given = tmp_path / "given/pretrained"
    assert {path.name for path in given.iterdir()} == {"metadata.json", "encoder.safetensors"}
    text = (tmp_path / "given/README.md").read_text()
    assert "| pretrained | the encoder that was pre-trained in the place of" in text
    assert front_matter(text)["license"] == "other"
    assert "/home/me" not in (tmp_path / "given/params.yaml").read_text()


def front_matter(text: str) -> dict[str, Any]:
    """What a hub reads: the YAML between the first two lines of dashes."""
    assert text.startswith("---\n")
    loaded: dict[str, Any] = YAML(typ="safe").load(text[4 : text.index("\n---\n")])
    return loaded


def with_sets(root: Path, *sets: dict[str, str]) -> None:
    old = read_manifest(root / MANIFEST)
    notes = {**old.notes, "sets": list(sets)}
    write_manifest(
        old.clips, root / MANIFEST, classes=old.classes, dataset=old.dataset, notes=notes
    )


RAVDESS = {"adapter": "ravdess", "title": "RAV: a\n---\n[set]", "license": "CC BY-NC-SA 4.0"}


def test_the_card_is_a_hub_s(trained: Path, tmp_path: Path) -> None:
    with_sets(trained, RAVDESS)
    publish(PARAMS, tmp_path / "given", run="fold1-seed0", root=trained)
    card = (tmp_path / "given/README.md").read_text()
    head = front_matter(card)
    weights = file_sha256(tmp_path / "given/model.safetensors")
    assert head["license"] == "cc-by-nc-sa-4.0"
    assert head["datasets"] == ["ravdess"]
    assert (head["library_name"], head["pipeline_tag"]) == ("arpgnet", "video-classification")
    assert head["version"] == f"0.1.0+{weights[:8]}"
    # of the run's code, not of today
    assert head["date"] == "2026-02-03"
    assert "language" not in head
    (index,) = head["model-index"]
    own, together = index["results"]
    assert own["dataset"]["split"] == "test part of fold 1: 24 clips, not in training"
    assert [(one["type"], one["value"]) for one in own["metrics"]] == [
        ("recall", 0.875), ("accuracy", 0.75),
    ]  # fmt: skip
    assert together["metrics"][0] == {"type": "recall", "value": 0.8123, "name": "UAR"}
    assert together["dataset"] == {
        "name": "RAV: a --- [set]",
        "type": "ravdess",
        "split": "test parts of 1 network like this one, mean over seeds",
    }
    # the use comes before what follows the card's title
    places = [card.index(part) for part in ("# Card", "> Note.", "## How to use", "## First")]
    assert places == sorted(places)


@pytest.mark.parametrize(
    ("terms", "expected"),
    [
        (["MIT", "MIT"], {"license": "mit"}),
        (["MIT", "Apache-2.0"], {"license": "apache-2.0"}),
        (["CC BY-NC-SA 4.0", "Apache-2.0"], {"license": "cc-by-nc-sa-4.0"}),
        (
            ["research, on request", "MIT"],
            {"license": "other", "license_name": "see-the-section-licenses"},
        ),
        (
            ["CC BY-NC-SA 4.0", "non-commercial research only"],
            {"license": "other", "license_name": "see-the-section-licenses"},
        ),
    ],
)
def test_the_strictest_license_counts(terms: list[str], expected: dict[str, str]) -> None:
    assert license_of(terms) == expected


def test_one_s_own_clips_have_no_known_license(trained: Path, tmp_path: Path) -> None:
    with_sets(trained, {"adapter": "folder", "title": "own", "license": "yours"})
    publish(PARAMS, tmp_path / "given", root=trained)
    head = front_matter((tmp_path / "given/README.md").read_text())
    assert head["license"] == "unknown"
    assert "datasets" not in head


def test_the_snippet_of_the_card_runs_in_any_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write_run(tmp_path / "project", {"decode": {"frames": 4}})
    clips = [Clip("one", "one.mp4", "00", label="anger", label_index=0, duration_s=0.5)]
    write_manifest(clips, source / MANIFEST, classes=OF_RUN, dataset="synthetic")
    publish_untrained(source, tmp_path / "elsewhere/released")
    film_of_a_face(tmp_path / "elsewhere/talk.mp4", 6)
    monkeypatch.chdir(tmp_path / "elsewhere")
    card = Path("released/README.md").read_text()
    (snippet,) = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    names: dict[str, Any] = {}
    exec(compile(snippet, "README.md", "exec"), names)
    assert names["table"]["frame"].tolist() == list(range(6))
    assert "face_id" in capsys.readouterr().out
    assert names["model"].card == card


def test_a_network_of_action_units_is_published_as_one(tmp_path: Path) -> None:
    units = ["au_4", "au_12"]
    thresholds = {"action_units": [0.3, 0.6]}
    source = write_run(
        tmp_path / "project", kind="action_units", outputs=units, thresholds=thresholds
    )
    given = publish_untrained(source, tmp_path / "released", "action_units")
    card = (given / "README.md").read_text()
    head = front_matter(card)
    assert "facial-action-units" in head["tags"]
    (result,) = head["model-index"][0]["results"]
    assert result["task"]["name"] == "Facial action unit detection"
    assert result["metrics"] == [{"type": "f1", "value": 0.5, "name": "mean F1"}]
    assert "validation mean F1 0.500" in card
    assert 'print(table[["time_s", "face_id", *model.classes]])' in card
    model = open_model(str(given))
    assert (model.kind, model.classes) == ("action_units", units)
    assert model.thresholds == {"au_4": 0.3, "au_12": 0.6}


def test_a_run_of_an_earlier_version_is_one_line(trained: Path, tmp_path: Path) -> None:
    run = tmp_path / "artifacts/runs/fold0-seed0"
    tensors, info = read_tensors(trained / "artifacts/runs/fold0-seed0/model.safetensors")
    run.mkdir(parents=True)
    earlier = {key: value for key, value in info.items() if key != "best_epoch"}
    write_tensors(run / "model.safetensors", tensors, earlier)
    with pytest.raises(UserError, match=r"another version .*best_epoch.*: run `dvc repro train`"):
        publish(PARAMS, tmp_path / "given", root=tmp_path)


def test_the_ensemble_is_refused_with_what_to_do(trained: Path, tmp_path: Path) -> None:
    for seed in ("1", "2"):
        shutil.copytree(
            trained / "artifacts/runs/fold0-seed0", tmp_path / f"artifacts/runs/fold0-seed{seed}"
        )
    with pytest.raises(UserError, match=r"\(fold0-seed1, fold0-seed2\).*choose one of them"):
        publish(PARAMS, tmp_path / "given", run="ensemble", root=tmp_path)


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
