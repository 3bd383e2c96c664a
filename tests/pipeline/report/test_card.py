"""The model card says what the run says, and data in it stays text."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token

from arpgnet.pipeline.common.params import Params
from arpgnet.pipeline.common.params_file import parse_params
from arpgnet.pipeline.report.card import model_card
from arpgnet.pipeline.report.page import gather
from arpgnet.pipeline.report.sentences import plain
from arpgnet.pipeline.report.settings import shareable
from helpers.report_outputs import EVIL, TRAITS, write_outputs

NASTY = [
    *(EVIL, "a | b", "[x](http://e.org)", "![x](y)", "*bold* _it_ **b**", "`code`", "# head"),
    *("- item", "1. one", "2) two", "> quote", "&lt;", "<http://e.org>", "back\\slash"),
    *("two\nlines", "---", "~~x~~", "+ more", "https://e.org", "www.e.org"),
]  # fmt: skip


def tokens(markdown: str) -> Iterator[Token]:
    for token in MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).parse(
        markdown
    ):  # fmt: skip
        yield token
        yield from token.children or []


@pytest.mark.parametrize("text", NASTY)
def test_text_is_read_as_text(text: str) -> None:
    shown = " ".join(text.split())
    for where in ("{}", "- {}", "before {} after", "| a |\n| --- |\n| {} |"):
        found = list(tokens(where.format(plain(text))))
        usual = list(tokens(where.format("x")))
        content = "".join(t.content for t in found if t.type == "text")
        inner = {"text", "text_special"}
        assert [t.type for t in found if t.type not in inner] == [
            t.type for t in usual if t.type not in inner
        ]
        assert shown in content


def test_numbers_stay_as_they_are() -> None:
    for text in ("0.884", "-0.043", "0.842 to 0.920", "2,880", "UAR +0.1"):
        assert plain(text) == text


def test_the_card_is_the_runs_own(tmp_path: Path) -> None:
    write_outputs(tmp_path)
    card = model_card(gather(Params(), tmp_path))
    assert "| UAR | 0.500 | 0.400 to 0.600 | 0.100 |" in card
    assert "| majority class | 0.500 | 0.400 to 0.600 | 0.500 |" in card
    assert "ARPGNet beats the best baseline, majority class, by 0.200 UAR" in card
    assert "On 4 test clips per seed:" in card
    assert "Validation UAR, mean over 2 single networks: 0.700." in card
    assert "an epoch after 24 to 30 steps (an epoch: 6)" in card
    assert "trained anew on training and validation together (80 to 81 clips)" in card
    assert "1 run of 2 still improved in the last epoch" in card
    assert "differs from single networks by +0.010 UAR" in card
    assert "chose (0.500 to 0.750); without it the error is 0.210." in card.replace("\\", "")
    assert "2 of 4 clips passed every stage" in card
    assert "2 clips of class fear left out on purpose" in card
    assert "Weights of the face pack demo: MIT." in card
    assert "Data, csv: unknown to the pipeline; whoever publishes this model must state" in card
    assert "Data, rml: research \\| x." in card
    assert "Over 2 subjects: UAR from 0.250 to 0.250" in card
    assert "article 5(1)(f)" in card
    assert "no results by group" in card
    assert "Rendered faces" not in card
    assert str(tmp_path) not in card
    assert card == model_card(gather(Params(), tmp_path))


def test_all_training_settings_and_all_others_that_differ_are_in_the_card(tmp_path: Path) -> None:
    write_outputs(tmp_path)
    changed = {
        "align": {"det_thresh": 0.4},
        "train": {"epochs": 7},
        "dataset": {"demo": {"subjects": 4}, "map": {"calm": "neutral"}},
        "engine": {"workers": 3},
    }
    params = parse_params(changed)
    card = model_card(gather(params, tmp_path))
    assert r"| align.det\_thresh | 0.4 | 0.5 |" in card
    assert "| train.epochs | 7 | 25 |" in card
    assert "| dataset.demo.subjects | 4 | 12 |" in card
    assert "| dataset.map | calm: neutral | none |" in card
    for section in ("train", "relation", "fusion"):
        for name in getattr(params, section).model_dump():
            assert f"| {section}.{plain(name)} |" in card
    assert r"align.pad\_retry" not in card
    # it depends on the machine, and changes no result
    assert "engine.workers" not in card


def test_groups_that_the_data_names_are_in_the_card(tmp_path: Path) -> None:
    write_outputs(tmp_path, traits=TRAITS)
    card = model_card(gather(Params(), tmp_path))
    assert "12 | 3 | 0.500 (0.400 to 0.600) | 0.500 (0.400 to 0.600) |" in card
    assert "| young | 4 | 1 | too few | too few |" in card
    assert ": 3 test clips." in card
    assert "no results by group" not in card


def test_data_cannot_write_into_the_card(tmp_path: Path) -> None:
    write_outputs(tmp_path, traits=TRAITS)
    found = list(tokens(model_card(gather(Params(), tmp_path))))
    assert not [t for t in found if t.type in ("html_block", "html_inline", "link_open", "image")]
    tables = [t for t in found if t.type == "table_open"]
    assert len(tables) == 6


def test_settings_for_others_name_no_folder() -> None:
    params = parse_params(
        {
            "dataset": {
                "name": "cross",
                "train_on": [
                    {"name": "csv", "root": "/home/anna/a", "manifest": "/home/anna/l.csv"}
                ],
                "test_on": [{"name": "rml", "root": "/home/anna/b"}],
            },
            "faces": {"pack": "/home/anna/packs/mine"},
            "finetune": {"root": "/home/anna/stills"},
        },
        "test",
    )
    settings = shareable(params)
    assert "anna" not in str(settings)
    assert settings["faces"]["pack"] == "mine"
    assert settings["dataset"]["train_on"][0]["manifest"] == "l.csv"
    # and whoever gets them can load them
    assert parse_params(settings, "again").fusion == params.fusion
    own = parse_params({"dataset": {"name": "ravdess", "root": "/home/anna/r"}}, "test")
    assert "anna" not in str(shareable(own))
    assert parse_params(shareable(own), "again").dataset.name == "ravdess"
    assert shareable(Params())["faces"]["pack"] == "demo"
