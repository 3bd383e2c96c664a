"""From raw face video to expression metrics: `arpgnet.pipeline`, `.models` and `.stages`.

The three lie at the top of the repository, and here are links to them: one name for each, which no
folder of a user's own project can take. A wheel holds them below `arpgnet`.

For scripts and notebooks (docs/python.md): `load`, `features`,
`region_graphs`, `save_predictions`, `compare`, `metrics`, `params`.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

_HERE = Path(__file__).resolve().parent
# git writes links as text files where the system, or its settings, has none (Windows)
if not (_HERE / "pipeline").is_dir():
    __path__.append(str(_HERE.parent))

if TYPE_CHECKING:
    from arpgnet.pipeline.api.cache import features, metrics, params, region_graphs
    from arpgnet.pipeline.api.compare import compare, save_predictions
    from arpgnet.pipeline.api.predict import load

# imported when first used: torch takes seconds, and the command line's help needs none of them
_API = {"load": "predict", "compare": "compare", "save_predictions": "compare"} | dict.fromkeys(
    ("features", "metrics", "params", "region_graphs"), "cache"
)
__all__ = ["compare", "features", "load", "metrics", "params", "region_graphs", "save_predictions"]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("arpgnet")
    if name not in _API:
        raise AttributeError(f"module 'arpgnet' has no attribute '{name}'")
    return getattr(import_module(f"arpgnet.pipeline.api.{_API[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), "__version__"])
