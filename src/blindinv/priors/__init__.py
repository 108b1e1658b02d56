"""Diffusion priors of images, latents and kernels."""
