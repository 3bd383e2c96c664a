"""Where a face and its regions lie in an image; no network."""
