"""The graph stage: where the regions lie, and which are joined."""
