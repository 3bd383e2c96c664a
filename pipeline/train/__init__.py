"""Training on cached features: data, network, loop, baselines, and the runs that are kept."""

import os

# Read once, when torch loads its OpenMP: threads that wait shall sleep, not spin. With other
# programs on the cores, spinning made an epoch of two threads 4 times slower (22 s, not 5 s).
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
