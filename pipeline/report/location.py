"""Where the model card lies, and whose data it cannot describe: what needs no chart, nor a second
to import them."""

from __future__ import annotations

from pathlib import Path

CARD = Path("artifacts/MODEL_CARD.md")
# adapters of the user's own clips: the pipeline knows neither what they are nor whose
OWN = ("csv", "folder")
OWN_TITLE = "the publisher's own data set"
