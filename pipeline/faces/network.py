"""A face network in ONNX Runtime that takes pictures in batches, where its graph can.

B images, S pixels.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from pipeline.faces.blob import normalisation
from pipeline.faces.packs import ModelSpec
from pipeline.faces.sessions import Device, batchable, make_session

Images = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]


class ImageNetwork:
    """One input, a square RGB picture; any outputs, the first axis of each counting pictures.

    Args:
        spec: the network and how to feed it.
        batch: the most pictures at once; 1 where the graph allows no more.
        extra_outputs: internal tensors that `run` may ask for.

    Raises:
        UserError: the graph cannot be loaded, or has no such tensor.
    """

    def __init__(
        self,
        spec: ModelSpec,
        *,
        batch: int,
        device: Device = "cpu",
        threads: int = 1,
        extra_outputs: Sequence[str] = (),
    ) -> None:
        self._session = make_session(
            spec.path, threads=threads, device=device, extra_outputs=extra_outputs
        )
        self._input = self._session.get_inputs()[0].name
        self._normalisation = normalisation(spec)
        self._px = spec.input_px
        self.output = self._session.get_outputs()[0].name
        self.batch = batch if batch > 1 and self._takes_batches() else 1

    def run(self, images: Images, outputs: Sequence[str]) -> list[Floats]:
        """The named tensors for pictures uint8 [B, S, S, 3], RGB; each float32 [B, ...]."""
        parts = [
            self._forward(images[start : start + self.batch], outputs)
            for start in range(0, len(images), self.batch)
        ]
        return [np.concatenate(tensors) for tensors in zip(*parts, strict=True)]

    def _forward(self, images: Images, outputs: Sequence[str]) -> list[Floats]:
        blob = self._normalisation.blob(images)
        found = self._session.run(list(outputs), {self._input: blob})
        return [tensor.reshape(len(images), -1, *tensor.shape[2:]) for tensor in found]

    def _takes_batches(self) -> bool:
        """Whether two pictures at once give what they give one by one.

        A dynamic first axis is a promise only: some of InsightFace's published graphs reshape to
        a single row further down (deepinsight/insightface#2878) and fail or mix pictures up.
        """
        if not batchable(self._session):
            return False
        ramp = np.arange(self._px * self._px * 3, dtype=np.uint32).reshape(1, self._px, self._px, 3)
        pair = np.concatenate([ramp * 7 % 251, ramp * 11 % 241]).astype(np.uint8)
        single = [self._forward(pair[i : i + 1], [self.output])[0] for i in range(2)]
        try:
            together = self._forward(pair, [self.output])[0]
        except Exception:  # the runtime's exceptions share no base of their own
            return False
        return np.allclose(together, np.concatenate(single), rtol=1e-3, atol=1e-3)
