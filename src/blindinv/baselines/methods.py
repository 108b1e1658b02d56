"""The baselines as methods of `blindinv deblur`."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from blindinv.baselines.pan_dcp import PanDCP, pan_dcp
from blindinv.baselines.restorer import restore
from blindinv.baselines.richardson_lucy import RichardsonLucy, richardson_lucy
from blindinv.baselines.selfdeblur import SelfDeblur, selfdeblur
from blindinv.methods.method import About, Method, Models, Options, no_skip
from blindinv.problem import Deblurring
from blindinv.solve import Progress

PAN = About(
    "Pan-DCP: sparse dark channel and gradients, coarse to fine",
    "Pan, Sun, Pfister & Yang, Blind image deblurring using dark channel prior, CVPR 2016",
    "none",
    "pictures that no prior was trained on",
)
SELF = About(
    "SelfDeblur: two untrained networks fitted to the one photo",
    "Ren et al., Neural blind deconvolution using deep priors, CVPR 2020",
    "2000 training steps of two networks",
    "pictures that no prior was trained on, and time to wait",
)
LUCY = About(
    "blind Richardson-Lucy: Poisson updates of kernel and image in turn",
    "Fish et al., Blind deconvolution by means of the Richardson-Lucy algorithm, 1995; deepinv's",
    "none",
    "small round blurs, photon noise, and as a reference",
)
SUPERVISED = About(
    "a network trained on pairs of blurred and sharp photos; stands for MPRNet and DeblurGAN-v2",
    "Zamir et al., MPRNet, CVPR 2021; Kupyn et al., DeblurGAN-v2, ICCV 2019",
    "1",
    "a comparison, or a strong network of your own (--restorer FILE)",
)


@dataclass(frozen=True)
class Untrained:
    """A baseline without trained networks.

    Args:
        name: for messages.
        solve: (problem, settings) -> steps.
        settings: of it, with a number of iterations.
        about: what it is.
    """

    name: str
    solve: Callable[[Deblurring, Any], Iterator[Progress]]
    settings: Any
    about: About
    needs: tuple[str, ...] = ()
    own_prior: str = "photos"

    def __call__(self, problem: Deblurring, models: Models, options: Options) -> Iterator[Progress]:
        """The number of steps is that of iterations: of Pan-DCP at each scale."""
        no_skip(options, self.name)
        settings = self.settings if options.steps is None else replace(self.settings, iterations=options.steps)
        return self.solve(problem, settings)


@dataclass(frozen=True)
class Supervised:
    """One pass of a restoration network."""

    about: About = SUPERVISED
    needs: tuple[str, ...] = ("restorer",)
    own_prior: str = "photos"

    def __call__(self, problem: Deblurring, models: Models, options: Options) -> Iterator[Progress]:
        """See `restore`.

        Raises:
            ValueError: a number of steps was asked for.
        """
        no_skip(options, "a restorer")
        if options.steps is not None:
            raise ValueError("a restorer has one step; leave --steps out")
        return restore(problem, models.restorer)


METHODS: dict[str, Method] = {
    "pan-dcp": Untrained("Pan-DCP", pan_dcp, PanDCP(), PAN),
    "selfdeblur": Untrained("SelfDeblur", selfdeblur, SelfDeblur(), SELF),
    "richardson-lucy": Untrained("Richardson-Lucy", richardson_lucy, RichardsonLucy(), LUCY),
    "restorer": Supervised(),
}
