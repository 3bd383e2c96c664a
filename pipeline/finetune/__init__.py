"""Fine-tuning the appearance network on labelled stills: data, network, loop, and what is kept."""

import os

# read once, when torch loads its OpenMP; see pipeline/train
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
