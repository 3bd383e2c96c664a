"""What `import arpgnet` offers to scripts and notebooks; docs/python.md describes it."""
