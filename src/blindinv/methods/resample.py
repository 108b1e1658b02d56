"""ReSample: hard data consistency at some steps, and stochastic resampling back onto the diffusion (Song et al., 2024)."""

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor

from blindinv.guidance.hard import HardConsistency, Resampling
from blindinv.guidance.pseudo_inverse import isotropic
from blindinv.methods.fastem import m_step
from blindinv.methods.method import About, Method, Models, Options, no_skip
from blindinv.methods.starts import Coarse, Start, dirac, unknown
from blindinv.problem import Deblurring
from blindinv.schedule import Schedule
from blindinv.solve import Diffused, Progress, solve
from blindinv.step import DDIM

GAMMA = 40.0


def variance(schedule: Schedule, t: int, s: int, gamma: float = GAMMA) -> float:
    """sigma_t^2 of the paper, gamma (1 - abar_s) / abar_t (1 - abar_t / abar_s): how little the reverse step is trusted."""
    a, b = schedule.at(t), schedule.at(s)
    return gamma * (1 - b) / a * (1 - a / b)


def kept(schedule: Schedule, t: int, s: int) -> float:
    """Share of the reverse step's state in the resampled one, (1 - abar_s) / (sigma_t^2 + 1 - abar_s)."""
    b = schedule.at(s)
    return (1 - b) / (variance(schedule, t, s) + 1 - b)


@dataclass(frozen=True)
class Resample:
    """z_s ~ N((sigma_t^2 sqrt(abar_s) z1 + (1 - abar_s) z'_s) / (sigma_t^2 + 1 - abar_s), sigma_t^2 (1 - abar_s) / (...)).

    z'_s is the deterministic step and z1 the consistent state (the paper's eq. 11). Here are the parts with z'_s and with
    noise; the part with z1 is the shift that `Resampling` asks for. Elsewhere the step is z'_s.

    Args:
        at: timesteps at which it resamples.
    """

    at: frozenset[int]

    def __call__(self, schedule: Schedule, z: Tensor, z0: Tensor, t: int, s: int, noise: Tensor) -> Tensor:
        """The state at s, without the share of z1."""
        z = DDIM()(schedule, z, z0, t, s, noise)
        if t not in self.at or s < 0:
            return z
        share = kept(schedule, t, s)
        return share * z + (share * variance(schedule, t, s)) ** 0.5 * noise


ABOUT = About(
    "ReSample: hard data consistency at every tenth step, resampling; blind by an M-step there, from a delta",
    "Song et al., Solving Inverse Problems with Latent Diffusion Models via Hard Data Consistency, ICLR 2024",
    "500, without gradients",
    "the kernel is known and the prior is a large latent one",
)
STARTED = About(
    "ReSample from a classical estimate of the kernel, refined at t < 400",
    ABOUT.paper + ", with the start of docs/method.md",
    "500, without gradients",
    "small priors, which do not find a kernel from a delta",
)


@dataclass(frozen=True)
class ReSample:
    """Hard data consistency with a known kernel, or inside EM.

    Args:
        steps: of the reverse diffusion.
        times: how often the image is made consistent, evenly over the last two thirds of the steps and at the end.
        start: where the kernel starts.
        below: see `fastem.KernelStep`.
    """

    steps: int = 500
    times: int = 34
    start: Start = dirac
    below: int = 1000
    about: About = ABOUT
    needs: tuple[str, ...] = ("prior", "denoiser")
    own_prior: str = "photos"

    def __call__(self, problem: Deblurring, models: Models, options: Options) -> Iterator[Progress]:
        """The network alone between the consistent steps."""
        no_skip(options, "resample")
        prior = models.prior
        ts = prior.schedule.timesteps(options.steps or self.steps)
        at = self.consistent(ts)
        shape = isotropic(prior, problem).clean
        move = Resampling(prior, HardConsistency(problem.A, shape), dict(zip(ts, [*ts[1:], -1], strict=True)), kept)
        phi = unknown(problem, models, self.start, m_step(problem, models.denoiser, self.below))
        x = Diffused(prior, ts, Resample(at))
        return solve(problem.y, x, phi, move, problem.sigma, canvas=problem.canvas, active=lambda i, t: t in at, rng=problem.rng)

    def consistent(self, ts: list[int]) -> frozenset[int]:
        """The timesteps of the consistent steps: as published every tenth of 500 after the first third."""
        late = ts[len(ts) // 3 :]
        every = max(1, round(len(late) / self.times))
        return frozenset(late[::-1][::every])


METHODS: dict[str, Method] = {"resample": ReSample(), "resample-started": ReSample(start=Coarse(), below=400, about=STARTED)}
