"""Fine-tuning the appearance network on labeled stills: data, network, loop, and cached runs."""

# first: it sets how OpenMP's threads wait, which torch reads once
import arpgnet.pipeline.training  # noqa: F401
