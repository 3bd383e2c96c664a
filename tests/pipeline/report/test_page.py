"""The page tells the truth about its data, escapes it, and is the same for the same data."""

import json
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pyarrow as pa
import pytest

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.common.params import Params
from arpgnet.pipeline.report.charts import Curve, confusion_chart, curves_chart, reliability_chart
from arpgnet.pipeline.report.images import data_uri, plain_face
from arpgnet.pipeline.report.page import gather, quarantined, render
from arpgnet.pipeline.report.views import subjects_view
from arpgnet.pipeline.tables.shards import ShardReader
from helpers.outputs import OutputWriter
from helpers.report_outputs import BINS, EVIL, SCORE, SCORES, TRAITS, write_outputs


def test_data_is_escaped_and_the_same_data_gives_the_same_page(tmp_path: Path) -> None:
    write_outputs(tmp_path, traits=TRAITS)
    page = render(gather(Params(), tmp_path))
    assert EVIL not in page
    assert "&lt;script&gt;" in page
    assert "<b>calm" not in page
    assert "<i>old" not in page
    assert render(gather(Params(), tmp_path)) == page


def test_says_what_was_lost_where_and_why(tmp_path: Path) -> None:
    write_outputs(tmp_path)
    results = gather(Params(), tmp_path)
    lost = list(quarantined(results.manifest.clips, results.shards))
    assert lost == [
        {"clip": "clip2", "stage": "graph", "reason": "no face found"},
        {"clip": "clip3", "stage": "ingest", "reason": EVIL},
    ]
    page = render(results)
    assert "2 of 4 clips passed every stage" in page
    assert "2 clips of class fear left out on purpose" in page
    assert "2 near-duplicate clips in 1 group;" in page
    assert "Rendered faces" not in page


class Figures(HTMLParser):
    """Every image and table: its section, its own title, whether it was said how to read it."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, str, str, bool]] = []
        self._heading, self._explained, self._inside = "", False, ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "h2":
            self._heading, self._explained = "", False
        if tag == "p" and dict(attrs).get("class") == "read":
            self._explained = True
        if tag in {"svg", "table", "img"}:
            told = dict(attrs).get("alt") or ""
            self.found.append((tag, self._heading, told, self._explained))
        if tag in {"h2", "title"}:
            self._inside = tag

    def handle_endtag(self, tag: str) -> None:
        if tag == self._inside:
            self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "h2":
            self._heading += data
        elif self._inside == "title" and self.found:
            kind, heading, _, explained = self.found[-1]
            self.found[-1] = kind, heading, data, explained


def test_every_image_has_a_title_and_says_how_to_read_it(tmp_path: Path) -> None:
    write_outputs(tmp_path, traits=TRAITS)
    figures = Figures()
    figures.feed(render(gather(Params(), tmp_path)))
    assert {kind for kind, *_ in figures.found} == {"svg", "table", "img"}
    for kind, heading, title, explained in figures.found:
        assert heading, kind
        assert explained, heading
        assert title or kind == "table", heading


def test_groups_stand_on_the_page_where_the_data_names_some(tmp_path: Path) -> None:
    write_outputs(tmp_path / "some", traits=TRAITS)
    page = render(gather(Params(), tmp_path / "some"))
    assert '<td class="n">0.500 (0.400 to 0.600)</td>' in page
    assert "For fewer than 10 clips or 2 subjects" in page
    write_outputs(tmp_path / "none")
    assert "Groups of people" not in render(gather(Params(), tmp_path / "none"))


@pytest.mark.parametrize(("gain", "said"), [(0.5, "it beats"), (-0.5, "it does not beat")])
def test_verdict_follows_the_gain(tmp_path: Path, gain: float, said: str) -> None:
    write_outputs(tmp_path, gain)
    assert said in render(gather(Params(), tmp_path))


def test_says_how_runs_differ_and_how_far_probabilities_are_off(tmp_path: Path) -> None:
    write_outputs(tmp_path)
    page = render(gather(Params(), tmp_path))
    assert "The worst run&#39;s UAR is 0.250, the best run&#39;s 0.750" in page
    assert "Expected calibration error 0.120 ±0.010 (15 bins)" in page
    assert "underconfident by 0.030" in page


def test_each_subject_stands_with_their_scores(tmp_path: Path) -> None:
    write_outputs(tmp_path)
    page = render(gather(Params(), tmp_path))
    assert '<td class="n">0.250</td><td class="n">0.500</td>' in page
    assert "no prediction" in page
    assert "1 (4 frames)" in page
    assert "Not in the table: 3 test clips without a subject" in page


def test_many_subjects_are_a_sentence_and_none_are_said_to_be_unknown() -> None:
    many = [
        {"subject": f"s{n}", "clips": 5, "predictions": 5, "uar": n / 100, "war": 0.5}
        for n in range(101)
    ]
    quartiles = {"uar": [0.0, 0.25, 0.5, 0.75, 1.0], "war": [0.5] * 5}
    view = subjects_view({"rows": many, "unnamed": 0, "quartiles": quartiles})
    assert view["rows"] == []
    assert "UAR from 0.000 to 1.000, median 0.500" in view["spread"]
    assert "10 from 0.3 to 0.4" in view["spread"]
    assert "11 from 0.9 to 1.0" in view["spread"]
    nobody = {"rows": [], "unnamed": 4, "quartiles": {"uar": [], "war": []}}
    assert "does not say who" in subjects_view(nobody)["note"]


def test_mistakes_are_shown_with_their_faces(tmp_path: Path) -> None:
    write_outputs(tmp_path)
    page = render(gather(Params(), tmp_path))
    # the other mistake's clip has no face to show
    assert page.count('<figure class="mistake">') == 1
    assert "labeled <b>joy</b> (probability 0.12), predicted <b>&lt;b&gt;calm&lt;/b&gt;</b>" in page
    assert "1 of 2 networks wrong" in page


def test_of_labeled_frames_the_face_nearest_to_the_mistake_is_shown(tmp_path: Path) -> None:
    schema = pa.schema(
        [
            ("clip_id", pa.string()), ("frame_index", pa.int32()), ("valid", pa.bool_()),
            ("crop", pa.binary()),
        ]
    )  # fmt: skip
    gray = [bytes([value]) * (8 * 8 * 3) for value in (0, 80, 160, 240)]
    rows = {
        "clip_id": ["a"] * 4, "frame_index": [0, 10, 20, 30], "valid": [True, True, False, True],
        "crop": gray,
    }  # fmt: skip
    with OutputWriter(tmp_path / "faces", schema, {"crop_px": 8}) as writer:
        writer.add("a", "0" * 64, [pa.table(rows, schema)])
    faces = ShardReader(tmp_path / "faces")
    shown = {
        frame: np.frombuffer(gray[row], np.uint8).reshape(8, 8, 3)
        for frame, row in ((3, 0), (19, 1), (21, 3), (99, 3))
    }
    for frame, image in shown.items():
        assert plain_face("a", faces, frame) == data_uri(image)
    # without a frame the one in the middle of those with a face
    assert plain_face("a", faces) == data_uri(np.full((8, 8, 3), 80, np.uint8))


@pytest.mark.parametrize("digest", ["mine", "another"])
def test_ablations_are_shown_as_the_pages_own_only_if_they_are(tmp_path: Path, digest: str) -> None:
    write_outputs(tmp_path)
    assert "Not run yet: <code>arpgnet ablate" in render(gather(Params(), tmp_path))
    one = {
        "name": "x", "group": "g", "what": EVIL, "removes": EVIL, "status": "ok",
        "scores": {"uar": SCORE}, "difference": {"uar": {**SCORE, "p": 0.01}},
    }  # fmt: skip
    failed = {"name": "y", "what": "w", "status": "failed", "reason": EVIL}
    base = {
        "predictions_sha256": digest, "confidence": 0.95, "bootstrap": 100, "scores": SCORES,
        "interval_unit": "subject", "intervals_over": 3,
    }  # fmt: skip
    (tmp_path / "comparisons").mkdir()
    file = tmp_path / "comparisons/ablation.json"
    file.write_text(json.dumps({"base": base, "rows": [one, failed]}))
    page = render(gather(Params(), tmp_path))
    assert EVIL not in page
    assert page.count("&lt;script&gt;") > 3
    assert ("From another run" in page) == (digest == "another")
    assert "Not measured" in page


def test_missing_outs_are_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="dvc repro"):
        gather(Params(), tmp_path)


def test_charts_are_well_formed_and_repeat() -> None:
    counts = np.array([[3, 1], [0, 4]])
    curves = {"a": Curve([0, 1], [2.0, 1.0], [2.1, 1.2], [0.1, 0.6])}
    for draw in (
        lambda: confusion_chart(counts, ["a<", "b"]),
        lambda: curves_chart(curves),
        lambda: reliability_chart(BINS),
        lambda: reliability_chart([]),
    ):
        text = draw()
        assert ElementTree.fromstring(text).tag.endswith("svg")
        assert draw() == text
