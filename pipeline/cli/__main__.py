"""`python -m pipeline.cli` is `arpgnet`."""

from pipeline.cli.main import main

main()
