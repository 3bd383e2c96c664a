"""Classes of single frames, for data sets that label videos frame by frame (Aff-Wild2 and kin)."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.datasets.label_files import text_of
from arpgnet.pipeline.datasets.spelling import quoted
from arpgnet.pipeline.tables.manifest import FRAME_LABELS_SCHEMA, Clip

# how a frame without a class may be written
NOTHING = frozenset({"", "-1"})
# what the first line of a table is called
_HEADERS = frozenset(
    {"label", "labels", "emotion", "expression", "class", "category", "frame_label", "frame_labels"}
)
# more classes than people can tell apart: numbers, or lines of a table
_MOST_CLASSES = 200
# a frame that the data set's authors left out
LEFT_OUT = -1


@dataclass(frozen=True)
class FrameNames:
    """The class of every frame of a video, from its first frame on.

    `codes` (int16 [frames]) are places in `names`, -1 for a frame that has no class.
    """

    names: tuple[str, ...]
    codes: np.ndarray

    def classes(self) -> frozenset[str]:
        """The class names that occur."""
        return frozenset(self.names[code] for code in np.unique(self.codes) if code >= 0)

    def count(self, name: str) -> int:
        """Count the frames of a class."""
        return int((self.codes == self.names.index(name)).sum()) if name in self.names else 0

    def labels(self, classes: Sequence[str]) -> np.ndarray:
        """Return int32 [frames]: each frame's index in `classes`, or -1."""
        place = [classes.index(name) if name in classes else LEFT_OUT for name in self.names]
        labels: np.ndarray = np.array([*place, LEFT_OUT], np.int32)[self.codes]
        return labels

    def digest(self) -> str:
        text = "\n".join(self.names).encode()
        return hashlib.sha256(text + b"\0" + self.codes.astype("<i2").tobytes()).hexdigest()


def classes_shown(
    clips: Sequence[Clip], frames: Mapping[str, FrameNames] | None = None
) -> list[frozenset[str]]:
    """Return each clip's classes: its label, or those of its frames."""
    if frames:
        return [frames[clip.clip_id].classes() for clip in clips]
    return [frozenset({clip.label} if clip.label else ()) for clip in clips]


def read_frame_names(path: Path) -> FrameNames:
    """Read a text file with one class name per line, the first line for the video's first frame.

    An empty line or -1 is a frame without a class. Names may be in double quotes.

    Raises:
        UserError: the file is absent, not UTF-8, has several columns or a header, or names no
            class at all.
    """
    try:
        lines = [_unquoted(line.strip()) for line in text_of(path).splitlines()]
    except OSError:
        raise UserError(f"no file with frame labels at {path.name}") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path.name} is not UTF-8 (byte {error.start})") from None
    _refuse_table(lines, path)
    names = tuple(sorted(set(lines) - NOTHING))
    if not names:
        raise UserError(
            f"{path.name} has no class names: it needs one name per line, one line per frame"
        )
    place = {name: code for code, name in enumerate(names)}
    return FrameNames(names, np.array([place.get(line, LEFT_OUT) for line in lines], np.int16))


def _unquoted(line: str) -> str:
    quotes = len(line) > 1 and line[0] == line[-1] == '"'
    return line[1:-1].strip() if quotes else line


def _refuse_table(lines: Sequence[str], path: Path) -> None:
    """Refuse what would make a class of every line, or of a header."""
    rule = "it needs one class name per line, one line per frame, and no header"
    for number, line in enumerate(lines, 1):
        if re.search(r"[,;\t|]", line):
            raise UserError(
                f"line {number} of {path.name} has several columns ({quoted(line[:40])}): {rule}"
            )
    filled = [line for line in lines if line]
    if filled and filled[0].lower() in _HEADERS:
        raise UserError(
            f"line {lines.index(filled[0]) + 1} of {path.name} is a header ({quoted(filled[0])}), "
            f"which would be the class of a frame: {rule}"
        )
    numbered = [re.match(r"\d+\s+\S", line) is not None for line in filled]
    if len(filled) > 1 and all(numbered[1:]):
        raise UserError(
            f"line {len(lines)} of {path.name} has several columns ({quoted(filled[-1][:40])}): "
            f"{rule}"
        )
    found = len(set(lines))
    if found > _MOST_CLASSES:
        raise UserError(
            f"{path.name} has {found} different names in {len(lines)} lines, which cannot be "
            f"classes: {rule}"
        )


def frame_table(frames: Mapping[str, FrameNames], classes: Sequence[str]) -> pa.Table:
    """Build the table of `FRAME_LABELS_SCHEMA`: every frame of the clips, in their order."""
    if not frames:
        return FRAME_LABELS_SCHEMA.empty_table()
    lengths = [len(names.codes) for names in frames.values()]
    place = np.repeat(np.arange(len(frames), dtype=np.int32), lengths)
    clip = pa.DictionaryArray.from_arrays(place, pa.array(list(frames)))
    index = np.concatenate([np.arange(length, dtype=np.int32) for length in lengths])
    label = np.concatenate([names.labels(classes) for names in frames.values()])
    columns = [clip.cast(pa.string()), pa.array(index), pa.array(label)]
    return pa.Table.from_arrays(columns, schema=FRAME_LABELS_SCHEMA)
