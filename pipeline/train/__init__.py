"""The train stage: every fold with every seed, beside its baselines."""

# first: it sets how OpenMP's threads wait, which torch reads once
import pipeline.training  # noqa: F401
