"""Preprocessing against the loop a user would write: speed, accuracy, and where the time goes.

    python benchmarks/preprocess.py [ASSETS] [--rounds 3] [--repeat 4] [--out FILE]

Decode to appearance on the 20 clips of `clips/asl`, every frame, SCRFD-2.5G + PFLD-98 +
MobileFaceNet on both sides. Ours are the four stages as DVC runs them, each a process of its own
that starts workers of its own, with an empty store. The reference (`reference_loop.py`) is timed
without its imports and the loading of its models. Rounds are interleaved.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from common import REPOSITORY, Project, assets_folder, heading, table, write_out
from reference_loop import DETECTOR, EMBEDDING, LANDMARKS
from steps import step_table

from arpgnet.pipeline.geometry.landmark_schemes import scheme_indices
from arpgnet.pipeline.geometry.tracks import iou
from arpgnet.pipeline.store import file_sha256
from arpgnet.pipeline.tables.shards import ShardReader, to_numpy

STAGES = ("decode", "align", "landmark", "appearance")
PACK = """\
name: benchmark
license: see the files' own
notice: a detector, landmarks and an embedding for the benchmark
models:
  detector: {{file: {detector}, sha256: {detector_sha}, kind: scrfd, input_px: 640}}
  landmark: {{file: {landmark}, sha256: {landmark_sha}, kind: pfld98}}
  embedding:
    file: {embedding}
    sha256: {embedding_sha}
    kind: arcface
    # what InsightFace's class feeds a graph without a normalization of its own
    mean: 127.5
    std: 127.5
    map_tensor: /conv2/conv2.2/Clip_output_0
    map_shape: [512, 7, 7]
    embedding_dim: 128
"""


def write_pack(assets: Path, folder: Path) -> Path:
    """A pack of the three networks."""
    folder.mkdir(parents=True)
    names = {}
    for role, path in (("detector", DETECTOR), ("landmark", LANDMARKS), ("embedding", EMBEDDING)):
        source = assets / path
        shutil.copy(source, folder / source.name)
        names |= {role: source.name, f"{role}_sha": file_sha256(source)}
    (folder / "pack.yaml").write_text(PACK.format(**names), encoding="utf-8")
    return folder


def asl_clips(assets: Path) -> list[Path]:
    """The 20 real clips, 640 x 480, by name."""
    return sorted((assets / "clips/asl").glob("*.mkv"))


def write_clips(sources: list[Path], folder: Path, repeat: int) -> Path:
    """Copies of the clips that differ by some bytes behind their end, and their manifest."""
    folder.mkdir(parents=True)
    lines = ["path,label"]
    for number, path in enumerate(sources):
        for copy in range(repeat):
            name = f"{path.stem}_{copy}.mkv"
            (folder / name).write_bytes(path.read_bytes() + bytes(copy))
            lines.append(f"{name},{'ab'[number % 2]}")
    manifest = folder / "clips.csv"
    manifest.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return manifest


def ours(
    assets: Path, root: Path, pack: Path, clips: int, repeat: int
) -> tuple[Project, dict[str, float]]:
    """Wall seconds of each stage on a store that is empty."""
    manifest = write_clips(asl_clips(assets)[:clips], root / "clips", repeat)
    project = Project(
        root / "project",
        {
            "dataset.name": "csv",
            "dataset.root": str(manifest.parent),
            "dataset.manifest": str(manifest),
            "dataset.group_by": "clip",
            "dataset.folds": 2,
            "decode.sampling": "all",
            "faces.pack": str(pack),
        },
    )
    project.stage("ingest")
    project.stage("finetune")  # switched off: appearance asks whether it is
    return project, {stage: project.stage(stage)[0] for stage in STAGES}


def reference(assets: Path, out: Path, clips: int, tuned: bool) -> dict[str, np.ndarray]:
    """What the loop found and how long it took."""
    script = REPOSITORY / "benchmarks" / "reference_loop.py"
    command = [sys.executable, str(script), str(assets), str(out), "--clips", str(clips)]
    command += ["--tuned"] * tuned
    subprocess.run(command, check=True, capture_output=True)
    with np.load(out) as found:
        return dict(found)


def accuracy(project: Project, truth: dict[str, np.ndarray]) -> str:
    """Our rows beside the loop's, frame by frame."""
    readers = {name: ShardReader(project.root / "data" / name) for name in
               ("faces", "landmarks", "appearance")}  # fmt: skip
    pupils = [scheme_indices("98")[f"pupil_{side}"][0] for side in ("left", "right")]
    cosines: list[float] = []
    differences: list[float] = []
    overlaps: list[float] = []
    only_here = only_there = 0
    for clip in np.unique(truth["clip"]):
        rows = truth["clip"] == clip
        faces = readers["faces"].read(f"{clip}_0", ["valid", "bbox"])
        here = faces.column("valid").to_numpy()
        there = truth["box"][rows].any(axis=1)
        only_here, only_there = (
            only_here + (here & ~there).sum(),
            only_there + (there & ~here).sum(),
        )
        both = here & there
        boxes = to_numpy(faces.column("bbox"), (4,))[both]
        overlaps += [
            float(iou(one[None], other[None])[0, 0])
            for one, other in zip(boxes, truth["box"][rows][both], strict=True)
        ]
        rows_ = readers["landmarks"].read(f"{clip}_0", ["points_image"])
        points = to_numpy(rows_.column("points_image"), (98, 2))[both]
        expected = truth["points"][rows][both]
        eyes = np.linalg.norm(expected[:, pupils[0]] - expected[:, pupils[1]], axis=1)
        away = np.linalg.norm(points - expected, axis=2).mean(axis=1)
        differences += (100 * away / eyes).tolist()
        rows_ = readers["appearance"].read(f"{clip}_0", ["embedding"])
        found = to_numpy(rows_.column("embedding"), (128,))[both].astype(np.float64)
        wanted = truth["embedding"][rows][both]
        norms = np.linalg.norm(found, axis=1) * np.linalg.norm(wanted, axis=1)
        cosines += ((found * wanted).sum(axis=1) / norms).tolist()
    return table(
        ["measure", "value", "asked for"],
        [
            ["frames with a face on both sides", len(cosines), ""],
            ["found only by us, only by the reference", f"{only_here}, {only_there}", ""],
            ["box overlap (IoU), median", f"{np.median(overlaps):.3f}", ""],
            ["cosine of embeddings, median", f"{np.median(cosines):.4f}", "at least 0.99"],
            ["cosine of embeddings, 5th percentile", f"{np.percentile(cosines, 5):.4f}",
             "at least 0.95"],
            ["landmark difference, median, % of the distance of the pupils",
             f"{np.median(differences):.2f}", "at most 1.5"],
        ],
    )  # fmt: skip


def spread(values: list[float]) -> str:
    return f"{statistics.median(values):.1f} ({min(values):.1f} to {max(values):.1f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("assets", nargs="?")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--clips", type=int, default=20)
    parser.add_argument("--repeat", type=int, default=4)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    assets = assets_folder(args.assets)
    speeds: dict[str, list[float]] = {name: [] for name in ("loop", "tuned", "few", "many")}
    stages: dict[str, list[float]] = {stage: [] for stage in STAGES}
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        pack = write_pack(assets, root / "pack")
        for round_ in range(args.rounds):
            for name in ("loop", "tuned"):
                truth = reference(assets, root / "truth.npz", args.clips, name == "tuned")
                speeds[name].append(len(truth["frame"]) / float(truth["seconds"]))
            frames = len(truth["frame"])
            project, seconds = ours(assets, root / f"few{round_}", pack, args.clips, 1)
            speeds["few"].append(frames / sum(seconds.values()))
            shutil.rmtree(project.root / "store")
            project, seconds = ours(assets, root / f"many{round_}", pack, args.clips, args.repeat)
            speeds["many"].append(args.repeat * frames / sum(seconds.values()))
            for stage, value in seconds.items():
                stages[stage].append(1e3 * value / frames / args.repeat)
            compared = accuracy(project, truth)
            shutil.rmtree(root / f"few{round_}")
            shutil.rmtree(root / f"many{round_}")
        steps = step_table(assets, pack)
    loop = statistics.median(speeds["loop"])
    names = {
        "loop": "reference loop, the libraries' default settings",
        "tuned": "reference loop, ONNX Runtime's spinning switched off",
        "few": f"ours, {args.clips} clips, the start of all processes included",
        "many": f"ours, {args.clips * args.repeat} clips, the start of all processes included",
    }
    packages = ["torch", "onnxruntime", "insightface", "opencv-python", "av"]
    text = "\n".join(
        [
            heading(
                "Preprocessing against the loop a user would write",
                packages,
                "benchmarks/preprocess.py",
            ),
            f"{frames} frames (640 x 480) of {args.clips} clips, decode to appearance; "
            f"median (min to max) of {args.rounds} interleaved rounds.\n",
            table(
                ["what", "frames a second", "times the reference"],
                [
                    [names[name], spread(values), f"{statistics.median(values) / loop:.1f}"]
                    for name, values in speeds.items()
                ],
            ),
            table(
                ["stage", f"wall ms a frame, {args.clips * args.repeat} clips"],
                [[stage, spread(values)] for stage, values in stages.items()],
            ),
            "The same frames on both sides:\n",
            compared,
            steps,
        ]
    )
    write_out(text, args.out)


if __name__ == "__main__":
    main()
