"""The per-clip work on the machines of a Ray cluster; the stages see no difference."""
