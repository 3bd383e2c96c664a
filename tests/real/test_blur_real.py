"""`--blur-faces` on real people: nobody is found or recognized in what is shown."""

import base64
import re
from dataclasses import replace
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from arpgnet.pipeline.geometry.alignment import similarity, warp
from arpgnet.pipeline.geometry.tracks import iou
from arpgnet.pipeline.networks.appearance import AppearanceNetwork
from arpgnet.pipeline.networks.detector import Detector, make_detector
from arpgnet.pipeline.networks.packs import Pack
from arpgnet.pipeline.predict.model import load_model
from arpgnet.pipeline.predict.predictor import PredictOptions, Predictor
from arpgnet.pipeline.store import file_sha256
from helpers.untrained_run import write_run

# a signer at a distance, whose hands hide the face at times; one in motion; a face close up
CLIPS = ("asl/want.mkv", "asl/help.mkv", "ravdess/01-01-01-01-01-01-01.mp4")


@pytest.fixture(scope="module")
def predictor(tmp_path_factory: pytest.TempPathFactory, assets: Path) -> Predictor:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ARPGNET_MODELS", str(assets / "weights"))
        root = write_run(tmp_path_factory.mktemp("run"), {"faces": {"pack": "open"}})
        options = PredictOptions(window_s=5.0, overlay=True, page=True, blur_faces=True)
        return Predictor(load_model(root), options)


def frames_of(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def detectors(assets: Path, pack: Pack) -> dict[str, Detector]:
    """YuNet, by which faces are blurred, and SCRFD, which has no part in it."""
    path = assets / "weights/insightface/scrfd_2.5g_bnkps.onnx"
    scrfd = replace(
        pack.models["detector"], path=path, sha256=file_sha256(path), kind="scrfd", input_px=640
    )
    specs = {"yunet": pack.models["detector"], "scrfd": scrfd}
    return {
        name: make_detector(spec, det_px=None, thresh=0.5, device="cpu")
        for name, spec in specs.items()
    }


@pytest.mark.parametrize("clip", CLIPS)
def test_nobody_is_found_or_recognized(
    predictor: Predictor, assets: Path, pack: Pack, tmp_path: Path, clip: str
) -> None:
    video = assets / "clips" / clip
    predictor.predict(video, tmp_path / "a.csv")
    found = re.search(r'id="film-bytes">([^<]*)<', (tmp_path / "a.html").read_text("utf-8"))
    assert found
    (tmp_path / "page.mp4").write_bytes(base64.b64decode(found[1]))
    network = AppearanceNetwork(pack.models["embedding"], batch=1)
    finds = detectors(assets, pack)
    source = frames_of(video)
    height, width = source[0].shape[:2]

    def described(image: np.ndarray, points: np.ndarray) -> np.ndarray:
        matrix = similarity(points)
        assert matrix is not None
        vector = network.describe(warp(image, matrix)[None])[0][0]
        return np.asarray(vector / np.linalg.norm(vector))

    for name in ("page.mp4", "a.overlay.mp4"):
        shown = frames_of(tmp_path / name)
        assert len(shown) == len(source)
        for image, other in list(zip(source, shown, strict=True))[::6]:
            # without the strip below the overlay
            above = other[: round(height * other.shape[1] / width)]
            large = np.asarray(cv2.resize(above, (width, height)), np.uint8)
            face = finds["yunet"].detect(image).picked(slice(0, 1))
            assert described(image, face.kps[0]) @ described(large, face.kps[0]) < 0.3
            for detector in finds.values():
                again = detector.detect(large)
                assert not len(again) or iou(face.boxes, again.boxes).max() < 0.3
