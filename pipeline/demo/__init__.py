"""The rendered demo: labeled videos of faces moved by FACS action units, with exact truth."""

from arpgnet.pipeline.demo.action_units import ACTION_UNITS
from arpgnet.pipeline.demo.clip import contact_sheet, render_clip
from arpgnet.pipeline.demo.dataset import render_dataset
from arpgnet.pipeline.demo.frame import RenderedFrame, render_still
from arpgnet.pipeline.demo.prototypes import CLASSES
from arpgnet.pipeline.demo.subject import SUBJECT_SEEDS_DEMO

__all__ = [
    "ACTION_UNITS",
    "CLASSES",
    "SUBJECT_SEEDS_DEMO",
    "RenderedFrame",
    "contact_sheet",
    "render_clip",
    "render_dataset",
    "render_still",
]
