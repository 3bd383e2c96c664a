"""Data sets in their true layout, of rendered faces: a few people, each class once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path

import av
import cv2
import numpy as np

from arpgnet.pipeline.datasets.adapters import afew, affwild2, ckplus, ravdess, rml
from arpgnet.pipeline.demo import RenderedFrame, render_clip
from arpgnet.pipeline.demo.dataset import encode
from arpgnet.pipeline.geometry.alignment import CROP_PX, similarity
from arpgnet.pipeline.geometry.landmark_schemes import SCHEMES
from arpgnet.pipeline.video.frames import encode_jpeg
from helpers.dataset_trees import text

SIDE = 160
# rendered so many a second, and shown faster: 7 to 14 frames hold a whole expression
RENDERED_FPS = 6.0
SUBJECTS = range(8)
# what a class is rendered as where the renderer has none of its name
SHOWN_AS = {"calm": "neutral", "other": "contempt"}
CK_PERSON = "S{:03d}".format

RML_SPEAKERS = [f"rml-{1 if number < 6 else 2}/s{number}" for number in range(1, 9)]
AFEW_PEOPLE = {"train": range(4), "val": range(4, 6)}
AFEW_WITHOUT_FACES, AFEW_WITHOUT_FACE = "Train_AFEW/Angry/000000000", "Val_AFEW/Fear/999999999"
CK_PEOPLE, ACTORS = range(4), range(4, 7)
TWO_PEOPLE = "10-60-1280x720"


@cache
def take(subject: int, label: str) -> list[RenderedFrame]:
    """A person's clip of a class."""
    seed = subject + 100 * (label in SHOWN_AS)
    shown = SHOWN_AS.get(label, label)
    return render_clip(subject, shown, seed, frame_px=SIDE, fps=RENDERED_FPS)


def write_rml(root: Path) -> Path:
    """8 speakers, 6 classes; the second speaker has a folder a language."""
    for subject, speaker in zip(SUBJECTS, RML_SPEAKERS, strict=True):
        for number, (letters, label) in enumerate(rml.CLASSES.items(), 1):
            language = ("English/" if number % 2 else "Mandarin/") if subject == 1 else ""
            avi(root / speaker / f"{language}{letters}{number}.avi", take(subject, label))
    return root


def write_afew(root: Path) -> Path:
    """Videos and their faces, cut out at 128 pixels; a clip of Train has no faces there, and one
    more clip of Val shows a pattern."""
    for split, people in AFEW_PEOPLE.items():
        place = root / afew.SPLITS[split][0]
        for subject in people:
            for number, (folder, label) in enumerate(afew.CLASSES.items()):
                # names are a film and a time; one stands in both parts
                video = place / folder / f"{subject % 4:03d}{number:06d}.avi"
                avi(video, take(subject, label))
                if video != root / f"{AFEW_WITHOUT_FACES}.avi":
                    crops = place / afew.FACES[split] / video.stem
                    write_crops(crops, take(subject, label), range(12, 99, 3), 128, "{:03d}.jpg")
    pattern = np.kron(np.indices((8, 8)).sum(axis=0) % 2 * 200, np.ones((20, 20))).astype(np.uint8)
    _write_avi(root / f"{AFEW_WITHOUT_FACE}.avi", [np.stack([pattern] * 3, axis=-1)] * 8)
    return root


def write_affwild2(root: Path) -> int:
    """Crops with gaps, numbers from 1, and labels per frame; returns how many of Validation_Set are
    labeled.

    A video shows all 8 classes one behind the other. Of two people one's files are named `_right`.
    """
    names = list(affwild2.CLASSES)
    head = "Neutral,Anger,Disgust,Fear,Happiness,Sadness,Surprise,Other"
    videos = {
        "Train_Set": ["1-30-1280x720", "2-30-640x360", "video3", "4-30-1920x1080"],
        "Validation_Set": ["video5", TWO_PEOPLE, f"{TWO_PEOPLE}_right"],
    }
    labeled = subject = 0
    for part, stems in videos.items():
        for stem in stems:
            frames = [(name, frame) for name in names for frame in take(subject, name)]
            subject += 1
            # no face in every seventh frame, and in the last ones; labels go on without an image
            numbers = [n for n in range(1, len(frames) - 1) if n % 7]
            write_crops(
                root / "cropped_aligned" / stem,
                [frames[number - 1][1] for number in numbers],
                numbers,
                CROP_PX,
                "{:05d}.jpg",
            )
            codes = [
                -1 if n % 10 == 3 else names.index(label) for n, (label, _) in enumerate(frames)
            ]
            labels = "\n".join([head, *map(str, codes)])
            text(root / f"Annotations/EXPR_Classification_Challenge/{part}/{stem}.txt", labels)
            labeled += sum(code >= 0 for code in codes) * (part == "Validation_Set")
    return labeled


def write_ckplus(root: Path) -> Path:
    """Gray images with landmarks; the first sequence of everybody has no emotion."""
    for subject in CK_PEOPLE:
        person = CK_PERSON(10 + subject)
        for number, label in enumerate(["neutral", *ckplus.CLASSES.values()], 1):
            here, frames = f"{person}/{number:03d}", take(subject, label)
            stem = f"{person}_{number:03d}_"
            (root / "cohn-kanade-images" / here).mkdir(parents=True)
            for row, frame in enumerate(frames, 1):
                name = f"{here}/{stem}{row:08d}"
                gray = cv2.cvtColor(frame.image, cv2.COLOR_RGB2GRAY)
                cv2.imwrite(str(root / "cohn-kanade-images" / f"{name}.png"), gray)
                lines = [f"   {x:.7e}   {y:.7e}" for x, y in points_68(frame)]
                text(root / "Landmarks" / f"{name}_landmarks.txt", "\n".join(lines))
            if label != "neutral":
                name = f"{here}/{stem}{len(frames):08d}_emotion.txt"
                text(root / "Emotion" / name, f"   {number - 1:.7e}\n")
    return root


def write_ravdess(root: Path) -> Path:
    """Three actors, all 8 emotions; one performance with and without sound, one sound alone."""
    for actor, subject in enumerate(ACTORS, 1):
        folder = root / f"Actor_{actor:02d}"
        folder.mkdir(parents=True)
        for code, label in ravdess.CLASSES.items():
            video = encode(take(subject, label), 25.0, 18)
            (folder / f"02-01-{code}-01-01-01-{actor:02d}.mp4").write_bytes(video)
    (root / "Actor_01/01-01-03-01-01-01-01.mp4").write_bytes(encode(take(4, "happiness"), 25.0, 20))
    (root / "Actor_01/03-01-03-01-01-01-01.wav").write_bytes(b"RIFF")
    return root


def points_68(frame: RenderedFrame) -> np.ndarray:
    """The renderer's 106 points in the 68-point scheme, [68, 2] in pixels."""
    points = np.full((68, 2), np.nan)
    source, target = SCHEMES["106"], SCHEMES["68"]
    for name, sides in target.sides.items():
        for left, right in zip(sides, source.sides[name], strict=True):
            points[list(left)] = frame.landmarks[_thinned(name, right)]
    for name, row in target.rows.items():
        points[list(row)] = frame.landmarks[_thinned(name, source.rows[name])]
    for name, row in target.midline.items():
        points[list(row)] = frame.landmarks[list(source.midline[name])]
    return points


def _thinned(name: str, indices: Sequence[int]) -> list[int]:
    """The points of a part of the 106 that the 68 have too."""
    if name == "contour":
        return list(indices[::2])
    if name == "eye":
        return [indices[place] for place in (0, 1, 3, 4, 5, 7)]
    return list(indices[-1:]) if name == "nostril" else list(indices)


def write_crops(
    folder: Path, frames: Sequence[RenderedFrame], numbers: Iterable[int], side: int, name: str
) -> None:
    """Faces cut out as the network wants them, larger or not."""
    folder.mkdir(parents=True)
    for frame, number in zip(frames, numbers, strict=False):
        matrix = similarity(frame.keypoints)
        assert matrix is not None
        crop = cv2.warpAffine(frame.image, matrix * (side / CROP_PX), (side, side))
        (folder / name.format(number)).write_bytes(encode_jpeg(np.asarray(crop, np.uint8), 95))


def avi(path: Path, frames: Sequence[RenderedFrame]) -> Path:
    """A video at 25 frames a second; the same frames give the same bytes."""
    return _write_avi(path, [frame.image for frame in frames])


def _write_avi(path: Path, images: Sequence[np.ndarray]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        stream.codec_context.thread_count = 1
        stream.codec_context.qmin = stream.codec_context.qmax = 3
        for image in images:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))
    return path
