"""Every test has a store of its own, so that none can lean on, or harm, the user's."""

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def own_store(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path_factory.mktemp("store")
    monkeypatch.setenv("ARPGNET_STORE", str(root))
    return root


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whole runs first: each of their files takes minutes, and at the end one core would wait."""
    items.sort(key=lambda item: "end_to_end" not in item.path.name)
