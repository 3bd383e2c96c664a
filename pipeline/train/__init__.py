"""The train stage: every fold with every seed, beside its baselines."""

# first: it sets how OpenMP's threads wait, which torch reads once
import arpgnet.pipeline.training  # noqa: F401
