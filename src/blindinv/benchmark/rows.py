"""The rows of the tables: functions of a batch and a context -> images (B, 3, H, W) and kernels (B, 1, n, n)."""

from collections.abc import Callable
from dataclasses import dataclass, field, fields, is_dataclass
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

    def models(self, row: "Method | Row") -> "Models":
        """What a method, or the row of one, needs, on the device; loaded once."""
        from blindinv.methods.method import Models
        from blindinv.zoo.models import completed

        key = "models of " + ", ".join((*row.needs, row.own_prior if "prior" in row.needs else ""))
        if key not in self._loaded:
            models = Models(prior=self.prior(row.own_prior)) if "prior" in row.needs else Models()
            self._loaded[key] = completed(row, models, self.device)
        return self._loaded[key]

    def weights(self, needs: tuple[str, ...], own: str = "photos") -> dict[str, str]:
        """SHA-256 of the networks: of the file of shipped ones, of the tensors of others."""
        from blindinv.zoo.shipped import weights_hash

        shipped, name = weights_hash(), self.prior_name or own
        files = {"denoiser": "kernel_denoiser", "refiner": "kernel_refiner", "kernel_prior": "kernels64", "restorer": "restorer"}
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
        table |= {name: method_row(method), f"{name}-true": method_row(method, true_kernel=True)}
    return table


def method_row(method: "Method", own_prior: str | None = None, true_kernel: bool = False) -> Row:
    """A method as a row.

    Args:
        method: with its settings.
        own_prior: name or path of an image prior in the place of the method's own.
        true_kernel: whether the method is given the true kernel.
    """
    call = partial(_deblur, method=method, own_prior=own_prior or method.own_prior, true_kernel=true_kernel)
    return Row(call, method.needs, own_prior or method.own_prior, describe(method))


def blind(method: "Method") -> bool:
    """Whether a method finds kernels; those that are only for known ones have an attribute `known`."""
    return not getattr(method, "known", False)


def describe(method: object) -> dict[str, Any]:
    """The constants of a method that is a dataclass or a partial function, the same in every process; empty for others."""
    if isinstance(method, partial):
        return {k: _text(v) for k, v in method.keywords.items()}
    if is_dataclass(method) and not isinstance(method, type):
        values = {f.name: getattr(method, f.name) for f in fields(method)}
        words = {k: _text(v) for k, v in values.items() if k not in ("about", "needs", "own_prior")}
        return {"method": type(method).__name__} | words
    return {}


def _text(value: Any) -> str:
    """As repr, with functions and values that hold functions by name instead of by address."""
    if is_dataclass(value) and not isinstance(value, type):
        inside = ", ".join(f"{f.name}={_text(getattr(value, f.name))}" for f in fields(value))
        return f"{type(value).__name__}({inside})"
    if isinstance(value, list | tuple):
        inside = ", ".join(_text(v) for v in value)
        return f"[{inside}]" if isinstance(value, list) else f"({inside})"
    if isinstance(value, partial):
        return f"{_text(value.func)}({', '.join(f'{k}={_text(v)}' for k, v in value.keywords.items())})"
    return getattr(value, "__qualname__", None) or repr(value)


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


def _deblur(batch: Batch, context: Context, method: "Method", own_prior: str, true_kernel: bool = False) -> tuple[Tensor, Tensor]:
    from blindinv.deblur import deblur

    models = context.models(Row(blurred, method.needs, own_prior))
    result = deblur(
        batch.y,
        method=method,
        prior=models.prior,
        denoiser=models.denoiser,
        refiner=models.refiner,
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
