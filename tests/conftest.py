"""Every test has a store of its own, so that none can lean on, or harm, the user's."""

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def own_store(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path_factory.mktemp("store")
    monkeypatch.setenv("ARPGNET_STORE", str(root))
    return root
