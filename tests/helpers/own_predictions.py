"""Tables of predictions of the clips of `helpers.synthetic_data`, whose names say their class."""

from pathlib import Path

import numpy as np
import pandas as pd

import arpgnet
from arpgnet.pipeline.tables.manifest import read_splits
from helpers.synthetic_data import CLASSES


def perfect(root: Path) -> pd.DataFrame:
    """The true class of each test clip of every fold, with certainty."""
    splits = read_splits(root / "data/splits.parquet").to_pandas()
    table = splits[splits["split"] == "test"].rename(columns={"clip_id": "clip"})
    truth = table["clip"].str.split("-").str[1]
    return table[["clip", "fold"]].assign(**{f"p_{name}": truth == name for name in CLASSES})


def write_arpgnet(root: Path) -> None:
    """Write predictions as of ARPGNet, who calls every other clip by one class."""
    table = perfect(root)
    for name in CLASSES:
        values = np.where(table[f"p_{name}"], 0.6, 0.2)
        values[::2] = 0.6 if name == "joy" else 0.2
        table[f"p_{name}"] = values
    arpgnet.save_predictions(table, root / "artifacts/predictions.parquet", root, model="arpgnet")
