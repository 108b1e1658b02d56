"""deepinv's physics as operators: the same convolution as ours, adjoint, and pure."""

import pytest
import torch
from deepinv.physics import Blur, BlurFFT, Downsampling

from blindinv.kernels.measure import delta
from blindinv.operators.convolution import CircularConvolution, FreeConvolution
from blindinv.operators.deepinv_ import DeepinvOperator

SIZE = (3, 12, 17)


def rand(*shape, seed=0, dtype=torch.float64):
    return torch.rand(*shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def physics(kind, filter=None):
    return {
        "fft": lambda: BlurFFT(SIZE, filter),
        "circular": lambda: Blur(filter, padding="circular"),
        "valid": lambda: Blur(filter, padding="valid"),
        "reflect": lambda: Blur(filter, padding="reflect"),
        "downsampling": lambda: Downsampling((3, 12, 16), filter=filter, factor=2),
    }[kind]()


@pytest.mark.parametrize("kind", ["fft", "circular"])
@pytest.mark.parametrize("n", [3, 4, 5, 8])
def test_blur_is_the_circular_convolution(kind, n):
    """Convolution, not correlation, with the same origin: kernels without any symmetry, odd and even, one per sample."""
    x, y, k = rand(2, *SIZE), rand(2, *SIZE, seed=1), rand(2, 1, n, n, seed=2)
    A, ours = DeepinvOperator(physics(kind), "filter"), CircularConvolution()
    torch.testing.assert_close(A(x, k), ours(x, k))
    torch.testing.assert_close(A.adjoint(y, k), ours.adjoint(y, k))
    assert (A(x, k.flip(-1, -2)) - ours(x, k)).abs().max() > 0.1


@pytest.mark.parametrize("n", [3, 4])
def test_valid_blur_is_the_part_that_wraps_nothing(n):
    x, k = rand(2, *SIZE), rand(2, 1, n, n, seed=2)
    first, rows, columns = n - 1 - n // 2, 12 - n + 1, 17 - n + 1
    expected = FreeConvolution()(x, k)[..., first : first + rows, first : first + columns]
    torch.testing.assert_close(DeepinvOperator(physics("valid"), "filter")(x, k), expected)


@pytest.mark.parametrize("kind", ["fft", "circular", "valid", "reflect", "downsampling"])
@pytest.mark.parametrize("n", [3, 5])
def test_adjoint_by_inner_product(kind, n):
    A, k = DeepinvOperator(physics(kind, delta(n)), "filter"), rand(1, 1, n, n, seed=2)
    x = rand(2, 3, 12, 16 if kind == "downsampling" else 17)
    y = rand(*A(x, k).shape, seed=1)
    torch.testing.assert_close((A(x, k) * y).sum((1, 2, 3)), (x * A.adjoint(y, k)).sum((1, 2, 3)))


@pytest.mark.parametrize(
    ("kind", "filter"), [("fft", None), ("fft", delta(3)), ("circular", None), ("circular", delta(3)), ("downsampling", delta(3))]
)
def test_physics_and_operator_keep_nothing(kind, filter):
    """Neither the kernel nor the precision of one call reaches the next one, or the physics."""
    theirs = physics(kind, filter)
    attributes, buffers = dict(theirs.__dict__), dict(theirs._buffers)
    values = {name: b.clone() for name, b in buffers.items() if b is not None}
    A, x, k = DeepinvOperator(theirs, "filter"), rand(1, 3, 12, 16 if kind == "downsampling" else 17), rand(1, 1, 3, 3, seed=2)
    alone = A(x, k)
    A.adjoint(A(x, 2 * k), 2 * k)
    A(x.float(), delta(3))
    assert torch.equal(A(x, k), alone)
    assert (alone.dtype, A(x.float(), k.float()).dtype) == (torch.float64, torch.float32)
    assert theirs.__dict__.keys() == attributes.keys()
    assert all(theirs.__dict__[name] is value for name, value in attributes.items())
    assert theirs._buffers.keys() == buffers.keys()
    assert all(theirs._buffers[name] is b for name, b in buffers.items())
    assert all(torch.equal(theirs._buffers[name], value) for name, value in values.items())


@pytest.mark.parametrize("kind", ["fft", "circular"])
def test_gradients_reach_image_and_kernel(kind):
    x, k = rand(1, *SIZE).requires_grad_(), rand(1, 1, 3, 3, seed=2).requires_grad_()
    w = rand(1, *SIZE, seed=3)
    got = torch.autograd.grad((DeepinvOperator(physics(kind), "filter")(x, k) * w).sum(), (x, k))
    expected = torch.autograd.grad((CircularConvolution()(x, k) * w).sum(), (x, k))
    for a, b in zip(got, expected, strict=True):
        torch.testing.assert_close(a, b)


def test_a_name_that_the_physics_does_not_have_is_refused():
    with pytest.raises(ValueError, match="Blur has no parameter 'kernel'"):
        DeepinvOperator(physics("circular"), "kernel")
