"""Predictions of a trained network as pandas tables."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from os import PathLike
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import numpy as np
import pandas as pd

from arpgnet.pipeline.common.errors import ClipError, UserError
from arpgnet.pipeline.predict.formats import SUFFIX
from arpgnet.pipeline.predict.model import Model
from arpgnet.pipeline.predict.predictor import Done, PredictOptions, Predictor
from arpgnet.pipeline.predict.source import open_model, read_card

Video = str | PathLike[str]


class LoadedModel:
    """A trained network with everything between a video and its probabilities.

    Attributes:
        name: of the run, such as `fold0-seed0`.
        classes: in the order of the columns `p_<class>`; of other tasks the targets, each of which
            has a column.
        kind: the task: `expression`, `action_units`, `intensity` or `valence_arousal`.
        scale: what the values of targets mean; empty of expressions.
        also: the outputs of each further task (`task.also`) by its kind, each with a column as it
            has where that task is the main one.
        thresholds: from which probability on each action unit counts as present, by its name.
    """

    def __init__(self, model: Model) -> None:
        self._predictor = Predictor(model, PredictOptions("parquet"))
        self.name = model.name
        self.classes = model.classes
        self.kind, self.scale, self.also = model.kind, model.scale, model.also
        self.thresholds = model.thresholds

    @property
    def card(self) -> str:
        """Return the model card, in Markdown: data, licenses, protocol, results and limits."""
        return read_card(self._predictor.model)

    def predict(
        self,
        video: Video | np.ndarray,
        *,
        fps: float | None = None,
        faces: Literal["all", "main"] = "all",
        landmarks: bool = False,
        window_s: float | None = None,
    ) -> pd.DataFrame:
        """Return one row per face and frame, with the columns of `arpgnet predict`.

        A frame without a face is a row too, with `success` false and `face_id` -1. A warning says
        when no face was found or the video is damaged; then `attrs["complete"]` is False. Another
        one says when its faces are unlike the training clips: `attrs["domain_percentile"]` is the
        part of held-out clips that is nearer than the median window, `attrs["domain_beyond"]` the
        part of the windows beyond the limit (None where the run does not describe its clips).

        Args:
            video: a file, or frames in RGB, uint8 [T, H, W, 3], for which `fps` is needed.
            fps: frames per second of an array.
            faces: every face, or in each window the one that training would have chosen.
            landmarks: whether to add the columns `x_0`.., `y_0`.., in pixels.
            window_s: a video that is no longer than this is classified as a whole; by default 1.5
                times the median duration of the training clips.

        Raises:
            UserError: the file is absent, or the array is not frames.
            ClipError: the file is not a video that can be read.
        """
        self._predictor.options = PredictOptions(
            "parquet", faces=faces, landmarks=landmarks, window_s=window_s
        )
        with TemporaryDirectory() as folder:
            target = Path(folder) / f"table{SUFFIX['parquet']}"
            done = self._write(video, fps, target)
            frame = pd.read_parquet(target)
        frame.attrs = {
            "model": self.name,
            "classes": self.classes,
            "kind": self.kind,
            "scale": self.scale,
            "complete": done.complete,
            "domain_percentile": done.likeness.percentile,
            "domain_beyond": done.likeness.beyond,
        }
        if done.likeness.warning:
            warnings.warn(f"{_name(video)}: {done.likeness.warning}", stacklevel=2)
        if done.warning:
            warnings.warn(f"{_name(video)}: {done.warning}", stacklevel=2)
        return frame

    def predict_many(
        self,
        videos: Iterable[Video],
        *,
        faces: Literal["all", "main"] = "all",
        landmarks: bool = False,
        window_s: float | None = None,
    ) -> pd.DataFrame:
        """Return the rows of several videos; the column `video` has the paths as they were passed.

        A video that cannot be read is left out with a warning, and the others continue.

        Raises:
            UserError: none could be read.
        """
        tables = []
        for video in videos:
            try:
                one = self.predict(video, faces=faces, landmarks=landmarks, window_s=window_s)
            except (ClipError, UserError) as error:
                warnings.warn(f"{_name(video)}: {error}", stacklevel=2)
                continue
            tables.append(one.assign(video=_name(video)))
        if not tables:
            raise UserError("no video could be read: see the warnings")
        joined = pd.concat(tables, ignore_index=True)
        complete = all(one.attrs["complete"] for one in tables)
        joined.attrs = {
            "model": self.name,
            "classes": self.classes,
            "kind": self.kind,
            "scale": self.scale,
            "complete": complete,
        }
        return joined

    def _write(self, video: Video | np.ndarray, fps: float | None, target: Path) -> Done:
        if isinstance(video, np.ndarray):
            if fps is None:
                raise UserError("frames have no rate of their own: pass fps=25, or another rate")
            return self._predictor.predict_frames(video, fps, target)
        if fps is not None:
            raise UserError("fps is for arrays of frames: a video file has its own times")
        return self._predictor.predict(Path(video), target)


def load(model: Video | None = None, run: str | None = None) -> LoadedModel:
    """Load a trained network.

    A warning says when it was trained on rendered faces only.

    Args:
        model: the folder of a workspace, a folder that `arpgnet publish` wrote, or a Git revision
            of the workspace in the current folder; by default that workspace.
        run: such as `fold0-seed0`; by default the one with the best validation score.

    Raises:
        UserError: there is no such network, or its face pack is not installed.
    """
    network = open_model(None if model is None else str(model), run)
    if network.warning:
        warnings.warn(network.warning, stacklevel=2)
    return LoadedModel(network)


def _name(video: Video | np.ndarray) -> str:
    return "frames" if isinstance(video, np.ndarray) else str(video)
