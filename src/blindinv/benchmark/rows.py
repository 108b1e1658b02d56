"""The rows of the tables: functions of a batch and a context -> images (B, 3, H, W) and kernels (B, 1, n, n)."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field, is_dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from torch import Tensor

from blindinv.baselines.sparse import sparse_deconvolution
from blindinv.benchmark.cases import Batch
from blindinv.hashing import tensor_hash
from blindinv.kernels.measure import delta
from blindinv.operators.convolution import mean_image, wiener
from blindinv.solve import Progress

if TYPE_CHECKING:
    from blindinv.methods.method import Method, Models


@dataclass
class Context:
    """What rows share: models, loaded when the first row needs them, and settings.

    Args:
        prior_name: shipped name, path or hub id; None: each method's own.
        device: such as "cpu".
        seed: of the methods' random numbers.
        steps: of the reverse diffusion; None: the method's own.
        record: called after every step of a method.
    """

    prior_name: str | None = None
    device: str = "cpu"
    seed: int = 0
    steps: int | None = None
    record: Callable[[Progress], Any] | None = field(default=None, compare=False)

    @cached_property
    def _loaded(self) -> dict[str, Any]:
        return {}

    def prior(self, own: str = "photos") -> Any:
        """The image prior on the device: the named one, or the shipped one called `own`; loaded once."""
        from blindinv.zoo import load_prior

        name = self.prior_name or own
        if name not in self._loaded:
            self._loaded[name] = load_prior(name, device=self.device)
        return self._loaded[name]

    def models(self, method: "Method") -> "Models":
        """What a method needs, on the device."""
        from blindinv.methods.method import Models
        from blindinv.zoo.models import completed

        models = Models(prior=self.prior(method.own_prior)) if "prior" in method.needs else Models()
        key = "models of " + ", ".join(method.needs) + (method.own_prior if "prior" in method.needs else "")
        if key not in self._loaded:
            self._loaded[key] = completed(method, models, self.device)
        return self._loaded[key]

    def weights(self, needs: tuple[str, ...], own: str = "photos") -> dict[str, str]:
        """SHA-256 of the networks: of the file of shipped ones, of the tensors of others."""
        from blindinv.zoo.shipped import weights_hash

        shipped, name = weights_hash(), self.prior_name or own
        files = {"denoiser": "kernel_denoiser", "kernel_prior": "kernels64", "restorer": "restorer"}
        hashes = {need: shipped[files[need]] for need in needs if need in files}
        if "prior" in needs:
            hashes["prior"] = shipped[name] if name in shipped else tensor_hash(self.prior(own))
        return hashes


@dataclass(frozen=True)
class Row:
    """A line of a table.

    Attributes:
        run: the function.
        needs: the networks that it uses, as `Method.needs` names them.
        own_prior: the image prior that it takes when none is named.
        settings: constants that decide its result, for the record.
    """

    run: Callable[[Batch, Context], tuple[Tensor, Tensor]]
    needs: tuple[str, ...] = ()
    own_prior: str = "photos"
    settings: dict[str, Any] = field(default_factory=dict)


def rows() -> dict[str, Row]:
    """All rows by name: the references, every method, and NAME-true for each with the true kernel given."""
    from blindinv.benchmark.ablations import ABLATIONS
    from blindinv.methods import methods

    table = {"blurred": Row(blurred), "wiener-true": Row(wiener_true, ("prior",)), "sparse-true": Row(sparse_true)}
    for name, method in (dict(methods()) | ABLATIONS).items():
        settings = describe(method)
        table[name] = Row(partial(_deblur, method=method), method.needs, method.own_prior, settings)
        true = partial(_deblur, method=method, true_kernel=True)
        table[f"{name}-true"] = Row(true, method.needs, method.own_prior, settings)
    return table


def describe(method: object) -> dict[str, Any]:
    """The constants of a method that is a dataclass or a partial function; empty for others."""
    if isinstance(method, partial):
        return {k: repr(v) for k, v in method.keywords.items()}
    if is_dataclass(method) and not isinstance(method, type):
        return {k: repr(v) for k, v in asdict(method).items() if k not in ("about", "needs", "own_prior")}
    return {}


def blurred(batch: Batch, context: Context) -> tuple[Tensor, Tensor]:
    """The observation itself, as if nothing had blurred it."""
    return batch.y, delta(batch.kernel_size, len(batch.y)).to(batch.y)


def wiener_true(batch: Batch, context: Context) -> tuple[Tensor, Tensor]:
    """The Wiener filter with the true kernel and the mean spectrum of the prior's photos.

    Raises:
        ValueError: the prior has no image spectrum.
    """
    spectrum = getattr(context.prior(), "image_spectrum", None)
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

    models = context.models(method)
    result = deblur(
        batch.y,
        method=method,
        prior=models.prior,
        denoiser=models.denoiser,
        kernel_prior=models.kernel_prior,
        restorer=models.restorer,
        kernel_size=batch.kernel.shape[-1] if true_kernel else batch.kernel_size,
        sigma=batch.sigma,
        circular=batch.circular,
        kernel=batch.kernel if true_kernel else None,
        steps=context.steps,
        seed=context.seed,
        record=context.record,
    )
    return result.image, result.kernel
