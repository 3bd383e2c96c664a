"""`finetune.dataset: emotionet`: EmotioNet's manually annotated action units.

    <root>/[labels/]EmotioNet_FACS_aws_2020_24600.csv     URL, URL orig, 'AU 1', ... in quotes
    <root>/**/N_0000000001_00001.jpg                      named as the last part of the URL

0 absent, 1 present, 999 not annotated. The images are downloaded by whoever has the list; the
validation part is carved.

Source of layout and codes: public loaders (names, quotes, 999); the units are those of the 2020
challenge (cbcsl.ece.ohio-state.edu/enc-2020) but 51 to 56, which are positions of the head.
"""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.common.params import FinetuneParams
from arpgnet.pipeline.datasets.clip_targets import read_value, target_name
from arpgnet.pipeline.datasets.label_files import cells_of
from arpgnet.pipeline.datasets.layout import visible_files
from arpgnet.pipeline.stills.stills import IMAGE_SUFFIXES, Listing, Still, stills_root

UNITS = (1, 2, 4, 5, 6, 9, 10, 12, 15, 17, 18, 20, 24, 25, 26, 28, 43)
LIST = "EmotioNet_FACS*.csv"
QUOTES = " \t\"'`"


def list_stills(params: FinetuneParams, workers: int) -> Listing:
    """Return the images that the list names and that are there, with the units it has of `UNITS`.

    Raises:
        UserError: there is no list or several, its header names no image or unit, or a value is
            neither 0, 1 nor a code for none.
    """
    root = stills_root(params)
    path = root if root.is_file() else _list(root, params)
    images = {
        file.name: file
        for file in visible_files(root.parent if root.is_file() else root)
        if file.suffix.lower() in IMAGE_SUFFIXES
    }
    lines = cells_of(path)
    _, header = next(lines, (1, []))
    url, columns = _columns(header, path)
    stills: dict[str, Still] = {}
    left_out: Counter[str] = Counter()
    for number, cells in lines:
        where = f"line {number} of {path.name}"
        if len(cells) < len(header):
            raise UserError(f"{where}: {len(cells)} fields where the header has {len(header)}")
        values = tuple(read_value(name, cells[place], where) for name, place in columns.items())
        name = cells[url].strip(QUOTES).rpartition("/")[2]
        if all(map(math.isnan, values)):
            left_out["without an annotated unit"] += 1
        elif name not in images:
            left_out["named in the list, but not there"] += 1
        elif name in stills:
            left_out["listed a second time"] += 1
        else:
            stills[name] = Still(name, "", path=images[name], units=values)
    if not stills:
        said = "; ".join(f"{count} {reason}" for reason, count in left_out.items())
        raise UserError(
            f"finetune.root: no image of {path.name} is in {params.root} ({said or 'no line'})"
        )
    return Listing(list(stills.values()), list(columns), dict(left_out), units=True)


def _columns(header: list[str], path: Path) -> tuple[int, dict[str, int]]:
    """Return the column of the image's address, and that of each unit by its name."""
    names = [target_name(cell) for cell in header]
    wanted = [f"au_{unit}" for unit in UNITS]
    columns = {name: names.index(name) for name in wanted if name in names}
    urls = [place for place, cell in enumerate(header) if cell.strip(QUOTES).lower() == "url"]
    if not urls or not columns:
        lacks = "column URL" if not urls else "action unit ('AU 1')"
        raise UserError(
            f"line 1 of {path.name} names no {lacks} (found: {', '.join(header[:4])}): see "
            "docs/finetune.md"
        )
    twice = [name for name in columns if names.count(name) > 1]
    if twice:
        raise UserError(f"line 1 of {path.name} names {twice[0]} twice")
    return urls[0], columns


def _list(root: Path, params: FinetuneParams) -> Path:
    found = [*sorted(root.glob(LIST)), *sorted(root.glob(f"labels/{LIST}"))]
    if len(found) == 1:
        return found[0]
    if found:
        several = ", ".join(path.name for path in found)
        raise UserError(f"finetune.root: several lists ({several}): name one of them")
    book = next((path for path in root.rglob("EmotioNet_FACS*.xlsx")), None)
    hint = f": save the sheet of {book.name} as CSV" if book else ""
    raise UserError(f"finetune.root: {params.root} has no list {LIST}{hint}")
