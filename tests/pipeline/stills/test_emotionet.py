"""EmotioNet: its list as it is distributed, what is refused, and a backbone tuned on its units."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.common.params import FinetuneParams
from arpgnet.pipeline.common.params_file import parse_params
from arpgnet.pipeline.finetune.objective import Units
from arpgnet.pipeline.finetune.run import BACKBONE, finetune
from arpgnet.pipeline.stills import crops
from arpgnet.pipeline.stills.listed import stills_digest
from arpgnet.pipeline.stills.sets import list_stills
from arpgnet.pipeline.stills.stills import Listing
from helpers import graphs
from helpers.stills_project import in_process, write_project

NAME = "EmotioNet_FACS_aws_2020_24600.csv"
# blanks and quotes as in the file; AU 3 and AU 51 are not learned
HEADER = "URL,URL orig,'AU 12','AU 1','AU 3','AU 51'"


def row(number: int, *codes: object) -> str:
    address = f"https://example.org/Images/N_{number:010d}/N_{number:010d}_00001.jpg"
    return ",".join([f"'{address}'", "'orig'", *map(str, codes)])


def listed(root: Path) -> Listing:
    return list_stills(FinetuneParams(dataset="emotionet", root=str(root)), 1)


def write_list(root: Path, *rows: str, images: int = 3, header: str = HEADER) -> Path:
    folder = root / "imgs"
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(images):
        (folder / f"N_{number:010d}_00001.jpg").write_bytes(b"\xff\xd8 not looked at")
    path = root / "labels" / NAME
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def test_units_by_the_names_of_quoted_columns(tmp_path: Path) -> None:
    write_list(
        tmp_path,
        row(0, 1, 0, 1, 0),
        row(1, 0, 999, 0, 1),
        row(2, 999, "", 0, 1),
        row(7, 1, 1, 0, 0),
        row(0, 0, 0, 0, 0),
    )
    listing = listed(tmp_path)
    assert (listing.classes, listing.units) == (["au_1", "au_12"], True)
    assert [still.name for still in listing.stills] == [
        "N_0000000000_00001.jpg",
        "N_0000000001_00001.jpg",
    ]
    assert listing.stills[0].units == (0, 1)
    assert math.isnan(listing.stills[1].units[0])
    assert listing.stills[1].units[1] == 0
    assert listing.left_out == {
        "without an annotated unit": 1,
        "named in the list, but not there": 1,
        "listed a second time": 1,
    }


@pytest.mark.parametrize(
    ("rows", "header", "said"),
    [
        ([row(0, 3, 0, 0, 0)], HEADER, f"line 2 of {NAME}: au_12 '3' is not 0 or 1"),
        ([row(0, 1)], HEADER, f"line 2 of {NAME}: 3 fields where the header has 6"),
        ([row(9, 1, 0, 0, 0)], HEADER, "(1 named in the list, but not there)"),
        ([row(0, 1, 0, 0, 0)], "name,'AU 1'", f"line 1 of {NAME} names no column URL"),
        ([row(0, 1, 0, 0, 0)], "URL,happy", f"line 1 of {NAME} names no action unit"),
        ([row(0, 1, 0, 0)], "URL,x,AU1,'AU 1'", f"line 1 of {NAME} names au_1 twice"),
    ],
)
def test_a_list_that_is_not_as_documented(
    tmp_path: Path, rows: list[str], header: str, said: str
) -> None:
    write_list(tmp_path, *rows, header=header)
    with pytest.raises(UserError) as error:
        listed(tmp_path)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_none_or_several_lists_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"has no list EmotioNet_FACS\*\.csv"):
        listed(tmp_path)
    (tmp_path / "EmotioNet_FACS.xlsx").touch()
    with pytest.raises(UserError, match=r"save the sheet of EmotioNet_FACS\.xlsx as CSV"):
        listed(tmp_path)
    path = write_list(tmp_path, row(0, 1, 0, 0, 0))
    (tmp_path / NAME).write_bytes(path.read_bytes())
    with pytest.raises(UserError, match="several lists"):
        listed(tmp_path)


def test_another_annotation_is_another_set_of_stills(tmp_path: Path) -> None:
    params = FinetuneParams(dataset="emotionet", root=str(tmp_path))
    write_list(tmp_path, row(0, 1, 999, 0, 0))
    before = stills_digest(params, 1)
    assert stills_digest(params, 1) == before
    write_list(tmp_path, row(0, 1, 0, 0, 0))
    assert stills_digest(params, 1) != before


def test_what_is_not_annotated_has_no_loss() -> None:
    nan = float("nan")
    label = torch.tensor([[1.0, nan], [0.0, nan]])
    units = Units(label.numpy(), FinetuneParams(class_weights="none"))
    logits = torch.tensor([[2.0, 5.0], [-1.0, -5.0]])
    expected = binary_cross_entropy_with_logits(logits[:, 0], label[:, 0])
    assert units.loss(logits, label).item() == pytest.approx(expected.item())
    assert units.loss(logits, torch.full((2, 2), nan)).item() == 0
    assert units.scored([logits], label) == 1.0


def test_a_backbone_learns_units(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crops, "run_in_workers", in_process)
    pack = str(graphs.small_pack(tmp_path / "pack"))
    write_project(tmp_path, pack)
    rows = []
    for number, path in enumerate(sorted((tmp_path / "stills").rglob("*.png"))):
        image = path.rename(tmp_path / "stills" / f"{number}.png")
        bright = int(number < 12)
        # AU 26 is never present, AU 4 hardly annotated
        rows.append(f"x/{image.name},{bright},{1 - bright},0,{999 if number % 5 else 0}")
    text = "\n".join(["URL,AU 1,AU 12,AU 26,AU 4", *rows])
    (tmp_path / "stills" / "EmotioNet_FACS.csv").write_text(text)
    settings: dict[str, Any] = {
        "faces": {"pack": pack, "device": "cpu"},
        "engine": {"workers": 1},
        "finetune": {
            "enabled": True,
            "dataset": "emotionet",
            "root": str(tmp_path / "stills"),
            "layers": "all",
            "epochs": 3,
            "batch": 8,
            "lr": 0.001,
            "flip": 0.0,
            "device": "cpu",
            "val_fraction": 0.4,
        },
    }
    said = finetune(parse_params(settings), root=tmp_path)
    found = json.loads((tmp_path / BACKBONE / "backbone.json").read_text())
    assert found["classes"] == ["au_1", "au_12"]
    assert found["left_out"] == {
        "annotations of au_26, of which a part has one value only": 24,
        "annotations of au_4, of which a part has one value only": 5,
    }
    assert found["history"][found["best"]]["val_f1"] == 1.0
    assert "2 action units; validation mean F1 1.000" in said
    settings["finetune"]["root"] = str(tmp_path / "one")
    (tmp_path / "one").mkdir()
    (tmp_path / "stills/0.png").rename(tmp_path / "one/0.png")
    (tmp_path / "one" / "EmotioNet_FACS.csv").write_text("URL,AU 1\nx/0.png,1\n")
    with pytest.raises(UserError, match="no action unit is both present and absent among the 1 st"):
        finetune(parse_params(settings), root=tmp_path)
