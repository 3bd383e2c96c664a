"""`arpgnet serve`: upload a video, or name one, and see the network's predictions.

The server's process decodes nothing: a video is read by worker processes, which may die of it.
"""
