"""Which clips are found to be near-duplicates, rightly and wrongly?

Real clips (shared assets: signers, and one actor with the same sentences several times) and
rendered ones are encoded again in the ways that corpora show, and compared with their originals;
and all different clips of one person with each other, as they are and with a common start.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from common import assets_folder, heading, table, write_out

from arpgnet.pipeline.datasets.fingerprint import (
    MAX_DIFFERENCE_SAME,
    MIN_SIMILARITY,
    MIN_SIMILARITY_SAME,
    MIN_SIMILARITY_START,
    START_S,
    STEP_S,
    WHOLE_S,
    ClipStart,
    difference,
    find_near_duplicates,
    least_similarity,
    movement,
    similarity,
    thumbnails,
)
from arpgnet.pipeline.demo import render_dataset

STEPS = round(START_S / STEP_S)
PARTS = ("encoded", "still", "different")


@dataclass(frozen=True)
class Encoding:
    """How a clip is encoded again: FFmpeg filters, codec with options, frame rate."""

    name: str
    filters: tuple[str, ...] = ()
    codec: str = "libx264"
    options: tuple[tuple[str, str], ...] = ()
    rate: int | None = None
    # asked for; the others show where the criterion ends
    core: bool = True


def _crf(value: int) -> tuple[tuple[str, str], ...]:
    return (("crf", str(value)),)


def _quantizer(value: int) -> tuple[tuple[str, str], ...]:
    return (("qmin", str(value)), ("qmax", str(value)))


def _trimmed(pixels: int) -> str:
    return f"crop=iw-{2 * pixels}:ih-{2 * pixels}"


ENCODINGS = (
    Encoding("x264, crf 23"),
    Encoding("x264, crf 32", options=_crf(32)),
    Encoding("x264, crf 40", options=_crf(40)),
    Encoding("MPEG-4, quantizer 12", codec="mpeg4", options=_quantizer(12)),
    Encoding("MPEG-4, quantizer 31 (the coarsest)", codec="mpeg4", options=_quantizer(31)),
    Encoding("half width and height", ("scale=trunc(iw/4)*2:trunc(ih/4)*2",)),
    Encoding("gray", ("hue=s=0",)),
    Encoding("contrast 0.8, brighter by 20", ("lutyuv=y=val*0.8+20",)),
    Encoding("gamma 0.7", ("lutyuv=y=gammaval(0.7)",)),
    Encoding("4 pixels cut off each side", (_trimmed(4),)),
    Encoding("10 frames a second", ("fps=10",), rate=10),
    Encoding("15 frames a second", ("fps=15",), rate=15),
    Encoding("25 frames a second", ("fps=25",), rate=25),
    Encoding("60 frames a second", ("fps=60",), rate=60),
    Encoding(
        "cut by 4 pixels, 320 x 240, gray, 25 fps, crf 34",
        (_trimmed(4), "scale=320:240", "hue=s=0", "fps=25"), options=_crf(34), rate=25,
    ),
    Encoding("8 pixels cut off each side", (_trimmed(8),), core=False),
    Encoding("12 pixels cut off at the left and top", ("crop=iw-12:ih-12:12:12",), core=False),
    Encoding("x264, crf 46", options=_crf(46), core=False),
    Encoding(
        "a quarter of width and height, crf 38",
        ("scale=trunc(iw/8)*2:trunc(ih/8)*2",), options=_crf(38), core=False,
    ),
)  # fmt: skip


def encode(source: Path, target: Path, how: Encoding, *, hold: bool = False) -> None:
    """Encode a video again; with `hold` its first frame for as long."""
    with av.open(str(source)) as given, av.open(str(target), "w") as made:
        stream = given.streams.video[0]
        graph = av.filter.Graph()
        last = graph.add_buffer(template=stream)
        for name, _, setting in (each.partition("=") for each in (*how.filters, "format=yuv420p")):
            node = graph.add(name, setting)
            last.link_to(node)
            last = node
        sink = graph.add("buffersink")
        last.link_to(sink)
        graph.configure()
        rate = Fraction(how.rate or stream.average_rate)
        out: Any = None
        for number, frame in enumerate(_filtered(graph, _frames(given, stream, hold), sink)):
            if out is None:
                out = made.add_stream(how.codec, rate=rate)
                out.width, out.height, out.pix_fmt = frame.width, frame.height, "yuv420p"
                speed = {"preset": "veryfast"} if how.codec == "libx264" else {}
                out.options = speed | dict(how.options)
                out.thread_count = 1
            frame.pts, frame.time_base, frame.pict_type = number, 1 / rate, 0
            made.mux(out.encode(frame))
        made.mux(out.encode(None))


def _frames(container: Any, stream: Any, hold: bool) -> Iterator[Any]:
    held = None
    for frame in container.decode(stream):
        if hold:
            held = frame.to_ndarray(format="yuv420p") if held is None else held
            still = av.VideoFrame.from_ndarray(held, format="yuv420p")
            still.pts, still.time_base = frame.pts, frame.time_base
            yield still
        else:
            yield frame


def _filtered(graph: Any, frames: Iterator[Any], sink: Any) -> Iterator[Any]:
    for frame in itertools.chain(frames, [None]):
        graph.push(frame)
        while True:
            try:
                yield sink.pull()
            except (av.BlockingIOError, av.EOFError):
                break


@dataclass(frozen=True)
class Seen:
    """A clip: who is in it, which performance it is, and its thumbnails."""

    person: str
    performance: str
    images: np.ndarray

    @property
    def start(self) -> ClipStart:
        return ClipStart(round(len(self.images) * STEP_S, 1), self.images[:STEPS])


def look(source: Path, path: Path) -> Seen:
    """Compute what is compared of a file made from `source`."""
    folder, name = source.parent.name, source.stem
    images = thumbnails(path, WHOLE_S)
    if folder == "ravdess":  # the first field says whether there is sound: the images are the same
        return Seen("actor", name[2:], images)
    # several signers, and who is who is not known: all of them as if one person
    return Seen("signers" if folder == "asl" else name[:3], f"{folder}/{name}", images)


def groups(clips: Sequence[Seen]) -> list[int | None]:
    """Call what ingest calls."""
    return find_near_duplicates(
        [clip.start for clip in clips], lambda rows: [clips[row].images for row in rows]
    )


def of_encoding(how: Encoding, sources: Sequence[Path], originals: Sequence[Seen],
                place: Path, *, hold: bool = False) -> list[object]:  # fmt: skip
    """Encode every clip, and count those that are found among all clips."""
    copies = []
    for source in sources:
        target = place / ("copy.mp4" if how.codec == "libx264" else "copy.avi")
        encode(source, target, how, hold=hold)
        copies.append(look(source, target))
    found = groups([*originals, *copies])
    count = len(originals)
    same = [a is not None and a == b for a, b in zip(found[:count], found[count:], strict=True)]
    print(f"{how.name}: {sum(same)} of {count}", file=sys.stderr, flush=True)
    if hold:
        worst = max(difference(movement(a.images), movement(b.images))
                    for a, b in zip(originals, copies, strict=True))  # fmt: skip
        return [how.name, count, sum(same), f"{worst:.3f}"]
    whole = sorted(
        similarity(movement(a.images), movement(b.images))
        for a, b in zip(originals, copies, strict=True)
    )
    start = min(
        similarity(movement(a.start.start), movement(b.start.start))
        for a, b in zip(originals, copies, strict=True)
    )
    mark = "" if how.core else " (beyond)"
    return [how.name + mark, count, sum(same), f"{start:.2f}", f"{whole[0]:.2f}",
            f"{whole[len(whole) // 2]:.2f}"]  # fmt: skip


def black_lead(images: np.ndarray) -> np.ndarray:
    return np.concatenate([np.full((3, *images.shape[1:]), 16, np.uint8), images])


def title(images: np.ndarray) -> np.ndarray:
    card = np.zeros(images.shape[1:], np.uint8)
    card[5:8, 3:13] = 220
    return np.concatenate([np.repeat(card[None], 3, axis=0), images])


def fade_in(images: np.ndarray) -> np.ndarray:
    gain = np.clip((np.arange(len(images)) + 0.5) / 5, 0, 1)[:, None, None]
    return np.round(16 + (images - 16.0) * gain).clip(0, 255).astype(np.uint8)


def held(images: np.ndarray) -> np.ndarray:
    return np.repeat(images[:1], len(images), axis=0)


def black(images: np.ndarray) -> np.ndarray:
    return np.full_like(images, 16)


def as_is(images: np.ndarray) -> np.ndarray:
    return images


COMMON = {
    "as they are": as_is,
    "0.6 s of black before each": black_lead,
    "the same title of 0.6 s before each": title,
    "faded in from black": fade_in,
    "the first 0.2 s held throughout": held,
    "black throughout": black,
}


def of_different(name: str, clips: Sequence[Seen]) -> list[object]:
    """Compare all different clips of each person, cut to one length so that lengths do not help."""
    change = COMMON[name]
    pairs = [
        (a, b)
        for a, b in itertools.combinations(clips, 2)
        if a.person == b.person and a.performance != b.performance
    ]
    merged, start, whole, both = 0, [], [], []
    for a, b in pairs:
        count = min(len(a.images), len(b.images))
        one, other = (
            Seen(each.person, each.performance, change(each.images[:count])) for each in (a, b)
        )
        merged += groups([one, other])[0] is not None
        starts = movement(one.start.start), movement(other.start.start)
        wholes = movement(one.images), movement(other.images)
        start.append(similarity(*starts))
        whole.append(similarity(*wholes))
        # what is decided is that both reach their limits
        least = least_similarity(difference(*wholes))
        both.append(min(start[-1] / MIN_SIMILARITY_START, whole[-1] / least))
    print(f"{name}: {merged} of {len(pairs)}", file=sys.stderr, flush=True)
    return [name, len(pairs), merged, f"{max(start):.2f}", f"{max(whole):.2f}", f"{max(both):.2f}"]


def demo_clips(folder: Path | None, place: Path) -> list[Path]:
    """Render the clips of four people, or take those of a rendered set."""
    if folder is None:
        folder = place / "demo"
        render_dataset(folder, subjects=4, clips_per_class=2, frame_px=256, fps=25.0, seed=0,
                       workers=2, progress=lambda done, total: None)  # fmt: skip
    return sorted(folder.glob("*/s0[0-3]_c[01].mp4"))


def encoded_part(sources: Sequence[Path], originals: Sequence[Seen], place: Path) -> list[str]:
    rows = [of_encoding(how, sources, originals, place) for how in ENCODINGS]
    header = ["encoding", "clips", "found", "lowest, start", "lowest, whole", "median, whole"]
    return ["## One performance, encoded again\n", table(header, rows)]


def still_part(sources: Sequence[Path], place: Path) -> list[str]:
    still = []
    for path in sources:
        encode(path, place / "still.mp4", ENCODINGS[0], hold=True)
        still.append(look(path, place / "still.mp4"))
    rows = [of_encoding(how, sources, still, place, hold=True) for how in ENCODINGS[1:9]]
    title = "## A still shot (the first frame held), encoded again\n"
    return [title, table(["encoding", "clips", "found", "largest difference"], rows)]


def different_part(clips: Sequence[Seen]) -> list[str]:
    rows = [of_different(name, clips) for name in COMMON]
    header = ["clips", "pairs", "merged", "highest, start", "highest, whole", "of both, 1: limit"]
    return ["## Different clips of one person\n", table(header, rows)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--assets", help="folder with clips/; else ARPGNET_ASSETS")
    parser.add_argument("--demo", type=Path, help="rendered set to use instead of a new one")
    parser.add_argument("--every", type=int, default=1, help="encode every n-th clip only")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    clips = assets_folder(args.assets) / "clips"
    with tempfile.TemporaryDirectory(prefix="near_duplicates_") as name:
        place = Path(name)
        sources = [*sorted(clips.glob("*/*.m[kp][4v]")), *demo_clips(args.demo, place)]
        everything = [look(path, path) for path in sources]
        # one of the two files of an actor's performance: the other one would be found for it
        unique = {seen.performance: path for seen, path in zip(everything, sources, strict=True)}
        chosen = list(unique.values())[:: args.every]
        originals = [look(path, path) for path in chosen]
        parts = []
        if "encoded" in args.parts:
            parts += encoded_part(chosen, originals, place)
        if "still" in args.parts:
            parts += still_part(chosen, place)
    if "different" in args.parts:
        parts += different_part(everything)
    limits = (
        f"Limits: similarity of the start {MIN_SIMILARITY_START}, of the whole {MIN_SIMILARITY}; "
        f"where the median images differ by {MAX_DIFFERENCE_SAME} at most, {MIN_SIMILARITY_SAME} "
        "of the whole.\n"
    )
    head = heading("Near-duplicates", ["av", "numpy"], "benchmarks/near_duplicates.py")
    write_out("\n".join([head, limits, *parts]), args.out)


if __name__ == "__main__":
    main()
