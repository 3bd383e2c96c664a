"""The data set's own 68 points in place of a network's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from arpgnet.pipeline.common.errors import ClipError
from arpgnet.pipeline.decode.clip import FRAMES_SCHEMA
from arpgnet.pipeline.geometry.alignment import apply
from arpgnet.pipeline.landmark.provided import ProvidedLandmarkClip
from arpgnet.pipeline.tables.manifest import Clip
from arpgnet.pipeline.tables.shards import ShardReader, to_numpy
from helpers.faces_tables import MATRIX, write_tables
from helpers.outputs import OutputWriter
from helpers.synthetic_face import face_points

CLIP = Clip("c", "c", "", image_sequence=True, landmarks="points")


@pytest.fixture
def work(tmp_path: Path) -> ProvidedLandmarkClip:
    """Three frames with points and one without; in the second no face was placed."""
    write_tables(tmp_path, {"c": [True, False, True, True], "bad": []})
    rows = ShardReader(tmp_path / "frames").read("c").to_pydict()
    given = [face_points("68") + shift for shift in (0.0, 1.0, 2.0)]
    rows["points"] = [*(points.ravel().tolist() for points in given), None]
    with OutputWriter(tmp_path / "given", FRAMES_SCHEMA, {}) as writer:
        writer.add("c", "0" * 64, [pa.table(rows, schema=FRAMES_SCHEMA)])
    return ProvidedLandmarkClip(tmp_path / "given", tmp_path / "faces")


def test_points_are_those_given_and_their_place_in_the_crop(work: ProvidedLandmarkClip) -> None:
    table = pa.concat_tables(work.run(CLIP))
    assert table.column("frame_index").to_pylist() == [0, 3, 6, 9]
    assert table.column("valid").to_pylist() == [True, False, True, False]
    in_image = to_numpy(table.column("points_image"), (68, 2))
    in_crop = to_numpy(table.column("points_crop"), (68, 2))
    for row, shift in ((0, 0.0), (2, 2.0)):
        np.testing.assert_array_equal(in_image[row], face_points("68") + shift)
        np.testing.assert_array_equal(in_crop[row], apply(MATRIX, in_image[row]))
    assert not in_image[[1, 3]].any()
    assert not in_crop[[1, 3]].any()


def test_metadata_name_the_scheme_and_no_network(work: ProvidedLandmarkClip) -> None:
    assert work.metadata() == {"scheme": "68", "N": 68, "model_sha256": None}


def test_a_clip_that_has_none_says_what_to_set(work: ProvidedLandmarkClip) -> None:
    with pytest.raises(ClipError, match=r"provides no landmarks: set faces\.landmarks=pack"):
        list(work.run(Clip("c", "c.avi", "")))


def test_what_failed_before_stays_so(work: ProvidedLandmarkClip) -> None:
    assert work.upstream_failure(CLIP) is None
    assert work.upstream_failure(Clip("bad", "bad", "")) == "cannot be decoded"
