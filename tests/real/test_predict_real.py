"""Identities of real people who stand side by side, and who change places."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from arpgnet.pipeline.common.params import DecodeParams
from arpgnet.pipeline.decode.clip import sample_frames
from arpgnet.pipeline.predict.model import load_model
from arpgnet.pipeline.predict.predictor import PredictOptions, Predictor
from arpgnet.pipeline.video.frames import decode_jpeg
from helpers.two_people import compose
from helpers.untrained_run import write_run

ACTORS = ("ravdess/01-01-01-01-01-01-01.mp4", "asl/want.mkv")
SIGNERS = ("asl/sister.mkv", "asl/no.mkv")  # of all pairs the most alike to the network


@pytest.fixture(scope="module")
def predictor(tmp_path_factory: pytest.TempPathFactory, assets: Path) -> Predictor:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ARPGNET_MODELS", str(assets / "weights"))
        root = write_run(tmp_path_factory.mktemp("run"), {"faces": {"pack": "open"}})
        out = tmp_path_factory.mktemp("out")
        return Predictor(load_model(root), PredictOptions("parquet", out, window_s=2.0))


def person(path: Path, frames: int) -> list[np.ndarray]:
    """The middle of a clip's images, 240 x 360; to and fro where it is too short."""
    kept = sample_frames(path, DecodeParams(sampling="all"))
    images = [decode_jpeg(frame.jpeg) for frame in kept]
    middle = images[0].shape[1] // 2
    cut = [image[:360, middle - 120 : middle + 120] for image in images]
    there_and_back = [*cut, *cut[-2:0:-1]]
    return [there_and_back[number % len(there_and_back)] for number in range(frames)]


@pytest.mark.parametrize("clips", [ACTORS, SIGNERS], ids=["actors", "signers"])
@pytest.mark.parametrize(
    ("swap", "occluder"), [(False, False), (True, True), (True, False)], ids=["side", "bar", "pass"]
)
def test_two_people_keep_their_identities(
    predictor: Predictor,
    assets: Path,
    tmp_path: Path,
    clips: tuple[str, str],
    swap: bool,
    occluder: bool,
) -> None:
    first, second = (person(assets / "clips" / clip, 120) for clip in clips)
    scene = compose(tmp_path / "two.mp4", (first, second), swap=swap, occluder=occluder)
    done = predictor.predict(scene.path, tmp_path / "two.parquet")
    table = pd.read_parquet(done.path)
    seen = table[table["success"]]
    who = [
        scene.person(frame, (x1 + x2) / 2)
        for frame, x1, x2 in zip(seen["frame"], seen["x1"], seen["x2"], strict=True)
    ]
    clear = ~scene.hidden[seen["frame"]]
    pairs = set(zip(np.array(who)[clear], seen["face_id"][clear], strict=True))
    assert len(pairs) == 2, pairs
    assert len({face for _, face in pairs}) == 2
    shown = np.bincount(np.array(who)[clear])
    assert shown.min() >= (0.4 if swap else 0.95) * 120
