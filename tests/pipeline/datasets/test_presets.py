"""`arpgnet data use`: presets go into params.yaml, and come out of it again."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

from arpgnet.pipeline.cli.main import app
from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.common.params import Params
from arpgnet.pipeline.common.params_file import load_params
from arpgnet.pipeline.datasets.base import adapter
from arpgnet.pipeline.datasets.listing import field_sets
from arpgnet.pipeline.datasets.presets import preset_names, use

REPOSITORY = Path(__file__).parents[3]
CROSS = "ckplus-to-ravdess"
RENDERED = ("demo-au", "demo-va", "demo-vit")
EMAE = "emae-affwild2"
VARIANTS = {"affwild2-au": "action_units", "affwild2-va": "valence_arousal"}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the settings, and a data set's folder."""
    shutil.copy(REPOSITORY / "params.yaml", tmp_path)
    shutil.copytree(REPOSITORY / "params", tmp_path / "params")
    (tmp_path / "clips").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def comments(path: Path) -> list[str]:
    return re.findall(r"# .*", path.read_text())


def test_every_set_of_the_field_has_a_preset() -> None:
    assert set(preset_names()) - {CROSS, EMAE, *RENDERED, *VARIANTS} == set(field_sets())


@pytest.mark.parametrize("name", sorted(VARIANTS))
def test_a_variant_of_labels_comes_with_its_task(name: str) -> None:
    use(name, "clips")
    params = load_params()
    assert params.dataset.variant == params.task.kind == VARIANTS[name]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("demo-au", "action_units"),
        ("demo-va", "valence_arousal"),
        ("demo-vit", "expression"),
    ],
)
def test_the_demo_has_presets_of_other_tasks_and_networks(name: str, kind: str, here: Path) -> None:
    before = (here / "params.yaml").read_bytes()
    use(name)
    params = load_params()
    assert (params.dataset, params.task.kind) == (Params().dataset, kind)
    assert params.pretrain.enabled == (name == "demo-vit")
    use("demo")
    assert (here / "params.yaml").read_bytes() == before


@pytest.mark.parametrize("name", sorted({*field_sets(), CROSS}))
def test_a_preset_is_valid_and_leaves_no_trace(name: str, here: Path) -> None:
    before = (here / "params.yaml").read_bytes()
    said = comments(here / "params.yaml")
    use(name, None if name == CROSS else "clips")
    params = load_params()
    assert params.dataset.name == ("cross" if name == CROSS else name)
    for one in params.dataset.train_on or [params.dataset]:
        variants = adapter(one.name).ABOUT.variants
        assert one.variant is None or one.variant in variants
    assert params.train == Params().train
    assert comments(here / "params.yaml") == said
    use("demo")
    assert (here / "params.yaml").read_bytes() == before


def test_another_paper_has_a_preset_that_leaves_no_trace(here: Path) -> None:
    before = (here / "params.yaml").read_bytes()
    use(EMAE, "clips")
    params = load_params()
    assert (params.view_fusion, params.fusion.mode) == ("attention", "appearance")
    assert params.evaluate.smooth == "auto"
    assert params.train == Params().train
    use("demo")
    assert (here / "params.yaml").read_bytes() == before


@pytest.mark.parametrize("name", sorted({*field_sets(), CROSS, EMAE}))
def test_a_preset_says_what_to_expect(name: str) -> None:
    head = (REPOSITORY / "params" / f"{name}.yaml").read_text().split("\ndataset:")[0]
    assert all(line.startswith("# ") for line in head.splitlines())
    # continuation lines are indented
    said = re.split(r"\n# (?! )", head.removeprefix("# "))
    for word, line in zip(("", "Expected: ", "Time: ", "License: "), said, strict=True):
        assert line.startswith(word)
    assert "Obtain:" in said[-1]


def test_each_change_is_said(here: Path) -> None:
    said = use("rml", "clips")
    assert said[0] == "dataset.name: demo -> rml"
    assert "dataset.root: null -> clips" in said
    assert use("rml") == []
    said = use("affwild2", "clips", manifest="2023")
    assert {"decode.sampling: uniform -> fps", "faces.source: detect -> aligned"} <= set(said)
    said = use("ravdess", "clips", variant="song")
    assert {"dataset.manifest: 2023 -> null", "dataset.variant: null -> song"} <= set(said)
    assert load_params().decode == Params().decode


def test_what_belonged_to_other_clips_goes_back_and_the_rest_stays(here: Path) -> None:
    path = here / "params.yaml"
    text = path.read_text().replace("protocol: auto  ", "protocol: loso  ")
    path.write_text(text.replace("  seeds: [0, 1]", "  seeds: [7]"))
    assert load_params().dataset.protocol == "loso"
    use("rml", "clips")
    assert load_params().dataset.protocol == "auto"
    assert load_params().train.seeds == [7]


def test_a_file_of_ones_own(here: Path) -> None:
    own = here / "own.yaml"
    own.write_text("dataset:\n  name: savee\ntrain:\n  epochs: 3\n")
    use("own.yaml", "clips")
    assert load_params().train.epochs == 3
    before = (here / "params.yaml").read_bytes()
    for content, said in (
        ("dataset: {name: savee, rooot: x}", "did you mean 'dataset.root'?"),
        ("train: {epochs: 3}", "dataset.name is missing"),
        ("dataset: {name: save}", "did you mean 'savee'?"),
        ("dataset: [", "not valid YAML"),
        ("- 1", "must contain a mapping"),
    ):
        own.write_text(content)
        with pytest.raises(UserError, match=re.escape(said)) as caught:
            use("own.yaml", "clips")
        assert "own.yaml" in str(caught.value)
        assert (here / "params.yaml").read_bytes() == before


def test_a_section_that_is_not_there_is_made(here: Path) -> None:
    (here / "params.yaml").write_text("engine:\n  workers: 1\n")
    use("affwild2", "clips")
    params = load_params()
    assert (params.faces.source, params.decode.sampling) == ("aligned", "fps")
    assert params.engine.workers == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["rlm", "clips"], "no preset 'rlm' in params/: did you mean 'rml'?"),
        (["nothing-like-it"], "available: afew, affwild2"),
        (["rml"], "dataset.root must be set"),
        (["rml", "no-such-folder"], "ROOT: 'no-such-folder' does not exist"),
        ([CROSS, "clips"], "edit them in dataset.train_on"),
        (["demo", "clips"], "ROOT: the demo has none"),
        (["no-such.yaml"], "no-such.yaml cannot be read"),
    ],
)
def test_a_mistake_is_one_line_and_changes_nothing(
    arguments: list[str], said: str, here: Path
) -> None:
    before = (here / "params.yaml").read_bytes()
    done = CliRunner().invoke(app, ["data", "use", *arguments])
    assert isinstance(done.exception, UserError)
    assert said in str(done.exception)
    assert "\n" not in str(done.exception)
    assert (here / "params.yaml").read_bytes() == before


def test_the_command_prints_the_changes() -> None:
    done = CliRunner().invoke(app, ["data", "use", "rml", "clips"])
    assert done.exit_code == 0
    assert done.output.splitlines()[0] == "dataset.name: demo -> rml"


def test_make_applies_a_preset_only_when_it_is_given() -> None:
    def recipe(*settings: str) -> list[str]:
        done = subprocess.run(
            ["make", "--dry-run", "repro", *settings],
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            check=True,
        )
        lines = done.stdout.splitlines()
        return [line.strip() for line in lines if "arpgnet" in line or "dvc repro" in line]

    assert [line for line in recipe() if "data use" in line] == []
    given = recipe("PRESET=ravdess", "ROOT=/data/RAV DESS", "VARIANT=song")
    used = next(row for row, line in enumerate(given) if "data use" in line)
    assert given[used].split("arpgnet ")[1].split() == [
        "data", "use", '"ravdess"', '"/data/RAV', 'DESS"', "--variant", '"song"',
    ]  # fmt: skip
    assert any(line.endswith("dvc repro") for line in given[used + 1 :])
