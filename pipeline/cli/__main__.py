"""`python -m arpgnet.pipeline.cli` is `arpgnet`."""

from arpgnet.pipeline.cli.main import main

main()
