"""The page shows how the appearance network was pre-trained, where it was."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.common.params import Params
from arpgnet.pipeline.common.params_file import parse_params
from arpgnet.pipeline.report.card import pretrained_on
from arpgnet.pipeline.report.page import gather, render
from arpgnet.pipeline.report.settings import settings_digest, shareable
from arpgnet.pipeline.tables.pretraining import EXAMPLES, METADATA, PRETRAINED
from helpers.report_outputs import write_outputs


def settings(*stills: str) -> Params:
    return parse_params({"pretrain": {"enabled": True, "stills": list(stills)}})


def test_the_page_shows_what_was_drawn_and_who_was_left_out(tmp_path: Path) -> None:
    write_outputs(tmp_path)
    assert "Pre-training" not in render(gather(Params(), tmp_path))
    with pytest.raises(UserError, match=r"metadata\.json cannot be read: run `dvc repro pretrain`"):
        gather(settings(), tmp_path)
    folder = tmp_path / PRETRAINED
    folder.mkdir(parents=True)
    cv2.imwrite(str(folder / EXAMPLES), np.zeros((8, 8, 3), np.uint8))
    metadata = {
        "enabled": True,
        "arch": "vit_tiny_patch16_224",
        "input_px": 112,
        "crops": 40,
        "clips": 3,
        "stills": 0,
        "left_out": {"a clip of a person who is tested": 2},
        "losses": [1.0, 0.5],
        "round": 100,
        "settings": {"mask_ratio": 0.75},
    }
    (folder / METADATA).write_text(json.dumps(metadata))
    page = render(gather(settings(), tmp_path))
    assert "Pre-training of the appearance network" in page
    assert (
        "vit_tiny_patch16_224 at 112 pixels, trained without labels on 40 crops of 3 clips" in page
    )
    assert "75% of the patches hidden" in page
    assert "Left out: 2 a clip of a person who is tested." in page
    assert "squared error of hidden patches" in page


def test_the_card_says_what_it_was_trained_on_and_no_path_is_shown() -> None:
    assert pretrained_on(Params()) == ""
    both = settings("demo", "/home/me/faces")
    assert pretrained_on(both) == "clips that are not tested, rendered stills, other images"
    assert shareable(both)["pretrain"]["stills"] == ["demo", "left-out"]
    assert settings_digest(both) == settings_digest(settings("demo", "/elsewhere"))
