"""What lies beside the models: `pack.yaml`, `metrics.json` and the card `README.md`."""

import hashlib
import json
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

DETECTOR_FILE, LANDMARK_FILE, EMBEDDING_FILE = "det_demo.onnx", "lmk_demo_106.onnx", "arc_demo.onnx"
NOTICE = (
    "For rendered faces only: trained on the demo renderer's images, wrong on people. "
    "Do not use on photographs or videos of people."
)


def write_pack_yaml(
    folder: Path, *, input_px: int, map_tensor: str, dim: int, map_shape: tuple[int, int, int]
) -> None:
    """`pack.yaml` with the sha256 of the three model files in `folder`."""
    models: dict[str, dict[str, Any]] = {
        "detector": {**_file(folder, DETECTOR_FILE), "kind": "scrfd", "input_px": input_px},
        "landmark": {**_file(folder, LANDMARK_FILE), "kind": "2d106"},
        "embedding": {
            **_file(folder, EMBEDDING_FILE),
            "kind": "arcface",
            "color": "rgb",
            "mean": 127.5,
            "std": 127.5,
            "map_tensor": map_tensor,
            "embedding_dim": dim,
            "map_shape": list(map_shape),
        },
    }
    pack = {"name": "demo", "license": "MIT", "notice": NOTICE, "url": None, "models": models}
    yaml = YAML()
    yaml.width = 100
    yaml.representer.add_representer(
        type(None), lambda dumper, _: dumper.represent_scalar("tag:yaml.org,2002:null", "null")
    )
    with (folder / "pack.yaml").open("w") as stream:
        yaml.dump(pack, stream)


def write_metrics(folder: Path, metrics: dict[str, Any]) -> None:
    """`metrics.json`, rounded to four digits so that it can be read and compared."""
    text = json.dumps(_rounded(metrics), indent=2, sort_keys=True)
    (folder / "metrics.json").write_text(text + "\n")


def write_card(folder: Path, metrics: dict[str, Any], command: str) -> None:
    """`README.md`: what the models are, how they were made, what they reach, what they are not."""
    rows = "\n".join(f"| {label} | {value} |" for label, value in _figures(metrics))
    sizes = "\n".join(
        f"| `{name}` | {(folder / name).stat().st_size / 1e6:.2f} MB | {what} |"
        for name, what in _CONTENTS.items()
    )
    made = metrics["training"]
    (folder / "README.md").write_text(
        _CARD.format(notice=NOTICE, sizes=sizes, rows=rows, command=command, **made)
    )


def _file(folder: Path, name: str) -> dict[str, str]:
    return {"file": name, "sha256": hashlib.sha256((folder / name).read_bytes()).hexdigest()}


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 4)
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return value


def _figures(metrics: dict[str, Any]) -> list[tuple[str, str]]:
    rows = []
    for name, figures in metrics["detector"].items():
        pixels = name.rpartition("_")[2]
        what = "stills" if name.startswith("stills") else "recomposed scenes, faces 10-100 %"
        rows.append(
            (
                f"detection rate, {what}, {pixels} px input (IoU >= 0.5, score >= 0.5)",
                f"{figures['detection_rate']:.2%}, "
                f"{figures['false_positives_per_image']:.3f} false positives an image",
            )
        )
    still = metrics["detector"][f"stills_{metrics['training']['input_px']}"]
    landmark, units = metrics["landmark"], metrics["embedding"]
    rows += [
        (
            "5 keypoints, median error in % of the interocular distance",
            f"{still['keypoint_nme_percent_median']:.2f}",
        ),
        (
            "106 landmarks, the same (median / mean / 95th percentile)",
            f"{landmark['nme_percent_median']:.2f} / {landmark['nme_percent_mean']:.2f} / "
            f"{landmark['nme_percent_p95']:.2f}",
        ),
        ("same or different subject, accuracy", f"{units['verification_accuracy']:.2%}"),
        (
            "action units, mean correlation with the truth: whole feature map / mean feature map / "
            "embedding",
            f"{units['whole_map_correlation_mean']:.3f} / "
            f"{units['mean_map_correlation_mean']:.3f} / "
            f"{units['embedding_correlation_mean']:.3f}",
        ),
    ]
    return rows


_CONTENTS = {
    DETECTOR_FILE: "SCRFD's form: 9 outputs, strides 8, 16, 32, 5 keypoints; any multiple of 32",
    LANDMARK_FILE: "2d106det's form: 192 x 192 crop of 1.5 times the box, 106 points",
    EMBEDDING_FILE: "ArcFace's form: 112 x 112 aligned crop, any batch; `feature_map` is the "
    "last 7 x 7 map",
}

_CARD = """# Face pack `demo`

**{notice}**

Three small networks of this project's own, so that the demo runs from a clone without a download.
Input and output have the form of InsightFace's models: `insightface.model_zoo` loads them as it
loads any other.

| file | size | what |
|---|---|---|
{sizes}

## How they were made

    {command}

{stills} stills of {subjects} rendered subjects (seeds from {first_subject} on; the demo's own
subjects are 0 to 999), moved, turned, recolored, blurred and partly covered. The embedding
network first learns who it is, then who and which action units move, read from the mean of the
last feature map, from the whole map and from the embedding: ARPGNet fine-tunes its
face-recognition backbone on expressions in the same way.

## Figures

Rendered held-out subjects (seeds from {held_out_subject} on, {held_out_stills} stills), measured
through insightface's classes; landmarks and embedding start from the detected box and keypoints.

| figure | value |
|---|---|
{rows}

Figures on rendered faces say nothing about people.
"""
