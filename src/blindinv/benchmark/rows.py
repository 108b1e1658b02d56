"""The rows of the tables: functions of a batch and a context -> images (B, 3, H, W) and kernels (B, 1, n, n)."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field, is_dataclass
from functools import cached_property, partial
from typing import Any

from torch import Tensor

from blindinv.baselines.sparse import sparse_deconvolution
from blindinv.benchmark.cases import Batch
from blindinv.hashing import tensor_hash
from blindinv.kernels.measure import delta
from blindinv.operators.convolution import mean_image, wiener
from blindinv.solve import Progress


@dataclass
class Context:
    """What rows share: models, loaded when the first row needs them, and settings.

    Args:
        prior_name: shipped name, path or hub id.
        device: such as "cpu".
        seed: of the methods' random numbers.
        steps: of the reverse diffusion; None: the method's own.
        record: called after every step of a method.
    """

    prior_name: str = "photos"
    device: str = "cpu"
    seed: int = 0
    steps: int | None = None
    record: Callable[[Progress], Any] | None = field(default=None, compare=False)

    @cached_property
    def prior(self) -> Any:
        """The image prior on the device."""
        from blindinv.zoo import load_prior

        return load_prior(self.prior_name, device=self.device)

    @cached_property
    def denoiser(self) -> Any:
        """The kernel denoiser on the device."""
        from blindinv.zoo import load_kernel_denoiser

        return load_kernel_denoiser().to(self.device)

    @cached_property
    def weights(self) -> dict[str, str]:
        """SHA-256 of prior and kernel denoiser: of the file of shipped ones, of the tensors of others."""
        from blindinv.zoo.shipped import weights_hash

        shipped = weights_hash()
        prior = shipped[self.prior_name] if self.prior_name in shipped else tensor_hash(self.prior)
        return {"prior": prior, "kernel_denoiser": shipped["kernel_denoiser"]}


@dataclass(frozen=True)
class Row:
    """A line of a table.

    Attributes:
        run: the function.
        models: whether it uses prior and denoiser.
        settings: constants that decide its result, for the record.
    """

    run: Callable[[Batch, Context], tuple[Tensor, Tensor]]
    models: bool = False
    settings: dict[str, Any] = field(default_factory=dict)


def rows() -> dict[str, Row]:
    """All rows by name: the references, every method of `blindinv.deblur`, and NAME-true for each with the true kernel given."""
    from blindinv.benchmark.ablations import ABLATIONS
    from blindinv.deblur import METHODS

    table = {"blurred": Row(blurred), "wiener-true": Row(wiener_true, models=True), "sparse-true": Row(sparse_true)}
    for name, method in (METHODS | ABLATIONS).items():
        settings = describe(method)
        table[name] = Row(partial(_deblur, method=method), True, settings)
        table[f"{name}-true"] = Row(partial(_deblur, method=method, true_kernel=True), True, settings)
    return table


def describe(method: object) -> dict[str, Any]:
    """The constants of a method that is a dataclass or a partial function; empty for others."""
    if isinstance(method, partial):
        return {k: repr(v) for k, v in method.keywords.items()}
    if is_dataclass(method) and not isinstance(method, type):
        return {k: repr(v) for k, v in asdict(method).items()}
    return {}


def blurred(batch: Batch, context: Context) -> tuple[Tensor, Tensor]:
    """The observation itself, as if nothing had blurred it."""
    return batch.y, delta(batch.kernel_size, len(batch.y)).to(batch.y)


def wiener_true(batch: Batch, context: Context) -> tuple[Tensor, Tensor]:
    """The Wiener filter with the true kernel and the mean spectrum of the prior's photos.

    Raises:
        ValueError: the prior has no image spectrum.
    """
    spectrum = getattr(context.prior, "image_spectrum", None)
    if spectrum is None:
        raise ValueError(f"the prior '{context.prior_name}' has no image spectrum, which the row wiener-true needs")
    problem = batch.problem()
    x0 = mean_image(problem.A, problem.y, problem.kernel_size)
    x = wiener(problem.A, problem.y, batch.kernel, spectrum(0, problem.canvas, problem.y.device), problem.sigma, x0)
    return problem.frame(x).clamp(0, 1), batch.kernel


def sparse_true(batch: Batch, context: Context) -> tuple[Tensor, Tensor]:
    """Deconvolution with a sparse gradient prior and the true kernel."""
    return sparse_deconvolution(batch.problem()), batch.kernel


def _deblur(batch: Batch, context: Context, method: Any, true_kernel: bool = False) -> tuple[Tensor, Tensor]:
    from blindinv.deblur import deblur

    result = deblur(
        batch.y,
        method=method,
        prior=context.prior,
        denoiser=context.denoiser,
        kernel_size=batch.kernel.shape[-1] if true_kernel else batch.kernel_size,
        sigma=batch.sigma,
        circular=batch.circular,
        kernel=batch.kernel if true_kernel else None,
        steps=context.steps,
        seed=context.seed,
        record=context.record,
    )
    return result.image, result.kernel
