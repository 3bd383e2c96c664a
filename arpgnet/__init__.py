"""From raw face video to expression metrics: `arpgnet.pipeline`, `.models` and `.stages`.

The three lie at the top of the repository, and here are links to them: one name for each, which no
folder of a user's own project can take. A wheel holds them below `arpgnet`.
"""

from pathlib import Path

_HERE = Path(__file__).resolve().parent
# git writes links as text files where the system, or its settings, has none (Windows)
if not (_HERE / "pipeline").is_dir():
    __path__.append(str(_HERE.parent))
