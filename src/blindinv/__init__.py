"""Blind inverse problems with diffusion priors: recover the image and the unknown of the forward model.

What is named here is the public interface. It is loaded when it is first asked for, so that `import blindinv` and
`blindinv --help` are quick. `blindinv.deblur` and `blindinv.solve` are the functions, not the modules they live in.
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from blindinv.deblur import deblur
    from blindinv.kernels.gaussian import gaussian_kernel
    from blindinv.kernels.motion import motion_kernels
    from blindinv.methods.blinddps import blinddps
    from blindinv.methods.latentdem import latentdem
    from blindinv.methods.latentdem_paper import latentdem_paper
    from blindinv.methods.vanilla_em import vanilla_em
    from blindinv.mstep.hqs import HQS
    from blindinv.operators.convolution import CircularConvolution, FreeConvolution
    from blindinv.operators.fourier import Spectrum
    from blindinv.operators.turbulence import Turbulence
    from blindinv.photo.noise import estimate_sigma
    from blindinv.photo.views import read_objects
    from blindinv.priors.latent import LatentPrior, measure_spectrum
    from blindinv.priors.pixel import PixelPrior
    from blindinv.problem import Deblurring, Result, run
    from blindinv.schedule import Schedule
    from blindinv.solve import Diffused, Progress, solve
    from blindinv.unknown import Estimated, Known
    from blindinv.views.camera import Camera, orbit
    from blindinv.views.reconstruct import reconstruct
    from blindinv.zoo.load import load_kernel_denoiser, load_kernel_prior, load_kernel_refiner, load_prior, load_tilt_prior
    from blindinv.zoo.views import load_view_prior

__all__ = [
    "HQS",
    "Camera",
    "CircularConvolution",
    "Deblurring",
    "Diffused",
    "Estimated",
    "FreeConvolution",
    "Known",
    "LatentPrior",
    "PixelPrior",
    "Progress",
    "Result",
    "Schedule",
    "Spectrum",
    "Turbulence",
    "blinddps",
    "deblur",
    "estimate_sigma",
    "gaussian_kernel",
    "latentdem",
    "latentdem_paper",
    "load_kernel_denoiser",
    "load_kernel_prior",
    "load_kernel_refiner",
    "load_prior",
    "load_tilt_prior",
    "load_view_prior",
    "measure_spectrum",
    "motion_kernels",
    "orbit",
    "read_objects",
    "reconstruct",
    "run",
    "solve",
    "vanilla_em",
]

_HOMES = {
    "deblur": ["deblur"],
    "kernels.gaussian": ["gaussian_kernel"],
    "kernels.motion": ["motion_kernels"],
    "methods.blinddps": ["blinddps"],
    "methods.latentdem": ["latentdem"],
    "methods.latentdem_paper": ["latentdem_paper"],
    "methods.vanilla_em": ["vanilla_em"],
    "mstep.hqs": ["HQS"],
    "operators.convolution": ["CircularConvolution", "FreeConvolution"],
    "operators.fourier": ["Spectrum"],
    "operators.turbulence": ["Turbulence"],
    "photo.noise": ["estimate_sigma"],
    "photo.views": ["read_objects"],
    "priors.latent": ["LatentPrior", "measure_spectrum"],
    "priors.pixel": ["PixelPrior"],
    "problem": ["Deblurring", "Result", "run"],
    "schedule": ["Schedule"],
    "solve": ["Diffused", "Progress", "solve"],
    "unknown": ["Estimated", "Known"],
    "views.camera": ["Camera", "orbit"],
    "views.reconstruct": ["reconstruct"],
    "zoo.load": ["load_kernel_denoiser", "load_kernel_prior", "load_kernel_refiner", "load_prior", "load_tilt_prior"],
    "zoo.views": ["load_view_prior"],
}
_HOME = {name: f"blindinv.{home}" for home, names in _HOMES.items() for name in names}


class _Package(ModuleType):
    """A package whose functions win over its modules of the same name, whichever is loaded first."""

    def __setattr__(self, name: str, value: Any) -> None:
        """The import system sets every loaded module here; `deblur` and `solve` stay functions."""
        if name in _HOME and isinstance(value, ModuleType):
            value = getattr(value, name)
        super().__setattr__(name, value)

    def __getattr__(self, name: str) -> Any:
        """Called for what is not there yet."""
        if name not in _HOME:
            raise AttributeError(f"module 'blindinv' has no attribute '{name}'")
        value = getattr(import_module(_HOME[name]), name)
        super().__setattr__(name, value)
        return value

    def __dir__(self) -> list[str]:
        """With what was not loaded yet."""
        return sorted({*super().__dir__(), *__all__})


sys.modules[__name__].__class__ = _Package
