"""Every test has a store of its own, so that none can lean on, or harm, the user's."""

import os
from pathlib import Path

import pytest

# One thread in each process, set before anything imports torch: there is a test process per core,
# and several OpenMP threads wait for each other in busy loops. With two on busy cores tests/models
# took 68 s of CPU, with one 7 s.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "OPENCV_FOR_THREADS_NUM"):
    os.environ[_name] = "1"


@pytest.fixture(autouse=True)
def own_store(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path_factory.mktemp("store")
    monkeypatch.setenv("ARPGNET_STORE", str(root))
    return root


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whole runs first: each of their files takes minutes, and at the end one core would wait."""
    items.sort(key=lambda item: "end_to_end" not in item.path.name)
