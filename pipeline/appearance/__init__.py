"""The appearance stage: embedding and feature map of every face."""
