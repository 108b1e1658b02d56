"""M-steps: the unknown of the forward model from an estimate of the image."""
