"""The align stage: the clip's face, found, followed and turned upright."""
