"""What train, finetune, explain, export and predict share of training: data, network, state."""

import os

# Read once, when torch loads its OpenMP: threads that wait shall sleep, not spin. With other
# programs on the cores, spinning made an epoch of two threads 4 times slower (22 s, not 5 s).
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
