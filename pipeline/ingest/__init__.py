"""The ingest stage: list the clips, look at each once, divide them into splits."""
