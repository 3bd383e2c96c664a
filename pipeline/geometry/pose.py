"""Head pose of landmarks: yaw, pitch and roll in degrees, and the head's position in millimeters.

The points of a small rigid model of an average face are fitted to the landmarks of the same name
(OpenCV's `solvePnP`), so that the three landmark schemes share one model.

Axes: x to the image's right, y down, z away from the camera, in millimeters; the head's origin is
the midpoint between the eyes. `R = Rz(roll) Rx(-pitch) Ry(-yaw)` takes the head's axes to those of
the line of sight. Signs, as a viewer of the image sees them: yaw > 0 turns the face to the image's
right, pitch > 0 up, roll > 0 clockwise. All are 0 where the face looks into the lens, wherever in
the image it is: that needs no camera. The other two tools state rotations relative to the camera's
axes, see `HeadPose`.

The camera is not known. Its axis is assumed to go through the middle of the image, its focal length
to be the image's longer side (a horizontal angle of view of 53 degrees), or longer where the head
would be nearer than about `NEAREST_MM`, as in a close crop.

Source of the model: written for this project. Widths and heights are rounded means over women and
men of adult anthropometry (Farkas, Anthropometry of the Head and Face, 2nd ed., 1994), such as eye
corners 33 and 90 mm apart, a nose 34 mm wide; depths are estimates. Heights and depths were then
moved by up to 3 mm, so that the landmarks of 29 real clips fit (98 points, mean residuals up to
1.7 mm) and pitch 0 is a head held upright.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

from arpgnet.pipeline.geometry.landmark_schemes import scheme_indices

Floats = NDArray[np.float64]

# x, y, z in millimeters of an adult's face at rest; `{}` is both sides, x mirrored. Only points
# that expressions hardly move, and the chin, without which pitch is uncertain. Mouth corners are
# left out: with them the median error of pitch on rendered expressions is 2.4 degrees, not 1.9.
FACE_MM: dict[str, tuple[float, float, float]] = {
    "eye_outer_{}": (45.0, 0.0, 15.0),
    "eye_inner_{}": (16.5, 1.0, 4.0),
    "nose_bridge": (0.0, 1.0, -9.0),
    "nose_middle": (0.0, 14.0, -16.0),
    "nose_lower": (0.0, 26.0, -22.0),
    "nose_tip": (0.0, 38.0, -29.0),
    "nostril_{}": (14.0, 44.0, -8.0),
    "nose_bottom": (0.0, 47.0, -10.0),
    "chin": (0.0, 111.0, 8.0),
}
# where the line of sight goes: between the eyes and the mouth
MIDDLE_MM = np.array([0.0, 35.0, 0.0])
# of the model, from the eyes to the chin: root of the sum of squares along its longest axis
LENGTH_MM = 109.0
NEAREST_MM = 500.0
# landmarks of which the second principal axis is shorter, relative to the first, lie on a line
FLAT = 0.1
# of them; a rigid shape's pose in perspective needs 4, and 2 more for noise
FEWEST = 6


@dataclass(frozen=True)
class HeadPose:
    """A head's pose; NaN where the points give none.

    Attributes:
        angles: yaw, pitch, roll in degrees, relative to the line of sight.
        rotation: float [3, 3], from the head's axes to the camera's.
        position: float [3], millimeters from the camera to the midpoint between the eyes.
    """

    angles: Floats
    rotation: Floats
    position: Floats

    @property
    def euler(self) -> Floats:
        """Return rx, ry, rz in radians, `rotation = Rx(rx) Ry(ry) Rz(rz)`: OpenFace's convention.

        rx > 0 looks down, ry > 0 to the image's left, rz > 0 tilts clockwise.
        """
        r = self.rotation
        return np.array(
            [
                np.arctan2(-r[1, 2], r[2, 2]),
                np.arcsin(np.clip(r[0, 2], -1.0, 1.0)),
                np.arctan2(-r[0, 1], r[0, 0]),
            ]
        )


UNKNOWN = HeadPose(np.full(3, np.nan), np.full((3, 3), np.nan), np.full(3, np.nan))


@cache
def rigid_points(scheme: str) -> tuple[NDArray[np.intp], Floats]:
    """Return which landmarks of a scheme the model has, int [M], and where, float64 [M, 3]."""
    parts = scheme_indices(scheme)
    parts |= {"nose_middle": parts["nose_bridge"][1:], "nose_lower": parts["nose_bridge"][2:]}
    indices, points = [], []
    for name, (x, y, z) in FACE_MM.items():
        sides = (("left", -1.0), ("right", 1.0)) if "{}" in name else (("", 1.0),)
        for side, sign in sides:
            indices.append(_index(parts[name.format(side)], name))
            points.append((sign * x, y, z))
    return np.array(indices), np.array(points)


def _index(row: tuple[int, ...], name: str) -> int:
    # of a nostril's points the last one is the wing's base
    return row[-1] if name.startswith("nostril") else row[0]


def rotation_of(yaw: float, pitch: float, roll: float) -> Floats:
    """Return the rotation [3, 3] of angles in degrees; see the module's docstring."""
    turn, _ = cv2.Rodrigues(np.radians([0.0, -yaw, 0.0]))
    nod, _ = cv2.Rodrigues(np.radians([-pitch, 0.0, 0.0]))
    tilt, _ = cv2.Rodrigues(np.radians([0.0, 0.0, roll]))
    return np.asarray(tilt @ nod @ turn, dtype=np.float64)


def angles_of(rotation: Floats) -> Floats:
    """Return yaw, pitch, roll in degrees of a rotation [3, 3]: the inverse of `rotation_of`."""
    (_, r01, _), (_, r11, _), (r20, r21, r22) = rotation.tolist()
    sine = min(1.0, max(-1.0, r21))
    return np.degrees([math.atan2(r20, r22), -math.asin(sine), math.atan2(-r01, r11)])


def head_pose(points: NDArray[np.floating], scheme: str, width: float, height: float) -> HeadPose:
    """Fit the model to a face's landmarks [P, 2] in pixels of an image of this size.

    Landmarks that are not finite are left out. Fewer than `FEWEST`, or such as lie on a line or in
    one place, give `UNKNOWN`.
    """
    indices, model = rigid_points(scheme)
    if len(points) < int(scheme):
        return UNKNOWN
    found = points[indices].astype(np.float64)
    if not math.isfinite(float(found.sum())):
        known = np.isfinite(found).all(axis=1)
        found, model = found[known], model[known]
    if len(found) < FEWEST:
        return UNKNOWN
    left, top = (found.sum(axis=0) / len(found)).tolist()
    found -= (left, top)
    length, breadth = _extent(found)
    if not breadth > FLAT * length > 0.0:
        return UNKNOWN
    # from twice as far away through twice the focal length, a head is as large
    focal = max(width, height, NEAREST_MM * length / LENGTH_MM)
    seen = _seen(found, model, focal)
    if seen is None:
        return UNKNOWN
    rotation, position = seen
    x, y, z = rotation @ MIDDLE_MM + position
    to_camera = _toward((left - (width - 1) / 2) / focal, (top - (height - 1) / 2) / focal)
    angles = angles_of(_toward(x / z, y / z).T @ rotation)
    return HeadPose(angles, to_camera @ rotation, to_camera @ position)


def head_angles(
    points: NDArray[np.floating], scheme: str, frame_wh: NDArray[np.integer]
) -> NDArray[np.float32]:
    """Return yaw, pitch and roll of T faces, float32 [T, 3], NaN where there is none.

    Args:
        points: landmarks [T, P, 2], pixels.
        frame_wh: [T, 2], width and height of each image.
    """
    found = [
        head_pose(face, scheme, *sides).angles for face, sides in zip(points, frame_wh, strict=True)
    ]
    return np.array(found, np.float32).reshape(-1, 3)


def within(angles: NDArray[np.floating], max_yaw: float) -> NDArray[np.bool_]:
    """Tell which of T faces, by their angles [T, 3], are turned by at most so many degrees.

    A face whose pose is not known is not.
    """
    return np.asarray(np.abs(angles[:, 0]) <= max_yaw)


def _extent(centered: Floats) -> tuple[float, float]:
    """Return the lengths of points' [M, 2] principal axes: roots of the sums of squares."""
    # in closed form: NumPy's eigenvalues take as long as the pose
    (xx, xy), (_, yy) = (centered.T @ centered).tolist()
    middle, half = (xx + yy) / 2, math.hypot((xx - yy) / 2, xy)
    return math.sqrt(middle + half), math.sqrt(max(middle - half, 0.0))


def _seen(found: Floats, model: Floats, focal: float) -> tuple[Floats, Floats] | None:
    """Return rotation and position of a head before a camera that looks at it.

    SQPnP finds the best of all rotations without a start; the other methods, started from a linear
    solution, flip faces that are small or far away, which are nearly flat.
    """
    camera = np.array([[focal, 0.0, 0.0], [0.0, focal, 0.0], [0.0, 0.0, 1.0]])
    good, turned, moved = cv2.solvePnP(model, found, camera, None, flags=cv2.SOLVEPNP_SQPNP)
    if not good or not moved[2, 0] > 0:
        return None
    rotation, _ = cv2.Rodrigues(turned)
    return np.asarray(rotation, np.float64), np.asarray(moved, np.float64)[:, 0]


def _toward(x: float, y: float) -> Floats:
    """Return the smallest rotation that takes the camera's axis to the direction [x, y, 1]."""
    length = math.sqrt(x * x + y * y + 1.0)
    x, y, z = x / length, y / length, 1.0 / length
    w = 1.0 / (1.0 + z)
    return np.array([[1 - x * x * w, -x * y * w, x], [-x * y * w, 1 - y * y * w, y], [-x, -y, z]])
