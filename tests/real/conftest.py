"""Real faces and real weights; they are not part of the repository."""

import os
from pathlib import Path

import pytest

from arpgnet.pipeline.networks.packs import Pack, load_pack

_BESIDE = Path(__file__).parents[2].parent / "shared" / "assets"


@pytest.hookimpl(tryfirst=True)  # before `-m "not slow"` chooses
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A minute and more in all; the same code sees rendered faces in the quick tests."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def assets() -> Path:
    """The folder of `clips/` and `weights/`; tests that need it are skipped where it is absent."""
    root = Path(os.environ.get("ARPGNET_ASSETS", _BESIDE))
    if not (root / "clips").is_dir():
        pytest.skip(f"no real clips in {root}: set ARPGNET_ASSETS to the folder that has them")
    return root


@pytest.fixture(scope="session")
def pack(assets: Path) -> Pack:
    """The pack `open`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ARPGNET_MODELS", str(assets / "weights"))
        return load_pack("open")
