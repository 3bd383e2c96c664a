"""Train, export, measure and describe the `demo` face pack.

    python -m tools.demo_pack.train --out pipeline/networks/bundled/demo

The three networks train side by side, each on one thread: as fast on two cores as two threads one
after the other, and the same machine and arguments give the same bytes with any `--workers`.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import cv2
import torch

from arpgnet.pipeline.demo import ACTION_UNITS
from tools.demo_pack import card, evaluate, export
from tools.demo_pack.detector import train_detector
from tools.demo_pack.embedding import ActionUnitHeads, train_embedding
from tools.demo_pack.landmark import train_landmarks
from tools.demo_pack.nets import DemoDetector, DemoEmbedding, DemoLandmarks, ScrfdForm
from tools.demo_pack.stills import HELD_OUT_SUBJECTS, TRAIN_SUBJECTS, StillPlan, Stills, load_stills

INPUT_PX = 256
_STILLS_PER_SUBJECT = 12
_HELD_OUT_STILLS_PER_SUBJECT = 6
# network -> its training, batches at effort 1, crops or 192-pixel scenes a batch
_RECIPES: dict[str, tuple[Callable[..., Any], int, int]] = {
    "embedding": (train_embedding, 4000, 64),
    "detector": (train_detector, 1500, 32),
    "landmarks": (train_landmarks, 2000, 32),
}


@dataclass(frozen=True)
class Networks:
    """The three trained networks, and the readings of action units that stay outside the pack."""

    detector: DemoDetector
    landmarks: DemoLandmarks
    embedding: DemoEmbedding
    units: ActionUnitHeads


def main(arguments: list[str] | None = None) -> None:
    """Run the whole recipe; see `--help`."""
    options = _parser().parse_args(arguments)
    _one_thread()
    training, held_out = _plans(options.stills, options.held_out, options.seed)
    load_stills(training, options.cache, workers=options.workers)
    unseen = load_stills(held_out, options.cache, workers=options.workers)
    networks = _train(training, options)
    _export(networks, options.out)
    figures = _evaluate(networks, unseen, options.out)
    figures["training"] = _provenance(training, held_out)
    card.write_pack_yaml(
        options.out,
        input_px=INPUT_PX,
        map_tensor=export.MAP_TENSOR,
        dim=networks.embedding.dim,
        map_shape=(networks.embedding.channels, DemoEmbedding.GRID, DemoEmbedding.GRID),
    )
    card.write_metrics(options.out, figures)
    card.write_card(options.out, figures, _command(options))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tools.demo_pack.train")
    parser.add_argument("--out", type=Path, required=True, help="folder of the pack")
    parser.add_argument("--stills", type=int, default=12_000, help="rendered training stills")
    parser.add_argument("--held-out", type=int, default=1_200, help="rendered held-out stills")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2, help="processes of one thread each")
    parser.add_argument("--effort", type=float, default=1.0, help="factor on the training steps")
    parser.add_argument(
        "--cache",
        type=Path,
        default=Path(tempfile.gettempdir()) / "arpgnet-demo-stills",
        help="where rendered stills are kept between runs",
    )
    return parser


def _plans(stills: int, held_out: int, seed: int) -> tuple[StillPlan, StillPlan]:
    subjects = max(2, stills // _STILLS_PER_SUBJECT)
    others = max(2, held_out // _HELD_OUT_STILLS_PER_SUBJECT)
    return (
        StillPlan(TRAIN_SUBJECTS, subjects, stills, seed),
        StillPlan(HELD_OUT_SUBJECTS, others, held_out, seed),
    )


def _one_thread() -> None:
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    cv2.setNumThreads(1)


def _train(plan: StillPlan, options: argparse.Namespace) -> Networks:
    with ProcessPoolExecutor(options.workers, mp_context=get_context("spawn")) as pool:
        trained = {
            name: pool.submit(_train_one, name, plan, options.cache, options.effort, options.seed)
            for name in _RECIPES
        }
        embedding, units = trained["embedding"].result()
        return Networks(
            trained["detector"].result(), trained["landmarks"].result(), embedding, units
        )


def _train_one(name: str, plan: StillPlan, cache: Path, effort: float, seed: int) -> Any:
    """What the recipe `name` returns; runs in a worker, which reads the stills from the cache."""
    _one_thread()
    train, steps, batch = _RECIPES[name]
    started = time.monotonic()

    def report(line: str) -> None:
        seconds = time.monotonic() - started
        print(f"{seconds:6.0f} s  {name}: {line}", file=sys.stderr, flush=True)

    stills: Stills = load_stills(plan, cache)
    steps = max(2, round(steps * effort))
    return train(stills, steps=steps, batch=batch, seed=seed, report=report)


def _export(networks: Networks, out: Path) -> None:
    """Write the three files; RuntimeError where ONNX Runtime disagrees with torch."""
    detector, landmarks, embedding = (
        out / name for name in (card.DETECTOR_FILE, card.LANDMARK_FILE, card.EMBEDDING_FILE)
    )
    export.export_detector(networks.detector, detector)
    export.export_landmarks(networks.landmarks, landmarks)
    export.export_embedding(networks.embedding, embedding)
    torch.manual_seed(0)
    export.check_parity(ScrfdForm(networks.detector), detector, torch.rand(1, 3, 160, 192) * 2 - 1)
    export.check_parity(networks.landmarks, landmarks, torch.rand(2, 3, 192, 192) * 2 - 1)
    with_map = export.with_output(embedding, export.MAP_TENSOR)
    export.check_parity(networks.embedding, with_map, torch.rand(3, 3, 112, 112) * 2 - 1)


def _evaluate(networks: Networks, unseen: Stills, out: Path) -> dict[str, Any]:
    detections = {}
    for pixels in (160, INPUT_PX, 320):
        detect = evaluate.open_detector(out / card.DETECTOR_FILE, pixels)
        found, detections[f"stills_{pixels}"] = evaluate.detect_stills(detect, unseen)
        scenes = evaluate.detect_scenes(detect, unseen, count=400, side=pixels)
        detections[f"scenes_{pixels}"] = scenes
        if pixels == INPUT_PX:
            faces = found
    embeddings, maps, indices = evaluate.embed_stills(
        out / card.EMBEDDING_FILE, export.MAP_TENSOR, unseen, faces
    )
    units = evaluate.action_unit_correlation(
        networks.units, embeddings, maps, unseen.action_units[indices], tuple(ACTION_UNITS)
    )
    accuracy = evaluate.verification_accuracy(embeddings, unseen.subjects[indices])
    return {
        "detector": detections,
        "landmark": evaluate.landmark_error(out / card.LANDMARK_FILE, unseen, faces),
        "embedding": {"verification_accuracy": accuracy, **units},
    }


def _provenance(training: StillPlan, held_out: StillPlan) -> dict[str, int]:
    return {
        "stills": training.count,
        "subjects": training.subjects,
        "first_subject": training.first_subject,
        "seed": training.seed,
        "held_out_stills": held_out.count,
        "held_out_subject": held_out.first_subject,
        "input_px": INPUT_PX,
    }


def _command(options: argparse.Namespace) -> str:
    return (
        "python -m tools.demo_pack.train --out pipeline/networks/bundled/demo"
        f" --stills {options.stills} --held-out {options.held_out} --seed {options.seed}"
        f" --effort {options.effort:g}"
    )


if __name__ == "__main__":
    main()
