"""Sets of still images: their lists, their aligned crops, and which show the target data."""
