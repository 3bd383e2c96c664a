"""Pre-training a vision transformer on unlabeled crops as a masked autoencoder."""

# first: it sets how OpenMP's threads wait, which torch reads once
import arpgnet.pipeline.training  # noqa: F401
