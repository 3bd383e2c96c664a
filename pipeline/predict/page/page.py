"""A video and a table's rows in one HTML file, which needs no network and no other file.

The video is embedded as H.264 of at most `SIDE` pixels, which every browser plays; a longer one
than `MOST_BYTES` allows is written beside the page instead.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
import os
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jinja2
from markupsafe import Markup

from arpgnet.pipeline.common.files import remove, write_whole
from arpgnet.pipeline.common.wording import plural
from arpgnet.pipeline.predict.blur import without_faces
from arpgnet.pipeline.predict.formats import beside
from arpgnet.pipeline.predict.letterbox import Letterbox
from arpgnet.pipeline.predict.overlay.marks import PALETTE
from arpgnet.pipeline.predict.page.columns import Columns
from arpgnet.pipeline.predict.page.words import task_of, words_of
from arpgnet.pipeline.predict.rows import Row, TableHeader
from arpgnet.pipeline.video.encode import Encoder
from arpgnet.pipeline.video.stream import InStep, Plan

SUFFIX = ".html"
# of the video beside the page, or until it is in it
FILM = ".page.mp4"
# pixels of the longer side; about 0.3 Mbit/s
SIDE = 640
# a key frame every second lets a click be answered at once
QUALITY = {"preset": "veryfast", "crf": "26", "force_key_frames": "expr:gte(t,n_forced)"}
# half an hour or so; a browser holds it in memory twice
MOST_BYTES = 64 * 2**20
SCRIPTS = ("state.js", "film.js", "pose.js", "plot.js", "timeline.js", "moment.js")


def page_path(table: Path) -> Path:
    """Beside a table."""
    return beside(table, SUFFIX)


def film_path(page: Path) -> Path:
    """Beside a page."""
    return page.with_name(page.stem + FILM)


class Page:
    """Writes rows to a page, with the interface of `Table`.

    Args:
        path: of the HTML file; one that was there is replaced.
        video: what is shown.
        expected: the frames that the rows speak of.
        head: what holds for all rows.
        regions: the names of the N regions of the network.
        model: the run's name.
        frame_tasks: of every task whether labels of frames were learned, and not of clips.
        blurred: whether the rows say what is blurred.

    Raises:
        Unexpected: the frames are others.
        ClipError: the video has no frames.
        UserError: the file cannot be written.
    """

    def __init__(
        self,
        path: Path,
        video: Path,
        expected: Plan,
        head: TableHeader,
        *,
        regions: Sequence[str],
        model: str,
        frame_tasks: Sequence[bool] = (),
        blurred: bool = False,
    ) -> None:
        self._path, self._head = path, head
        self._regions, self._model = list(regions), model
        self._blurred, self._frame_tasks = blurred, frame_tasks
        self._frames = InStep(video, expected)
        width, height = self._frames.width, self._frames.height
        scale = min(1.0, SIDE / max(width, height))
        # the first image's shape, whatever the stream changes to
        self._canvas = Letterbox(max(2, round(width * scale)), max(2, round(height * scale)))
        sides = self._canvas.width, self._canvas.height
        self._columns = Columns(head, *sides)
        self._film = Encoder(film_path(path), video, *sides, options=QUALITY)
        self._done_s = 0.0

    def add(self, row: Row) -> None:
        """The next row; a frame's image with its first one."""
        before = self._columns.frames
        shown = self._frames.at(row.frame)
        self._columns.add(self._canvas.row(row, *shown.image.shape[1::-1]))
        if self._columns.frames > before:
            self._film.add(shown.time_s, self._canvas.image(without_faces(shown.image, row)))
            self._done_s = shown.time_s

    def close(self, complete: bool) -> None:
        """Write the page of the frames that are there, if any."""
        self._film.close(math.inf if complete else self._done_s)
        if self._film.failed:
            return
        film = film_path(self._path)
        inside = film.stat().st_size <= MOST_BYTES
        try:
            encoded = base64.b64encode(film.read_bytes()).decode() if inside else ""
            text = self._render(encoded, quote(os.fsencode(film.name)), complete)
            write_whole(self._path, text.encode())
        except BaseException:
            # without the page it is of no use
            inside = True
            raise
        finally:
            if inside:
                remove(film)

    def discard(self) -> None:
        """Remove the film."""
        self._film.discard()

    def _render(self, film: str, beside: str, complete: bool) -> str:
        here = files("arpgnet.pipeline.predict.page")
        environment = jinja2.Environment(
            loader=jinja2.PackageLoader("arpgnet.pipeline.predict.page", ""),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
        )
        metadata = self._columns.as_json() | {
            "tasks": [task_of(display) for display in self._head.tasks],
            "regions": self._regions,
            "points": self._head.points,
            "colors": [f"rgb({red},{green},{blue})" for red, green, blue in PALETTE],
        }
        scripts = [(here / name).read_text(encoding="utf-8") for name in SCRIPTS]
        tasks = [words_of(display) for display in self._head.tasks]
        known = zip(tasks, self._frame_tasks, strict=False)
        return environment.get_template("page.html.j2").render(
            video=self._head.video,
            model=self._model,
            words=tasks[0],
            tasks=tasks,
            complete=complete,
            frames=self._columns.frames,
            faces=len(metadata["faces"]),
            plural=plural,
            of_frames=[task["title"] for task, of_frames in known if of_frames],
            window_s=self._head.window_s,
            stride_s=self._head.stride_s,
            warning=self._head.warning,
            blurred=self._blurred,
            landmarks=self._head.points > 0,
            unlike=self._head.likeness.warning if self._head.likeness else "",
            metadata=json_in_html(metadata),
            film=film,
            beside=beside,
            style=Markup((here / "page.css").read_text(encoding="utf-8")),
            scripts=[Markup(text) for text in scripts],
            hashes=" ".join(f"'sha256-{_digest(text)}'" for text in scripts),
        )


def json_in_html(value: Any) -> Markup:
    """For a script element: no text in it can end the element."""
    return Markup(json.dumps(value, ensure_ascii=True).replace("<", "\\u003c"))


def _digest(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
