"""Developers' tools; not installed."""
