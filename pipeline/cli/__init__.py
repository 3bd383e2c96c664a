"""The command `arpgnet`."""
