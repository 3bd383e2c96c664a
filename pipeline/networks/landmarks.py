"""The landmark network: 106, 98 or 68 points of a face."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from arpgnet.pipeline.common.errors import UserError
from arpgnet.pipeline.geometry.alignment import CONTEXT_PX, CONTEXT_SCALE, apply, square_matrix
from arpgnet.pipeline.geometry.landmark_schemes import SCHEMES
from arpgnet.pipeline.networks.image_network import GraphNetwork
from arpgnet.pipeline.networks.packs import ModelSpec
from arpgnet.pipeline.networks.sessions import CPU, CUDA, Device, choose_provider

# Side of the square around the box that the network sees, as a fraction of the box's longer side.
# PFLD's tight square, checked on 75 frames of 6 people: with 1.0 it differs from itself on the
# mirrored image by 5.0 % of the eye distance (1.2: 6.2 %), from the detector's keypoints by
# 5.0 % (1.2: 4.6 %, 1.3: 6.2 %)
BOX_SCALE = {"2d106": 1.5, "68": 1.5, "pfld98": 1.0}
# images at a time: on a CPU, PFLD takes 2.6 ms per image by 4 and 3.1 ms by 16 (one core)
BATCH = {CPU: 4, CUDA: 32}

Points = npt.NDArray[np.float32]


class LandmarkNetwork:
    """A pack's landmark network, ready to run.

    Raises:
        UserError: the graph cannot be loaded.
    """

    def __init__(self, spec: ModelSpec, *, device: Device = "cpu", threads: int = 1) -> None:
        self.scheme = SCHEMES[spec.scheme]
        self._spec = spec
        self._network = GraphNetwork(
            spec, batch=BATCH[choose_provider(device)], device=device, threads=threads
        )

    def locate(self, contexts: npt.NDArray[np.uint8], boxes: npt.NDArray[np.floating]) -> Points:
        """Return landmarks in image pixels, float32 [T, P, 2].

        Args:
            contexts: what `alignment.context` cut out of T RGB images, uint8 [T, 192, 192, 3].
            boxes: the faces, [T, 4] x1 y1 x2 y2 in image pixels.

        Raises:
            UserError: the network does not give the scheme's number of points.
        """
        output = self._network.run(self._inputs(contexts))[0]
        width = output[0].size
        if width != 2 * self.scheme.points:
            raise UserError(
                f"{self._spec.path.name} is not a {self._spec.kind} network: it gives {width} "
                f"numbers per face, expected {2 * self.scheme.points}; correct "
                "models.landmark in pack.yaml"
            )
        side, scale = self._spec.input_px, BOX_SCALE[self._spec.kind]
        points: npt.NDArray[Any] = output.reshape(len(contexts), -1, 2)
        # PFLD counts from 0 to 1 across its input, the others from -1 to 1
        points = points * side if self._spec.kind == "pfld98" else (points + 1) * (side // 2)
        found = [
            apply(cv2.invertAffineTransform(square_matrix(box, side, scale)), face)
            for box, face in zip(boxes, points, strict=True)
        ]
        return np.stack(found)

    def _inputs(self, contexts: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """Return the middle of each context that the network sees, uint8 [T, S, S, 3]."""
        side, scale = self._spec.input_px, BOX_SCALE[self._spec.kind]
        if (side, scale) == (CONTEXT_PX, CONTEXT_SCALE):
            return contexts
        zoom = side / CONTEXT_PX * CONTEXT_SCALE / scale
        shift = side / 2 - zoom * CONTEXT_PX / 2
        matrix = np.array([[zoom, 0.0, shift], [0.0, zoom, shift]])
        return np.stack([cv2.warpAffine(image, matrix, (side, side)) for image in contexts])
