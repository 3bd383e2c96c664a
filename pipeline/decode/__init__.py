"""The decode stage: sampled frames of every clip."""
