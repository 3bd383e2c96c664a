"""Training tests: one thread throughout, because the number of threads decides the last bits and
small tensors gain nothing from more."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from helpers.synthetic_data import write_data


@pytest.fixture(autouse=True, scope="package")
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def separable(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the synthetic data set; tests must not write into it."""
    root = tmp_path_factory.mktemp("separable")
    write_data(root)
    return root
