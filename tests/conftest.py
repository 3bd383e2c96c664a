"""Every test has a store of its own, so that none can lean on, or harm, the user's."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

# One thread in each process, set before anything imports torch: there is a test process per core,
# and several OpenMP threads wait for each other in busy loops. With two on busy cores tests/models
# took 68 s of CPU, with one 7 s.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "OPENCV_FOR_THREADS_NUM"):
    os.environ[_name] = "1"

# how long an example takes is not tested
settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")

# minutes in `make test-all`, 20 s and more of a core in `make test`
LONGEST = [
    "test_killed.py",
    "test_cluster.py",
    "test_end_to_end.py",
    "test_datasets_end_to_end.py",
    "test_side_by_side.py",
    "test_engine.py",
    "test_environment.py",
    "test_assembly.py",
    "test_activations.py",
    "test_run.py",
    "test_processes.py",
    "test_demo_pack_training.py",
    "test_stopping.py",
    "test_damaged_videos.py",
    "test_serve_process.py",
    "test_serve_in_browser.py",
    "test_train_run.py",
]


@pytest.fixture(autouse=True)
def own_store(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path_factory.mktemp("store")
    monkeypatch.setenv("ARPGNET_STORE", str(root))
    return root


@pytest.fixture(scope="module")
def _folder_of_module(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("shared-store")


@pytest.fixture
def module_store(_folder_of_module: Path, own_store: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One store for all tests of a file, in place of `own_store`."""
    monkeypatch.setenv("ARPGNET_STORE", str(_folder_of_module))
    return _folder_of_module


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The files that take longest first: at the end one core would wait for the other."""
    items.sort(key=lambda item: LONGEST.index(item.path.name) if item.path.name in LONGEST else 99)
