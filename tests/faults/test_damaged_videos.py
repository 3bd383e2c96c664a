"""Videos damaged in 500 ways and more, through the command line.

Each is decoded rightly, as far as it is sound, or quarantined with a reason; none crashes or hangs
the run, and no frame stands in another's place. `make test` takes every tenth way, `make
test-all` all of them.
"""

import os
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from arpgnet.pipeline.tables.manifest import read_manifest
from arpgnet.pipeline.tables.shards import ShardReader
from helpers.damage import Way, all_ways
from helpers.sources import Source, make_sources
from helpers.support import TINY, Workspace
from helpers.truth import Row, Verdict, judge

PATIENCE_S = 1500
# what the user is told
REASONS = (
    "not a video, or its header is damaged", "the file is empty", "no video", "sound only",
    "no frame can be decoded", "damaged within its first", "damaged, and its length is unknown",
    "truncated:", "neither timestamps nor a frame rate", "its codec is unknown", "too large",
    "the file changed while it was read", "no frame between", "took longer than", "worker",
)  # fmt: skip
# the part of all ways in which a damaged image goes unnoticed: no container or codec of these has
# checksums over images, and decoders conceal what they can
MAY_GARBLE = 0.08


@pytest.fixture(scope="module")
def real_assets() -> Path | None:
    beside = Path(__file__).parents[2].parent / "shared" / "assets"
    folder = Path(os.environ.get("ARPGNET_ASSETS", beside))
    return folder if (folder / "clips").is_dir() else None


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory, real_assets: Path | None) -> list[Source]:
    return make_sources(tmp_path_factory.mktemp("sources") / "whole", real_assets)


@pytest.fixture(scope="module", params=["a tenth", pytest.param("all", marks=pytest.mark.slow)])
def ways(request: pytest.FixtureRequest, sources: list[Source]) -> list[Way]:
    every = all_ways(sources)
    if request.param == "a tenth":
        return every[: len(sources)] + every[len(sources) :: 10]
    return every


@pytest.fixture(scope="module")
def judged(
    tmp_path_factory: pytest.TempPathFactory, ways: list[Way], summary: list[str]
) -> Iterator[list[tuple[Way, Verdict]]]:
    """All of them in one data set, through `stages.ingest` and `stages.decode`."""
    root = tmp_path_factory.mktemp("damaged")
    clips = root / "clips"
    clips.mkdir()
    lines = ["path,label"]
    names = []
    for number, way in enumerate(ways):
        name = f"{number:04d}{way.source.suffix}"
        (clips / name).write_bytes(way.data)
        lines.append(f"{name},{'ab'[number % 2]}")
        names.append(name)
    (clips / "clips.csv").write_text("\n".join(lines) + "\n")
    settings = {
        **TINY,
        "dataset.name": "csv",
        "dataset.root": str(clips),
        "dataset.manifest": str(clips / "clips.csv"),
        "dataset.group_by": "clip",
        "decode.sampling": "all",
        "decode.jpeg_quality": 100,
        "engine.max_bad": 1.0,
        "engine.workers": 2,
        "engine.clip_timeout_s": 60.0,
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ARPGNET_STORE", str(root / "store"))
        workspace = Workspace(root / "project", settings)
        for stage in ("ingest", "decode"):
            workspace.run("timeout", str(PATIENCE_S), "python", "-m", f"arpgnet.stages.{stage}")
    manifest = {
        clip.path: clip for clip in read_manifest(workspace.root / "data/manifest.parquet").clips
    }
    frames = ShardReader(workspace.root / "data/frames")
    verdicts = []
    for way, name in zip(ways, names, strict=True):
        entry = frames.entry(manifest[name].clip_id)
        if entry.ok:
            table = frames.read(entry.clip_id, ["frame_index", "time_s", "jpeg"])
            rows = [Row(*values) for values in zip(*table.to_pydict().values(), strict=True)]
            verdicts.append((way, judge(way.source, rows)))
        else:
            verdicts.append((way, Verdict("refused", entry.reason or "")))
    yield verdicts
    summary += _tables(verdicts)


def _tables(verdicts: list[tuple[Way, Verdict]]) -> list[str]:
    outcomes = ("right", "part", "refused", "lost", "retimed", "garbled", "wrong")
    lines = [f"{len(verdicts)} damaged videos", f"{'':14s}" + "".join(f"{o:>9s}" for o in outcomes)]
    for title, key in (
        ("by source", lambda way: way.source.name),
        ("by way", lambda way: way.kind),
    ):
        counts: dict[str, Counter[str]] = defaultdict(Counter)
        for way, verdict in verdicts:
            counts[key(way)][verdict.outcome] += 1
        lines.append(title)
        lines += [
            f"{name:14s}" + "".join(f"{count[outcome] or '':>9}" for outcome in outcomes)
            for name, count in counts.items()
        ]
    return lines


def shown(verdicts: list[tuple[Way, Verdict]], outcome: str) -> list[str]:
    return [
        f"{way.name}: {verdict.detail}" for way, verdict in verdicts if verdict.outcome == outcome
    ]


def test_there_are_500_ways(ways: list[Way], request: pytest.FixtureRequest) -> None:
    assert len(ways) >= (500 if "all" in request.node.name else 40)
    assert len({way.name for way in ways}) == len(ways)


def test_whole_videos_of_every_kind_are_decoded_rightly(
    judged: list[tuple[Way, Verdict]],
) -> None:
    for way, verdict in judged:
        if way.kind == "whole":
            assert verdict.outcome == "right", f"{way.name}: {verdict}"


def test_no_frame_stands_in_another_s_place(judged: list[tuple[Way, Verdict]]) -> None:
    """But in a GIF: it has no index, no count and no times of its own, and where damage joins two
    images to one that is whole by its blocks, nothing tells that one is missing."""
    wrong = shown(judged, "wrong")
    gifs = [line for line in wrong if line.startswith("animated.gif")]
    assert [line for line in wrong if line not in gifs] == []
    assert len(gifs) <= 4


def test_what_is_refused_has_a_reason_a_person_can_read(
    judged: list[tuple[Way, Verdict]],
) -> None:
    for way, verdict in judged:
        if verdict.outcome == "refused":
            assert any(known in verdict.detail for known in REASONS), f"{way.name}: {verdict}"


def test_no_worker_died_or_hung(judged: list[tuple[Way, Verdict]]) -> None:
    fatal = [f"{way.name}: {verdict.detail}" for way, verdict in judged
             if "worker" in verdict.detail or "took longer" in verdict.detail]  # fmt: skip
    assert fatal == []


def test_unnoticed_damage_is_inside_images_and_bounded(
    judged: list[tuple[Way, Verdict]],
) -> None:
    garbled = shown(judged, "garbled")
    assert len(garbled) <= MAY_GARBLE * len(judged), "\n".join(garbled)
    # an image is garbled by damage to it, not by what was done to headers and lengths
    assert len(shown(judged, "lost") + shown(judged, "retimed")) <= 0.02 * len(judged)
