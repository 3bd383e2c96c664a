"""The page tells the truth about its data, escapes it, and is the same for the same data."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pyarrow as pa
import pytest
from playwright.sync_api import Browser

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.common.params import Params
from arpgnet.pipeline.common.run_times import note_run_time
from arpgnet.pipeline.report.charts import Curve, curves_charts, reliability_chart
from arpgnet.pipeline.report.images import clip_sheet, data_uri, plain_face
from arpgnet.pipeline.report.page import gather, quarantined, render
from arpgnet.pipeline.report.still_plots import still_plots
from arpgnet.pipeline.report.views import confusion_view, subjects_view
from arpgnet.pipeline.tables.shards import ShardReader
from helpers import in_process
from helpers.browser import browser  # noqa: F401 - a fixture
from helpers.outputs import OutputWriter
from helpers.report_outputs import BINS, EVIL, SCORE, SCORES, TRAITS, write_outputs


@pytest.fixture(scope="module")
def usual(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The page of the usual outputs: a chart takes 0.1 s, and there are many."""
    root = tmp_path_factory.mktemp("usual")
    write_outputs(root)
    return render(gather(Params(), root))


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


@pytest.mark.parametrize(
    ("gain", "said"),
    [
        (
            0.5,
            "ARPGNet beats the best baseline, majority class, by <b>0.500 UAR [0.400, 0.600]</b>",
        ),
        (-0.5, "ARPGNet does not beat the best baseline, majority class: <b>-0.500 UAR"),
    ],
)
def test_verdict_follows_the_gain(tmp_path: Path, gain: float, said: str) -> None:
    write_outputs(tmp_path, gain)
    page = render(gather(Params(), tmp_path))
    assert said in page
    # before everything else that is a result
    assert page.index(said) < page.index('class="tile"')


def test_contents_lead_to_every_section(usual: str) -> None:
    targets = re.findall(r'<a href="#(\w+)">', usual)
    assert targets == re.findall(r'<h2 id="(\w+)">', usual)
    assert len(targets) == 11


def test_scores_are_spelled_out(usual: str) -> None:
    for long in ("unweighted average recall", "weighted average recall: the fraction", "Macro-F1"):
        assert long in usual


def test_the_stage_ends_with_the_verdict(tmp_path: Path) -> None:
    write_outputs(tmp_path)
    (tmp_path / "params.yaml").write_text("{}\n")
    done = in_process.stage("report", tmp_path)
    assert done.returncode == 0, done.stderr
    last = done.stdout.strip().splitlines()[-1]
    assert str(gather(Params(), tmp_path).verdict) in last
    assert last.endswith("reports/index.html")


def test_confusion_counts_and_recalls_stand_in_a_table() -> None:
    rows = confusion_view(np.array([[3, 1], [0, 0]]), ["a", "b"], {"a": 0.75})
    assert [cell["percent"] for cell in rows[0]["cells"]] == ["75%", "25%"]
    assert [cell["count"] for cell in rows[0]["cells"]] == ["3", "1"]
    assert [cell["diagonal"] for cell in rows[0]["cells"]] == [True, False]
    assert rows[0]["recall"] == "0.750"
    # nothing was tested: no division by zero, no recall
    assert [cell["count"] for cell in rows[1]["cells"]] == ["", ""]
    assert rows[1]["recall"] == "no test clip"


def test_the_rows_of_the_clips_are_classes_with_clips(tmp_path: Path) -> None:
    write_outputs(tmp_path)
    results = gather(Params(), tmp_path)
    frames = results.shards["frames"]
    sheet = clip_sheet(results.manifest.clips, [*results.manifest.classes, "empty"], frames)
    assert sheet.columns == ["s0", "s1"]
    assert [row["name"] for row in sheet.rows] == results.manifest.classes
    assert sheet.note == "3 clips of 2 of 2 subjects; no usable clip of 1 class"
    unknown = [replace(one, subject=None) for one in results.manifest.clips]
    sheet = clip_sheet(unknown, results.manifest.classes, frames)
    assert sheet.columns == []
    assert [len(row["cells"]) for row in sheet.rows] == [2, 1]


def test_nothing_is_cut_off_on_a_phone(
    tmp_path: Path,
    browser: Browser,  # noqa: F811 - the fixture
) -> None:
    write_outputs(tmp_path, traits=TRAITS)
    (tmp_path / "page.html").write_text(render(gather(Params(), tmp_path)))
    page = browser.new_page(viewport={"width": 390, "height": 800})
    page.goto((tmp_path / "page.html").as_uri())
    page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    # tables scroll in their own frame, with a shadow where columns are hidden; images fit
    frames = "[...document.querySelectorAll('table')].map(one => one.closest('.scroll'))"
    shadows = page.evaluate(f"{frames}.map(one => getComputedStyle(one).backgroundAttachment)")
    assert len(shadows) > 5
    assert set(shadows) == {"local, local, scroll, scroll"}
    wide = "[...document.querySelectorAll('svg, img')].filter(one => !one.closest('.scroll'))"
    rights = page.evaluate(f"{wide}.map(one => one.getBoundingClientRect().right)")
    assert len(rights) > 10
    assert max(rights) <= 390
    page.close()


def test_how_long_the_stages_took_is_shown_where_they_ran_and_is_no_part_of_the_page(
    tmp_path: Path,
    browser: Browser,  # noqa: F811 - the fixture
    usual: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "reports").mkdir()
    (tmp_path / "reports/index.html").write_text(usual)
    monkeypatch.chdir(tmp_path)
    page = browser.new_page()
    for ran in (False, True):
        if ran:
            (tmp_path / ".dvc/tmp").mkdir(parents=True)
            note_run_time("ingest", 3.0)
            note_run_time("train", 400.0)
            note_run_time("train", 340.0)
        page.goto((tmp_path / "reports/index.html").as_uri())
        said = page.inner_text("table.run")
        assert ("6 min on " in said) == ran
        assert ("ingest 3 s, train 6 min;" in said) == ran
        assert ("data listed" in said) == ran
    page.close()


def test_says_how_runs_differ_and_how_far_probabilities_are_off(usual: str) -> None:
    assert "The worst run&#39;s UAR is 0.250, the best run&#39;s 0.750" in usual
    assert "Expected calibration error 0.120 ±0.010 (15 bins)" in usual
    assert "underconfident by 0.030" in usual


def test_each_subject_stands_with_their_scores(usual: str) -> None:
    assert '<td class="n">0.250</td><td class="n">0.500</td>' in usual
    assert "no prediction" in usual
    assert "1 (4 frames)" in usual
    assert "Not in the table: 3 test clips without a subject" in usual


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


def test_mistakes_are_shown_with_their_faces(usual: str) -> None:
    # the other mistake's clip has no face to show
    assert usual.count('<figure class="mistake">') == 1
    assert (
        "labeled <b>joy</b> (probability 0.12), predicted <b>&lt;b&gt;calm&lt;/b&gt;</b>" in usual
    )
    assert "1 of 2 networks wrong" in usual


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


def test_outs_of_an_earlier_version_are_one_clear_line(tmp_path: Path) -> None:
    write_outputs(tmp_path)
    path = tmp_path / "reports/evaluation.json"
    older = json.loads(path.read_text())
    del older["training"], older["ensemble"], older["views"]
    path.write_text(json.dumps(older))
    with pytest.raises(UserError, match=r"has no ensemble, training, views: .*run `dvc repro`"):
        gather(Params(), tmp_path)


def test_plots_are_images_that_need_no_network(tmp_path: Path) -> None:
    write_outputs(tmp_path)
    results = gather(Params(), tmp_path)
    # a class may be called so, and is no formula
    classes = ["$a$_", EVIL]
    results = replace(results, manifest=replace(results.manifest, classes=classes))
    plots = still_plots(results)
    assert set(plots) == {
        "confusion.svg", "loss.svg", "val_uar.svg", "reliability.svg", "subjects.svg",
        "attention.svg", "occlusion.svg",
    }  # fmt: skip
    for text in plots.values():
        ElementTree.fromstring(text)
        assert not re.findall(r'(?:src|href)="(?!data:|#)', text)
    assert "$a$_" in plots["confusion.svg"]
    assert plots == still_plots(results)


def test_charts_are_well_formed_and_repeat() -> None:
    curves = {"a": Curve([0, 1], [2.0, 1.0], [2.1, 1.2], [0.1, 0.6])}
    for draw in (
        lambda: curves_charts(curves),
        lambda: [reliability_chart(BINS)],
        lambda: [reliability_chart([])],
    ):
        texts = draw()
        for text in texts:
            assert ElementTree.fromstring(text).tag.endswith("svg")
        assert draw() == texts


def test_pose_and_size_with_what_was_masked(usual: str) -> None:
    section = usual.split('<h2 id="pose">')[1].split("<h2")[0]
    assert "count 12 frames with a face" in section
    assert "Masked: 3 frames (align.min_face_px)." in section
    assert section.count("<svg") == 2
    assert "Yaw to either side not known: 1 test clip." in section
    assert '<td>0 to 10°</td><td class="n">12</td><td class="n">3</td>' in section
    assert section.count("too few") == 2
    assert "<td>45° and more</td>" in section


def test_a_clone_without_the_stages_outputs_says_so(tmp_path: Path) -> None:
    write_outputs(tmp_path)
    path = tmp_path / "reports/evaluation.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"views": None}))
    assert "Not known: the outputs of the stages" in render(gather(Params(), tmp_path))
