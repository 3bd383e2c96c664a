"""Which frames are shown together, on clips that are nothing but row numbers."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from arpgnet.pipeline.common.params import TrainParams
from arpgnet.pipeline.training.data import Dataset, Partition
from arpgnet.pipeline.training.features import Features
from arpgnet.pipeline.training.labels import FrameLabels
from arpgnet.pipeline.training.tasks import ClipTask, FrameTask, nearest_valid, segments, windows

lengths = st.lists(st.integers(1, 40), min_size=1, max_size=5)


def made(lengths: list[int], valid: list[bool] | None = None, step: int = 1, **more) -> Dataset:
    rows = sum(lengths)
    none = torch.zeros(rows, 0)
    seen = torch.ones(rows, dtype=torch.bool) if valid is None else torch.tensor(valid)
    return Dataset(
        [f"c{n}" for n in range(len(lengths))],
        np.cumsum([0, *lengths]),
        np.concatenate([step * np.arange(n) for n in lengths]),
        seen.numpy(),
        np.arange(len(lengths)),
        Partition.deal(np.array(lengths)),
        Features(none, none, none, none, none, seen),
        {},
        {},
        "",
        **more,
    )


def everyone(dataset: Dataset) -> np.ndarray:
    return np.arange(len(dataset.clip_ids))


@given(lengths, st.integers(1, 20), st.floats(0, 1, exclude_max=True))
@settings(max_examples=200)
def test_a_frame_of_every_segment_in_order(clips: list[int], frames: int, place: float) -> None:
    dataset = made(clips)
    where = np.full((len(clips), frames), place)
    views = segments(dataset, everyone(dataset), frames, where, nearest_valid(dataset))
    assert views.rows.shape == (len(clips), frames)
    for clip, row in enumerate(views.rows):
        inside = row[row >= 0]
        assert (np.diff(inside) > 0).all()
        assert inside.min() >= dataset.first[clip]
        assert inside.max() < dataset.first[clip + 1]
        assert len(inside) == min(frames, clips[clip])
        if clips[clip] > frames:
            assert (inside - dataset.first[clip]) * frames == pytest.approx(
                (np.arange(frames) + place) * clips[clip], abs=frames
            )


def test_center_of_the_segments() -> None:
    dataset = made([30])
    views = ClipTask(dataset, TrainParams(frames=3)).evaluation(np.array([0]))
    assert views.rows.tolist() == [[5, 15, 25]]


def test_random_places_differ_from_epoch_to_epoch_and_stay_in_their_segments() -> None:
    task = ClipTask(made([30, 30]), TrainParams(frames=3))
    rng = np.random.default_rng(0)
    first, second = (task.training(np.array([0, 1]), rng).rows for _ in range(2))
    assert (first != second).any()
    assert (np.concatenate([first, second]) % 30 // 10 == [0, 1, 2]).all()


def test_a_face_stands_in_for_none_within_its_segment() -> None:
    valid = [True] * 30
    valid[15] = valid[25] = False
    for row in range(20, 30):
        valid[row] = False
    dataset = made([30], valid)
    views = ClipTask(dataset, TrainParams(frames=3)).evaluation(np.array([0]))
    assert views.rows.tolist() == [[5, 14, 25]]  # no face in the last segment: it stays


def test_offsets_are_averaged() -> None:
    dataset = made([30, 12])
    task = ClipTask(dataset, TrainParams(frames=3, offsets=2))
    clips = np.array([1, 0])
    views = task.evaluation(clips)
    assert views.rows.tolist() == [[31, 35, 39], [33, 37, 41], [2, 12, 22], [7, 17, 27]]
    probabilities = np.array([[0.2], [0.4], [0.6], [1.0]])
    assert task.combine(clips, views, probabilities) == pytest.approx(np.array([[0.3], [0.8]]))


@given(lengths, st.integers(1, 20), st.data())
def test_windows_hold_every_frame(clips: list[int], window: int, data: st.DataObject) -> None:
    dataset = made(clips)
    views = windows(dataset, everyone(dataset), window, data.draw(st.integers(1, window)))
    assert sorted(set(views.rows[views.rows >= 0])) == list(range(sum(clips)))
    for clip, row in zip(views.clip, views.rows, strict=True):
        inside = row[row >= 0]
        assert (np.diff(inside) == 1).all()
        assert ((inside >= dataset.first[clip]) & (inside < dataset.first[clip + 1])).all()


def frame_task(valid: list[bool], labels: list[int], step: int = 1, **params: int) -> FrameTask:
    known = FrameLabels(np.arange(len(labels)), np.array(labels))
    dataset = made([len(valid)], valid, step, frame_labels={"c0": known})
    return FrameTask(dataset, TrainParams(**params))


def test_frames_without_label_or_face_teach_nothing() -> None:
    task = frame_task([True, False, True, True], [0, 1, -1, 2], window=2, stride=2)
    views = task.training(np.array([0]), np.random.default_rng(0))
    assert task.labels(views).tolist() == [[0, -1], [-1, 2]]
    assert task.units(np.array([0])).label.tolist() == [0, 1, 2]
    assert task.units(np.array([0])).frame_index.tolist() == [0, 1, 3]


def test_overlapping_windows_are_averaged_and_missing_faces_take_the_nearest() -> None:
    task = frame_task([True, False, False, True, True], [0, 0, 1, 1, 1], window=3, stride=2)
    clips = np.array([0])
    views = task.evaluation(clips)
    assert views.rows.tolist() == [[0, 1, 2], [2, 3, 4]]
    probabilities = np.array([[[0.1], [0.2], [0.3]], [[0.5], [0.7], [0.9]]])
    # frame 1 is nearest to 0; frame 2 to 3
    found = task.combine(clips, views, probabilities)[:, 0]
    assert found == pytest.approx([0.1, 0.1, 0.7, 0.7, 0.9])


def test_frames_between_the_sampled_ones_are_scored_too() -> None:
    task = frame_task([True, True], list(range(9)), step=5, window=2, stride=1)
    probabilities = np.array([[[0.25], [0.75]]])
    found = task.combine(np.array([0]), task.evaluation(np.array([0])), probabilities)[:, 0]
    assert found.tolist() == [0.25] * 3 + [0.75] * 6


def test_a_video_without_a_face_has_no_prediction() -> None:
    task = frame_task([False, False], [0, 1], window=2, stride=1)
    found = task.combine(np.array([0]), task.evaluation(np.array([0])), np.ones((1, 2, 3)))
    assert np.isnan(found).all()
    assert found.shape == (2, 3)
