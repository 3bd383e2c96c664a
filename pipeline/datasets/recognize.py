"""Describe a folder that is not the expected data set."""

from __future__ import annotations

from pathlib import Path

from arpgnet.pipeline.datasets.base import ADAPTERS, adapter

_SHOWN = 6


def fitting(root: Path) -> list[str]:
    """List the adapters whose marker files are in a folder."""
    return [
        name
        for name in ADAPTERS
        if any(next(root.glob(mark), None) is not None for mark in adapter(name).ABOUT.marks)
    ]


def what_lies_there(root: Path, name: str, looked_for: str = "") -> str:
    """Say what the folder contains, and what to set instead; nothing that `looked_for` says."""
    seen = sorted(path.name + "/" * path.is_dir() for path in root.iterdir())
    there = ", ".join(seen[:_SHOWN]) + (f" and {len(seen) - _SHOWN} more" * (len(seen) > _SHOWN))
    sentence = f"found {there or 'nothing'}"
    others = fitting(root)
    if others and name not in others:
        return f"{sentence}; this looks like dataset.name: {' or '.join(others)}"
    folders = [path for path in sorted(root.iterdir()) if path.is_dir()][:50]
    for place in (*folders, root.parent):
        if name in fitting(place):
            return f"{sentence}; set dataset.root to {place}"
    layout = adapter(name).ABOUT.layout
    return sentence if layout in looked_for else f"{sentence}; the layout of {name} is {layout}"
