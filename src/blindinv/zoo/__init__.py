"""Adapters to other people's models, and the models that ship with the package."""

from blindinv.zoo.load import load_kernel_denoiser, load_kernel_prior, load_kernel_refiner, load_prior, load_tilt_prior

__all__ = ["load_kernel_denoiser", "load_kernel_prior", "load_kernel_refiner", "load_prior", "load_tilt_prior"]
