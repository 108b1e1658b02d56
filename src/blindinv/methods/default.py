"""LatentDEM as `blindinv deblur` runs it when no method is named."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from blindinv.methods.latentdem import Settings, latentdem
from blindinv.methods.method import About, Method, Models, Options, no_skip
from blindinv.problem import Deblurring
from blindinv.solve import Progress

LATENTDEM = About(
    "LatentDEM: classical starts judged by evidence, EM weighted by the prior's error spectrum, 16 steps",
    "Bai et al., Blind Inversion using Latent Diffusion Priors, with the changes of docs/method.md",
    "about 45, without gradients",
    "a blurred photo; the best figures and the quickest of the methods with a prior",
)

REFINED = About(
    "LatentDEM whose kernel is corrected by a network that was trained on the errors of EM",
    LATENTDEM.paper,
    LATENTDEM.cost,
    "synthetic kernels of the papers' simulator only; photos with real camera shake get worse where no second opinion helps",
)


@dataclass(frozen=True)
class Default:
    """LatentDEM as it works best."""

    settings: Settings = field(default_factory=Settings)
    about: About = LATENTDEM
    needs: tuple[str, ...] = ("prior", "denoiser")
    own_prior: str = "photos"

    def __call__(self, problem: Deblurring, models: Models, options: Options) -> Iterator[Progress]:
        """See `methods.latentdem`."""
        from blindinv.zoo.spectra import with_spectra

        no_skip(options, "the default method")
        settings = self.settings if options.steps is None else replace(self.settings, steps=options.steps)
        return latentdem(problem, with_spectra(models.prior), models.denoiser, settings, models.refiner)


@dataclass(frozen=True)
class Refined(Default):
    """LatentDEM with a refiner of kernels."""

    about: About = REFINED
    needs: tuple[str, ...] = ("prior", "denoiser", "refiner")


METHODS: dict[str, Method] = {
    "latentdem": Default(),
    "latentdem-refined": Refined(),
}
