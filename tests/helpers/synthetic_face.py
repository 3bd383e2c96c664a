"""A mirror-symmetric frontal face in crop pixels, in every landmark scheme."""

import numpy as np

from arpgnet.pipeline.geometry.landmark_schemes import SCHEMES, scheme_indices

CENTER = 55.5  # the crop's middle: whole numbers are pixel centers


def _between(start, end, count):
    return np.linspace(start, end, count)


def face_points(scheme: str) -> np.ndarray:
    """float32 [P, 2]; eyes, nose and mouth near ArcFace's template."""
    found = SCHEMES[scheme]
    points = np.full((found.points, 2), np.nan)
    left = {
        "brow_upper": _between((22, 42), (46, 40), 5),
        "brow_lower": _between((24, 44), (46, 43), 4),
        "eye": None,
        "pupil": np.array([(38.0, 52.0)] * 2),
        "nose_side": np.array([(50.0, 56.0), (47.0, 66.0)]),
        "nostril": np.array([(46.0, 72.0), (47.5, 75.0)]),
        "nose_base": np.array([(51.0, 76.0)]),
    }
    for part, (indices, mirrored) in found.sides.items():
        place = left[part]
        if place is None:
            turn = np.linspace(np.pi, 3 * np.pi, len(indices), endpoint=False)
            place = np.stack([38 + 7 * np.cos(turn), 52 + 3 * np.sin(turn)], axis=1)
        place = place[: len(indices)]
        points[list(indices)] = place
        points[list(mirrored)] = place * (-1, 1) + (2 * CENTER, 0)
    turn = np.linspace(np.pi, 0, len(found.rows["contour"]))
    outline = np.stack([CENTER + 45 * np.cos(turn), 50 + 62 * np.sin(turn)], axis=1)
    points[list(found.rows["contour"])] = outline
    for part, height in {
        "upper_lip_outer": 89,
        "upper_lip_inner": 91,
        "lower_lip_inner": 94,
        "lower_lip_outer": 97,
    }.items():
        row = list(found.rows[part])
        half = 15 if part == "upper_lip_outer" else 11
        points[row] = _between((CENTER - half, height), (CENTER + half, height), len(row))
    for part, (top, bottom) in {
        "nose_bridge": (50, 64),
        "nose_tip": (70, 70),
        "nose_bottom": (78, 78),
    }.items():
        row = list(found.midline[part])
        points[row] = _between((CENTER, top), (CENTER, bottom), len(row))
    assert np.isfinite(points).all()
    assert len(scheme_indices(scheme)["eye_left"]) >= 6
    return points.astype(np.float32)
