"""Runs a stage's work on every clip: worker pool, Ray cluster, assembly."""
