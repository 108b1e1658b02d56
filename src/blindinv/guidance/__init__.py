"""Guidance: what draws the state of the sampler towards the observation."""
