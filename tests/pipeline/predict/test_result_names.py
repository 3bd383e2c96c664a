"""Names of results: none is another video's, none too long, none that means something else."""

import os
import unicodedata
from pathlib import Path

import pytest

from arpgnet.pipeline.predict.formats import FORMATS, Format
from arpgnet.pipeline.predict.names import files, targets
from arpgnet.pipeline.predict.predictor import PredictOptions

OUT = Path("out")


def names(*videos: str, form: Format = "csv") -> list[str]:
    options = PredictOptions(form, OUT)
    return [path.name for path in targets([Path(video) for video in videos], options)]


def folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


@pytest.mark.parametrize(
    ("videos", "tables"),
    [
        (["a/talk.mp4", "b/talk.mp4", "talk-2.mp4"], ["talk", "talk-3", "talk-2"]),
        (["talk-2.mp4", "b/talk.mp4", "a/talk.mp4"], ["talk-2", "talk", "talk-3"]),
        (["talk.mp4", "talk.avi", "c/talk.mp4"], ["talk", "talk-2", "talk-3"]),
        # a file system may ignore case, and how an accent is written
        (["Talk.mp4", "talk.mp4"], ["Talk", "talk-2"]),
        (["\u00e9.mp4", "e\u0301.mp4"], ["\u00e9", "e\u0301-2"]),
        (["a:b.mp4", "a-b.mp4"], ["a-b", "a-b-2"]),
        (["camera:0"], ["camera-0"]),
        ([os.fsdecode(b"caf\xe9.mp4"), "caf-xe9.mp4"], ["caf-xe9", "caf-xe9-2"]),
    ],
)
def test_each_video_has_its_own(videos: list[str], tables: list[str]) -> None:
    assert names(*videos) == [f"{name}.csv" for name in tables]


@pytest.mark.parametrize("form", FORMATS)
def test_no_file_of_two_videos_is_the_same(form: Format) -> None:
    stems = ["x", "X", "x-2", "x.page", "x.overlay", "x.openface", "x.pyfeat", "x.html", "\u0130"]
    videos = [Path(f"{folder}/{stem}.mp4") for folder in "ab" for stem in stems]
    options = PredictOptions(form, OUT, overlay=True, page=True)
    made = [path for table in targets(videos, options) for path in files(table, options)]
    assert len({folded(path.name) for path in made}) == len(made) == 4 * len(videos)


def test_formats_do_not_replace_each_other() -> None:
    assert len({names("talk.mp4", form=form)[0] for form in FORMATS}) == len(FORMATS)


@pytest.mark.parametrize("sign", ["L", "\u00e9", "\U0001f600"])
def test_a_long_name_is_shortened_and_stays_its_own(sign: str) -> None:
    stem = sign * (250 // len(sign.encode()))
    videos = [Path(f"{stem}.mp4"), Path(f"{stem[:-1]}x.mp4"), Path(f"b/{stem}.mp4")]
    options = PredictOptions("openface", OUT, overlay=True, page=True)
    tables = targets(videos, options)
    assert targets(videos, options) == tables
    assert len(set(tables)) == 3
    for table in tables:
        for path in files(table, options):
            assert len(f"{path.name}.partial".encode()) <= 255
            assert path.name.startswith(sign * 50)


def test_many_of_one_name() -> None:
    assert len(set(names(*(f"{folder}/v.mp4" for folder in range(20_000))))) == 20_000
