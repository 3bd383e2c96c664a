"""Pre-training from faces and stills to the encoder that the appearance stage runs."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from arpgnet.models.vit import VIT_SHAPES, VisionTransformer
from arpgnet.pipeline.appearance.clip import AppearanceClip
from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.common.params import Params
from arpgnet.pipeline.common.params_file import parse_params
from arpgnet.pipeline.finetune.run import finetune
from arpgnet.pipeline.networks.appearance import AppearanceNetwork
from arpgnet.pipeline.networks.packs import ModelSpec, load_pack
from arpgnet.pipeline.networks.pretrained import pretrained
from arpgnet.pipeline.networks.tuned import tuned
from arpgnet.pipeline.pretrain import encoder
from arpgnet.pipeline.pretrain.augment import augment
from arpgnet.pipeline.pretrain.fit import CachedPretraining, Pretrainer
from arpgnet.pipeline.pretrain.run import pretrain
from arpgnet.pipeline.store import Store
from arpgnet.pipeline.tables.pretraining import PRETRAINED
from helpers import faces_tables
from helpers.pretrain_project import ARCH, PEOPLE, make_small, settings, write_project, write_stills
from helpers.stills_project import still


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    make_small(monkeypatch)
    write_project(tmp_path)
    return tmp_path


def files(project: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((project / PRETRAINED).iterdir())}


def metadata(project: Path) -> dict[str, Any]:
    return json.loads((project / PRETRAINED / "metadata.json").read_text())


def spec_of(project: Path) -> ModelSpec:
    return load_pack(str(project / "pack")).models["embedding"]


def test_switched_off_it_says_so_and_changes_nothing(project: Path) -> None:
    assert pretrain(Params(), root=project) == "pretrain: off (pretrain.enabled: false)"
    assert files(project) == {"metadata.json": b'{\n  "enabled": false\n}\n'}
    spec = spec_of(project)
    assert pretrained(spec, project / PRETRAINED, enabled=False) is spec
    with pytest.raises(UserError, match="holds no pre-trained encoder: run `dvc repro pretrain`"):
        pretrained(spec, project / PRETRAINED, enabled=True)


def test_faces_become_an_encoder_that_appearance_runs(project: Path) -> None:
    write_project(project, side=112)
    said = pretrain(settings(project, steps=20, input_px=112, batch=8), root=project)
    found = metadata(project)
    # two faces a clip; one of bob's clips is tested, and one clip has none
    assert (found["crops"], found["clips"], found["stills"]) == (8, 4, 0)
    assert found["left_out"] == {"a clip of a person who is tested": 1, "a clip without a face": 1}
    assert found["losses"][-1] < found["losses"][0]
    assert f"{ARCH} at 112 pixels, 8 crops of 4 clips and 0 stills, 20 steps; loss" in said
    assert "left out: 1 a clip of a person who is tested; 1 a clip without a face" in said

    weights = load_file(project / PRETRAINED / "encoder.safetensors")
    network = VisionTransformer(VIT_SHAPES[ARCH])
    assert weights.keys() == network.state_dict().keys()  # timm's names, and nothing else
    sheet = cv2.imread(str(project / PRETRAINED / "reconstructions.jpg"))
    assert sheet is not None
    assert sheet.shape == (3 * 112 + 2 * 4, 8 * 112 + 7 * 4, 3)
    first = faces_tables.crop(0, 0)[..., ::-1]
    assert np.abs(sheet[:112, :112].astype(int) - first).mean() < 6  # JPEG

    own = pretrained(spec_of(project), project / PRETRAINED, enabled=True)
    assert own.identity["sha256"] == found["encoder_sha256"] != spec_of(project).sha256
    work = AppearanceClip(project / "data/faces", own, "pack", 2)
    assert work.metadata()["model_sha256"] == found["encoder_sha256"]
    assert work.metadata()["map_shape"] == [24, 7, 7]
    crops = np.stack([faces_tables.crop(0, 0), faces_tables.crop(2, 1)])
    embeddings, maps = AppearanceNetwork(own, batch=2).describe(crops)
    np.testing.assert_allclose(embeddings, maps.mean((2, 3)), atol=1e-5)


def test_a_tested_person_is_learned_from_in_no_way(project: Path) -> None:
    """Neither by their clips, nor by stills: a folder of their name, their file, their face."""
    write_stills(project / "stills", 6)
    write_stills(project / "stills", 2, person="bob")
    tested = list(PEOPLE).index("b1")
    for name, row in (("face", 0), ("mirrored", 2)):
        image = faces_tables.crop(tested, row)
        image = image[:, ::-1] if name == "mirrored" else image
        cv2.imwrite(str(project / f"stills/{name}.png"), image[..., ::-1])
    stills = [str(project / "stills")]
    pretrain(settings(project, stills=stills, clips=False), root=project)
    found = metadata(project)
    assert (found["crops"], found["clips"], found["stills"]) == (6, 0, 6)
    assert found["left_out"] == {
        "a face of the target data": 2,
        "a still of a person who is tested": 2,
    }
    # bytes of the tested face decide nothing: neither a key nor the encoder
    first = files(project)
    for path in (project / "stills/bob").iterdir():
        path.write_bytes(b"another")
    pretrain(settings(project, stills=stills, clips=False), root=project)
    assert files(project) == first
    pretrain(settings(project, stills=stills), root=project)
    assert (metadata(project)["clips"], metadata(project)["crops"]) == (4, 14)


def test_fine_tuning_goes_on_from_the_encoder(project: Path) -> None:
    labeled = project / "labeled"
    for label in ("left", "right"):
        for number in range(4):
            path = labeled / label / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), still(label, number))
    chosen = {
        "enabled": True, "dataset": "folder", "root": str(labeled), "layers": "last-1",
        "views": 1, "epochs": 1, "batch": 4, "device": "cpu",
    }  # fmt: skip
    params = settings(project)
    tuning = params.finetune.model_validate(chosen)
    params = params.model_copy(update={"finetune": tuning})
    pretrain(params, root=project)
    finetune(params, root=project)
    backbone = project / "artifacts/backbone"
    found = json.loads((backbone / "backbone.json").read_text())
    assert found["model_sha256"] == metadata(project)["encoder_sha256"]
    own = pretrained(spec_of(project), project / PRETRAINED, enabled=True)
    after = tuned(own, backbone)
    assert after.identity["weights_sha256"] == found["weights_sha256"]
    crops = np.stack([faces_tables.crop(0, 0, 48)])
    before, then = (AppearanceNetwork(spec, batch=1).describe(crops)[0] for spec in (own, after))
    assert np.abs(then - before).max() > 1e-4
    # without pre-training these weights are another network's
    with pytest.raises(UserError, match="was tuned from another network"):
        tuned(spec_of(project), backbone)


def test_equal_settings_give_equal_bytes_and_finished_runs_are_kept(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretrain(settings(project), root=project)
    first = files(project)
    pretrain(settings(project), root=project, store=Store(tmp_path / "another"))
    assert files(project) == first
    pretrain(settings(project, seed=1), root=project)
    assert files(project)["encoder.safetensors"] != first["encoder.safetensors"]
    monkeypatch.setattr(encoder, "fit", lambda *a: pytest.fail("trained again"))
    pretrain(settings(project), root=project)
    assert files(project) == first


def test_a_killed_run_goes_on_to_the_same_bytes(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretrain(settings(project, steps=16), root=project, store=Store(tmp_path / "undisturbed"))
    expected = files(project)
    rounds: list[int] = []
    save = CachedPretraining.save_checkpoint

    def killed(self: CachedPretraining, state: Any) -> None:
        save(self, state)
        rounds.append(len(state.history))
        if len(rounds) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(CachedPretraining, "save_checkpoint", killed)
    with pytest.raises(KeyboardInterrupt):
        pretrain(settings(project, steps=16), root=project)
    assert files(project) == expected  # what was there before is not touched
    pretrain(settings(project, steps=16), root=project)
    assert rounds == [1, 2, 3]
    assert files(project) == expected
    assert not list(Store().root.glob("pretrain-checkpoint/*/*"))


@pytest.mark.slow  # finetune's quick test runs the same loop in bfloat16
def test_bfloat16_gives_weights_in_float32(project: Path) -> None:
    pretrain(settings(project, precision="bf16-mixed"), root=project)
    weights = load_file(project / PRETRAINED / "encoder.safetensors")
    assert {value.dtype for value in weights.values()} == {torch.float32}


def test_too_few_crops_are_one_line(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"8 crops left .* fewer than pretrain\.batch: 9: lower"):
        pretrain(settings(project, batch=9), root=project)
    write_project(project, tested=("a1", "b1", "c1"))
    with pytest.raises(UserError, match=r"no crop is left to learn from \(left out: 6 a clip of"):
        pretrain(settings(project), root=project)
    with pytest.raises(UserError, match=r"pretrain\.stills: .* does not exist"):
        pretrain(settings(project, stills=[str(project / "nowhere")]), root=project)
    (project / "empty").mkdir()
    with pytest.raises(UserError, match=r"pretrain\.stills: no image \(\.bmp, .* or its subfold"):
        pretrain(settings(project, stills=[str(project / "empty")]), root=project)
    write_project(project)
    with pytest.raises(UserError, match=r"crops of 48 pixels, pretrain\.input_px is 64: run `dvc"):
        pretrain(settings(project, input_px=64), root=project)
    monkeypatch.setattr(Pretrainer, "_train", lambda *a: float("nan"))
    with pytest.raises(UserError, match=r"pre-training diverged in epoch 0: lower pretrain\.lr"):
        pretrain(settings(project), root=project)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"arch": "vit_tiny_patch16"}, r"pretrain\.arch: .*did you mean 'vit_tiny_patch16_224'"),
        ({"input_px": 100}, r"pretrain\.input_px: 100 is not valid: .* multiple of 16"),
        ({"mask_ratio": 0.999}, r"pretrain\.mask_ratio: 0\.999 of the 9 patches .* leaves none"),
        ({"decoder_heads": 3}, r"decoder_heads: 3 does not divide pretrain\.decoder_width: 16"),
        ({"clips": False}, r"pretrain\.clips: false needs folders of images in pretrain\.stills"),
    ],
)
def test_wrong_settings_are_one_line(change: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        settings(Path("unused"), **change)
    with pytest.raises(UserError, match=r"pretrain\.steps: 150 is not valid: .* multiple of 100"):
        parse_params({"pretrain": {"steps": 150}})


def test_a_damaged_encoder_is_refused(project: Path) -> None:
    pretrain(settings(project), root=project)
    path = project / PRETRAINED / "encoder.safetensors"
    path.write_bytes(path.read_bytes()[:-4] + b"....")
    with pytest.raises(UserError, match="is absent or damaged: run `dvc repro --force pretrain`"):
        pretrained(spec_of(project), project / PRETRAINED, enabled=True)
    (project / PRETRAINED / "metadata.json").write_text("{")
    with pytest.raises(UserError, match=r"metadata\.json cannot be read: run `dvc repro pretrain`"):
        pretrained(spec_of(project), project / PRETRAINED, enabled=True)


def test_random_crops_keep_range_and_can_be_switched_off() -> None:
    crops = torch.rand(64, 3, 16, 16) * 255
    off = Params().pretrain.model_copy(update={"crop": 1.0, "flip": 0.0})
    draws = torch.Generator().manual_seed(0)
    torch.testing.assert_close(augment(crops, off, draws), crops, atol=0.01, rtol=0)
    mirrored = augment(crops, off.model_copy(update={"flip": 0.999999}), draws)
    torch.testing.assert_close(mirrored, crops.flip(3), atol=0.01, rtol=0)
    full = off.model_copy(update={"crop": 0.2, "flip": 0.5})
    one, two = (augment(crops, full, torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(one, two)
    assert one.min() >= 0
    assert one.max() <= 255
    # of an image that grows to the right by 1 a pixel: the part's width, and that it lies inside
    slope = torch.arange(16.0).expand(64, 3, 16, 16)
    parts = augment(slope, full, torch.Generator().manual_seed(3))
    width = (parts[:, 0, 8, 8] - parts[:, 0, 8, 7]).abs()
    assert 0.35 < width.min() < width.max() <= 1.0
    assert parts.min() >= 0
    assert parts.max() <= 15
