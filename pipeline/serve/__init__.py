"""`arpgnet serve`: upload a video, or name one, and look at what the network says of it.

The server's process decodes nothing: a video is read by worker processes, which may die of it.
"""
