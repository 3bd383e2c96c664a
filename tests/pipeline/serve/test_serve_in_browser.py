"""The service's page in a real browser: token, drop, progress, and the result with its player."""

import base64
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, FrameLocator, Page, expect

from helpers.browser import browser, until, watched  # noqa: F401 - a fixture
from helpers.face_videos import film_of_a_face
from helpers.serving import Server, server
from helpers.untrained_run import write_run

SHARP = "<img src=x onerror=window.ran=1><script>window.ran=1<script>.mp4"
# a file as the desktop gives it to a page; events have no other way to carry one
DROP = """([name, encoded, target]) => {
  const bytes = Uint8Array.from(atob(encoded), (sign) => sign.charCodeAt(0));
  const data = new DataTransfer();
  data.items.add(new File([bytes], name, { type: "video/mp4" }));
  for (const kind of ["dragover", "drop"]) {
    const event = new DragEvent(kind, { dataTransfer: data, bubbles: true, cancelable: true });
    document.querySelector(target).dispatchEvent(event);
  }
}"""


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("videos")
    film_of_a_face(folder / "face.mp4", 40)
    film_of_a_face(folder / "many.mp4", 200)
    (folder / "text.mp4").write_text("not a video")
    return folder


@pytest.fixture(scope="module")
def running(videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    settings = {"decode": {"frames": 4}}
    workspace = write_run(tmp_path_factory.mktemp("run"), settings, faces="rendered")
    limits = ("--max-mb", "1", "--root", str(videos))
    with server(workspace, "--host", "0.0.0.0", *limits) as running:
        yield running


@pytest.fixture
def page(browser: Browser, running: Server) -> Iterator[Page]:  # noqa: F811
    """Behind the token."""
    context = browser.new_context(viewport={"width": 1100, "height": 900})
    opened = context.new_page()
    foreign: list[str] = []
    opened.on(
        "request",
        lambda asked: (
            None
            if asked.url.startswith((running.address, "data:", "blob:"))
            else foreign.append(asked.url)
        ),
    )
    opened.goto(running.address)
    enter(opened, running.token or "")
    wrong = watched(opened)
    yield opened
    assert wrong == []
    assert foreign == []
    context.close()


def enter(page: Page, token: str) -> None:
    page.get_by_label("Access token of this service").fill(token)
    page.keyboard.press("Enter")
    expect(page.get_by_text("Choose a video")).to_be_visible()


def result(page: Page) -> FrameLocator:
    until(page, "!!document.getElementById('frame').contentDocument?.getElementById('film')")
    return page.frame_locator("#frame")


def test_a_wrong_token_is_said_and_the_right_one_is_kept_out_of_sight(
    browser: Browser,  # noqa: F811
    running: Server,
) -> None:
    context = browser.new_context()
    page = context.new_page()
    page.goto(running.address)
    page.get_by_label("Access token of this service").fill("not this one, I am afraid")
    page.get_by_role("button", name="Enter").click()
    expect(page.get_by_role("alert")).to_have_text("wrong token")
    expect(page.get_by_text("Choose a video")).to_be_hidden()
    enter(page, running.token or "")
    page.reload()
    expect(page.get_by_text("Choose a video")).to_be_visible()
    assert running.token not in page.url
    stored = page.evaluate("JSON.stringify([sessionStorage, localStorage, document.cookie])")
    assert running.token not in stored
    context.close()


def test_a_dropped_video_shows_its_progress_and_its_page(page: Page, videos: Path) -> None:
    encoded = base64.b64encode((videos / "many.mp4").read_bytes()).decode()
    page.evaluate(DROP, ["many.mp4", encoded, "main"])
    card = page.get_by_role("listitem")
    expect(card).to_contain_text("many.mp4")
    until(page, "0 < document.querySelector('.job.running progress')?.value", 60)
    expect(card.locator(".says")).to_contain_text("of 200 frames")
    expect(card.get_by_role("status")).to_have_text("done", timeout=60_000)
    expect(card).to_contain_text("200 frames, 1 face")
    inside = result(page)
    expect(inside.get_by_role("heading", level=1)).to_have_text("many.mp4")
    inside.get_by_role("button", name="Play").click()
    playing = "document.getElementById('frame').contentDocument.getElementById('film')"
    until(page, f"{playing}.currentTime > 0.2")
    # it is as high as what is in it
    high = "document.getElementById('frame').clientHeight"
    until(page, f"{playing}.ownerDocument.documentElement.scrollHeight <= {high} + 2")
    page.get_by_role("button", name="Close").click()
    expect(page.locator("#frame")).to_be_hidden()


def test_what_the_network_must_not_be_used_for_is_said(page: Page) -> None:
    expect(page.locator("#warning")).to_contain_text("trained on rendered faces only")


def test_with_the_keyboard_alone(page: Page, videos: Path) -> None:
    page.get_by_label("Choose a video").set_input_files(videos / "face.mp4")
    expect(page.get_by_role("status")).to_have_text("done", timeout=60_000)
    result(page)
    reached = []
    page.locator("h1").click()
    for _ in range(12):
        page.keyboard.press("Tab")
        reached.append(
            page.evaluate("document.activeElement.id || document.activeElement.textContent")
        )
    assert reached[:6] == ["format", "landmarks", "overlay", "blur_faces", "file", "path"]
    for word in ("View result", "Open in new tab", "Remove", "close"):
        assert word in reached
    page.get_by_role("button", name="Remove").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("listitem")).to_have_count(0)
    expect(page.locator("#view")).to_be_hidden()
    assert page.evaluate("document.activeElement.id") == "file"


def test_markup_in_a_files_name_is_text(page: Page, videos: Path, tmp_path: Path) -> None:
    video = tmp_path / SHARP
    shutil.copy(videos / "face.mp4", video)
    page.locator("#file").set_input_files(video)
    expect(page.locator(".job .name")).to_have_text(SHARP)
    expect(page.get_by_role("status")).to_have_text("done", timeout=60_000)
    expect(result(page).get_by_role("heading", level=1)).to_have_text(SHARP)
    assert page.locator("main img, main .job script").count() == 0
    for where in ("window", "document.getElementById('frame').contentWindow"):
        assert page.evaluate(f"typeof {where}.ran") == "undefined"
    # nor in what is wrong with it
    (tmp_path / "bad").mkdir()
    bad = tmp_path / "bad" / SHARP
    bad.write_text("not a video")
    page.locator("#file").set_input_files(bad)
    expect(page.locator(".job.failed .name")).to_have_text(SHARP)
    expect(page.locator(".job.failed .says")).to_contain_text("not a video")
    assert page.evaluate("typeof window.ran") == "undefined"


def test_what_is_refused_is_a_line_and_can_be_put_away(page: Page, tmp_path: Path) -> None:
    (tmp_path / "big.mp4").write_bytes(bytes(1_100_000))
    page.locator("#file").set_input_files(tmp_path / "big.mp4")
    card = page.get_by_role("listitem")
    expect(card).to_contain_text("the file has 1.1 MB; the limit is 1 MB")
    card.get_by_role("button", name="Remove").click()
    expect(card).to_have_count(0)


def test_a_path_and_a_reload(page: Page) -> None:
    page.get_by_label("Or the path of a video in the service's folder").fill("face.mp4")
    page.keyboard.press("Enter")
    expect(page.get_by_role("status")).to_have_text("done", timeout=60_000)
    page.reload()
    expect(page.get_by_role("listitem")).to_contain_text("face.mp4")
    expect(result(page).get_by_role("heading", level=1)).to_have_text("face.mp4")


def test_it_says_what_it_is_and_what_becomes_of_a_video(page: Page, running: Server) -> None:
    expect(page.locator("main")).to_contain_text("An expression is not an emotion.")
    expect(page.locator("#fate")).to_contain_text(f"this service, 127.0.0.1:{running.port}")
    expect(page.locator("#fate")).to_contain_text("for 24 h to anyone who has the job's address")
    expect(page.locator("#limits")).to_have_text("Up to 1 MB and 10 min.")


@pytest.mark.parametrize("width", [1400, 390, 320])
def test_it_fits_a_width(page: Page, videos: Path, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    page.locator("#file").set_input_files(videos / "face.mp4")
    expect(page.get_by_role("status")).to_have_text("done", timeout=60_000)
    result(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    inside = "document.getElementById('frame').contentDocument.documentElement"
    until(page, f"{inside}.scrollWidth <= document.getElementById('frame').clientWidth")
