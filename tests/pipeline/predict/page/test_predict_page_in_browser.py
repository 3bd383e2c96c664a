"""The page in a real browser, from a file: play, seek by click, keys, and what follows them."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser, Page, expect

from arpgnet.pipeline.geometry.pose import UNKNOWN
from arpgnet.pipeline.predict.display import Display
from arpgnet.pipeline.predict.page.page import Page as Written
from arpgnet.pipeline.predict.rows import Regions, Row, TableHeader
from arpgnet.pipeline.video.stream import plan
from helpers.browser import browser, until, watched  # noqa: F401 - a fixture
from helpers.overlay_videos import CLASSES, film

# 4 s; face 0 turns from anger to happiness at 2 s, face 1 is there in the second half only
FRAMES, STEP_MS = 100, 40
NAMES = ["brow", "mouth"]
WHERE = np.array([[0.5, 0.25], [0.5, 0.75]])


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    video = film(folder / "talk.mkv", times_ms=range(0, FRAMES * STEP_MS, STEP_MS))
    path = folder / "talk.html"
    head = TableHeader("talk & <b>more</b>.mkv", CLASSES, 2)
    made = Written(path, video, plan(video), head, regions=NAMES, model="fold0-seed0")
    for frame in range(FRAMES):
        late = frame >= FRAMES // 2
        values = np.array([0.1, 0.8, 0.1] if late else [0.7, 0.2, 0.1])
        looks = Regions(WHERE, np.array([1.5, 0.7] if late else [0.7, 1.5]))
        time_s = frame * STEP_MS / 1000
        box = np.array([64.0, 36, 192, 180])
        dots = np.array([[100.0, 100], [150, 100]])
        pose = replace(UNKNOWN, angles=np.array([frame - 50.0, 10.0, 0.0]))
        made.add(Row(frame, time_s, 0, box, 0.9, values, 1.0, dots, looks, pose=pose))
        if late:
            other = np.array([0.2, 0.2, 0.6])
            made.add(Row(frame, time_s, 1, box + np.array([320, 0, 320, 0]), 0.8, other, 0.25))
    made.close(True)
    return path


@pytest.fixture
def page(browser: Browser, written: Path) -> Iterator[Page]:  # noqa: F811
    """Open, with the video ready, in a browser without a network."""
    context = browser.new_context(viewport={"width": 1100, "height": 900}, offline=True)
    opened = context.new_page()
    wrong = watched(opened)
    opened.goto(written.as_uri())
    until(opened, "document.getElementById('film').readyState >= 2")
    yield opened
    assert wrong == []
    context.close()


def slider(page: Page, face: int = 0) -> float:
    """The time that a face's timeline shows."""
    line = page.get_by_role("slider", name=f"Timeline of face {face}")
    return float(line.get_attribute("aria-valuenow") or "nan")


def image_of(page: Page, canvas: str) -> str:
    return str(page.evaluate(f"document.getElementById('{canvas}').toDataURL()"))


def click_at(page: Page, share: float, face: int = 0) -> None:
    """On a timeline, so far between its left and its right end."""
    line = page.get_by_role("slider", name=f"Timeline of face {face}")
    box = line.bounding_box()
    assert box
    names, right = (page.evaluate(name) for name in ("NAMES", "NUMBERS"))
    x = names + share * (box["width"] - names - right)
    line.click(position={"x": x, "y": 20})


def test_names_are_shown_as_they_are(page: Page) -> None:
    expect(page.get_by_role("heading", level=1)).to_have_text("talk & <b>more</b>.mkv")
    expect(page.locator("#who")).to_have_text("Face 0: anger")
    assert page.locator("section.face").count() == 2


def test_playing_moves_the_cursors_and_the_numbers(page: Page) -> None:
    page.get_by_role("button", name="Play").click()
    until(page, "state.time > 0.3")
    before = slider(page)
    until(page, f"state.time > {before + 0.2}")
    page.get_by_role("button", name="Pause").click()
    expect(page.get_by_role("button", name="Play")).to_be_visible()
    now = float(page.evaluate("film.currentTime"))
    assert slider(page) == slider(page, 1) == pytest.approx(now, abs=0.05)
    assert f"{slider(page):.2f} s of 4.00 s" in page.locator("#clock").inner_text()


def test_to_its_end(page: Page) -> None:
    page.evaluate("seek(3.8)")
    page.get_by_role("button", name="Play").click()
    until(page, "film.ended")
    assert slider(page) == pytest.approx(4.0, abs=0.05)


def test_a_click_on_a_timeline_seeks_and_everything_follows(page: Page) -> None:
    before = image_of(page, "look")
    click_at(page, 0.75)
    until(page, "!film.seeking")
    assert page.evaluate("film.currentTime") == pytest.approx(3.0, abs=0.05)
    assert slider(page) == slider(page, 1) == pytest.approx(3.0, abs=0.05)
    expect(page.locator("#who")).to_have_text("Face 0: happiness")
    expect(page.locator("#bars tr.best")).to_contain_text("0.800")
    expect(page.locator("#look-words")).to_contain_text("brow (1.50)")
    assert image_of(page, "look") != before
    click_at(page, 0.25)
    expect(page.locator("#who")).to_have_text("Face 0: anger")
    expect(page.locator("#look-words")).to_contain_text("mouth (1.50)")


def test_the_heads_turns_follow(page: Page) -> None:
    click_at(page, 0.75)
    expect(
        page.get_by_role("img", name="Head of face 0: yaw 25°, pitch 10°, roll 0°")
    ).to_be_visible()
    # the other face has none
    expect(page.get_by_role("img", name="Head of face 1")).to_have_count(0)
    page.get_by_role("img", name="Head of face 0").click(position={"x": 100, "y": 20})
    expect(page.get_by_role("img", name="Head of face 0: yaw -5")).to_be_visible()


def test_a_click_on_another_faces_timeline_chooses_it(page: Page) -> None:
    click_at(page, 0.75, face=1)
    expect(page.locator("#who")).to_have_text("Face 1: neutral")
    expect(page.locator("#moment")).to_contain_text("coverage 0.25")
    assert page.get_by_role("button", name="Face 1").get_attribute("aria-pressed") == "true"
    page.evaluate("seek(1)")
    expect(page.locator("#moment")).to_contain_text("not in the image")


def test_a_click_on_a_face_in_the_picture_chooses_it(page: Page) -> None:
    page.evaluate("seek(3)")
    box = page.locator("#boxes").bounding_box()
    assert box
    x, y = (384 + 64) / 640 * box["width"], 108 / 360 * box["height"]
    page.locator("#boxes").click(position={"x": x, "y": y})
    expect(page.locator("#who")).to_have_text("Face 1: neutral")


def test_keys(page: Page) -> None:
    keys = page.keyboard
    page.get_by_role("slider", name="Timeline of face 0").focus()
    for key, frame in (("ArrowRight", 1), ("ArrowRight", 2), ("ArrowLeft", 1), ("End", 99)):
        keys.press(key)
        assert page.evaluate("state.frame") == frame, key
    keys.press("Shift+ArrowLeft")
    assert slider(page) == pytest.approx(2.96, abs=0.03)
    keys.press("1")
    expect(page.locator("#who")).to_have_text("Face 1: neutral")
    keys.press("Home")
    assert page.evaluate("state.frame") == 0
    keys.press("Space")
    until(page, "!film.paused && state.time > 0.1")
    keys.press("Space")
    until(page, "film.paused")


def test_every_control_can_be_reached_with_tab(page: Page) -> None:
    reached = set()
    for _ in range(12):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.id || document.activeElement.tagName"))
    assert {"play", "seek", "speed", "attention", "BUTTON", "CANVAS", "SUMMARY"} <= reached


def test_numbers_on_hover(page: Page) -> None:
    line = page.get_by_role("slider", name="Timeline of face 0")
    line.hover(position={"x": 900, "y": 20})
    expect(page.locator("#tip")).to_contain_text("0.800  happiness")
    page.evaluate("seek(3)")
    page.locator("#look").hover(position={"x": 76, "y": 40})
    expect(page.locator("#tip")).to_contain_text("brow\n1.50 × uniform attention")


def test_attention_can_be_hidden(page: Page) -> None:
    page.evaluate("seek(1)")
    until(page, "!film.seeking")
    shown = image_of(page, "look")
    page.keyboard.press("a")
    hidden = image_of(page, "look")
    assert hidden != shown
    page.locator("#attention").check()
    assert image_of(page, "look") == shown


def test_landmarks_can_be_hidden(page: Page) -> None:
    page.evaluate("seek(1)")
    until(page, "!film.seeking")
    shown = [image_of(page, canvas) for canvas in ("look", "boxes")]
    page.keyboard.press("l")
    hidden = [image_of(page, canvas) for canvas in ("look", "boxes")]
    assert all(one != other for one, other in zip(shown, hidden, strict=True))
    page.locator("#landmarks").check()
    assert [image_of(page, canvas) for canvas in ("look", "boxes")] == shown


@pytest.mark.parametrize("width", [1400, 820, 390, 320])
def test_it_fits_every_width(page: Page, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    until(page, "timelines.every((line) => line.canvas.width > 100)")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    click_at(page, 0.5)
    assert slider(page) == pytest.approx(2.0, abs=0.05)


def test_a_part_of_a_long_video_can_be_seen_alone(browser: Browser, tmp_path: Path) -> None:  # noqa: F811
    video = film(tmp_path / "long.mkv", times_ms=range(0, 40_000, 500))
    path = tmp_path / "long.html"
    made = Written(
        path, video, plan(video), TableHeader("long", CLASSES, 0), regions=[], model="fold0-seed0"
    )
    for frame in range(80):
        values = np.array([0.1, 0.8, 0.1])
        made.add(Row(frame, frame / 2, 0, np.array([0.0, 0, 64, 64]), 0.9, values, 1.0))
    made.close(True)
    page = browser.new_page()
    page.goto(path.as_uri())
    page.get_by_role("button", name="0:10").or_(page.get_by_role("button", name="10 s")).click()
    assert page.evaluate("[view.from, view.span]") == [0, 10]
    click_at(page, 0.5)
    assert slider(page) == pytest.approx(5, abs=0.1)
    page.evaluate("seek(30)")
    assert page.evaluate("view.from") == pytest.approx(29)
    page.get_by_role("button", name="All").click()
    assert page.evaluate("view.span") == pytest.approx(40, abs=0.6)
    expect(page.locator("#look-words")).to_have_text("This network has no attention over regions.")
    page.close()


@pytest.mark.parametrize(
    ("kind", "outputs", "values", "said", "tip"),
    [
        ("action_units", ["au_4", "au_12"], [0.2, 0.75], "AU12", "0.750  AU12 lip corner puller"),
        pytest.param(
            "valence_arousal", ["valence", "arousal"], [-0.5, 0.25],
            "valence -0.50, arousal +0.25", "-0.500  valence", marks=pytest.mark.slow,
        ),
    ],
)  # fmt: skip
def test_other_tasks_have_their_own_scale(
    browser: Browser,  # noqa: F811
    tmp_path: Path,
    kind: str,
    outputs: list[str],
    values: list[float],
    said: str,
    tip: str,
) -> None:
    video = film(tmp_path / "a.mkv", times_ms=[0, 40, 80])
    path = tmp_path / "a.html"
    head = TableHeader("a", outputs, 0, kind=kind)
    made = Written(path, video, plan(video), head, regions=[], model="fold0-seed0")
    for frame in range(3):
        box = np.array([0.0, 0, 64, 64])
        made.add(Row(frame, frame / 25, 0, box, 0.9, np.array(values), 1.0))
    made.close(True)
    page = browser.new_page()
    wrong = watched(page)
    page.goto(path.as_uri())
    expect(page.locator("#who")).to_have_text(f"Face 0: {said}")
    line = page.get_by_role("slider", name="Timeline of face 0")
    assert said in (line.get_attribute("aria-valuetext") or "")
    line.hover(position={"x": 500, "y": 10})
    expect(page.locator("#tip")).to_contain_text(tip)
    bar = page.evaluate("document.querySelector('#bars .bar i').style.marginLeft")
    # from the middle to the left
    assert float(bar.rstrip("%")) == pytest.approx(25 if kind == "valence_arousal" else 0, abs=0.01)
    assert wrong == []
    page.close()


def test_each_further_task_has_its_timeline_and_its_bars(
    browser: Browser,  # noqa: F811
    tmp_path: Path,
) -> None:
    video = film(tmp_path / "a.mkv", times_ms=[0, 40, 80])
    path = tmp_path / "a.html"
    units = Display("action_units", ["au_4", "au_12"], [0.1, 0.8])
    moods = Display("valence_arousal", ["valence", "arousal"])
    head = TableHeader("a", ["anger", "joy"], 0, also=[moods, units])
    made = Written(path, video, plan(video), head, regions=[], model="fold0-seed0")
    further = np.array([-0.5, 0.25, 0.2, 0.75])
    for frame in range(3):
        box = np.array([0.0, 0, 64, 64])
        row = Row(frame, frame / 25, 0, box, 0.9, np.array([0.3, 0.7]), 1.0, further=further)
        made.add(row)
    made.close(True)
    page = browser.new_page()
    wrong = watched(page)
    page.goto(path.as_uri())
    expect(page.locator("#who")).to_have_text("Face 0: joy")
    text = page.locator("main").inner_text()
    assert "2 classes; valence and arousal; action units. An expression" in text
    assert "Valence and arousal: mean: valence -0.50, arousal +0.25" in text
    # by its own threshold: from 0.5 on it would be the other one
    assert "Action units: present: AU4 100 % of its frames" in text
    assert "AU12 lip corner puller ≥ 0.80" in text
    best = page.locator(".bars tr.best th").all_inner_texts()
    assert best == ["joy", "valence", "arousal", "AU4 brow lowerer ≥ 0.10"]
    line = page.get_by_role("slider", name="Timeline of face 0, valence and arousal")
    assert "valence -0.50, arousal +0.25" in (line.get_attribute("aria-valuetext") or "")
    line.hover(position={"x": 500, "y": 10})
    expect(page.locator("#tip")).to_contain_text("-0.500  valence")
    line.click(position={"x": 500, "y": 10})
    assert page.evaluate("state.time") > 0
    # one axis of time for all, below the last one
    heights = page.evaluate("timelines[0].plots.map((plot) => plot.canvas.clientHeight)")
    assert heights == [2 * 22 + 2, 2 * 44 + 2, 2 * 22 + 18]
    assert wrong == []
    page.close()


def test_a_page_that_is_not_laid_out_yet_is_painted_when_it_is(
    browser: Browser,  # noqa: F811
    written: Path,
) -> None:
    around = written.with_name("around.html")
    around.write_text(f"<iframe src='{written.name}' style='display: none'></iframe>")
    opened = browser.new_page()
    wrong = watched(opened)
    opened.goto(around.as_uri())
    frame = opened.frames[1]
    assert frame.evaluate("document.querySelector('#timelines canvas').width") == 0
    opened.locator("iframe").evaluate("it => { it.style = 'width: 900px; height: 800px'; }")
    canvas = frame.locator("#timelines canvas").first
    expect(canvas).not_to_have_js_property("width", 0)
    assert wrong == []
    opened.close()
