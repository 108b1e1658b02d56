"""Both ways: deepinv's physics under our loop, and our methods where deepinv expects a reconstructor."""

from pathlib import Path

import deepinv
import pytest
import torch
from deepinv.physics import Blur, BlurFFT, Downsampling, GaussianNoise, Physics, PoissonNoise, SpaceVaryingBlur

from blindinv.deblur import deblur
from blindinv.deepinv_solvers import BlindDeblurring
from blindinv.guidance.losses import Measurement
from blindinv.guidance.moves import Descend
from blindinv.kernels.measure import delta, mnc
from blindinv.kernels.motion import motion_kernels
from blindinv.mstep.gradient import Gradient
from blindinv.operators.convolution import CircularConvolution
from blindinv.operators.deepinv_ import DeepinvOperator
from blindinv.problem import Deblurring
from blindinv.protocols import generators
from blindinv.solve import Diffused, solve
from blindinv.step import DDIM
from blindinv.unknown import Estimated, Known


def rand(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def kernel(count=1, size=11):
    return motion_kernels(count, size, 0.5, torch.Generator().manual_seed(4))


def identity(k, sigma):
    return k


class Exposure(Physics):
    """y = gain x^gamma: somebody's physics, not linear and without an adjoint."""

    def __init__(self):
        super().__init__()
        self.register_buffer("gain", torch.ones(1, 1, 1, 1))
        self.register_buffer("gamma", torch.ones(1, 1, 1, 1))

    def A(self, x, gain=None, gamma=None, **kwargs):
        self.update_parameters(gain=gain, gamma=gamma)
        return self.gain * x.clamp(min=1e-3) ** self.gamma


def test_several_parameters_by_name():
    A = DeepinvOperator(SpaceVaryingBlur(padding="circular"), ("filters", "multipliers"))
    x, filters, masks = rand(2, 3, 16, 16), rand(1, 1, 4, 5, 5, seed=1), rand(1, 1, 4, 16, 16, seed=2)
    y = A(x, {"filters": filters, "multipliers": masks})
    expected = sum(CircularConvolution()(x * masks[:, :, i], filters[:, :, i]) for i in range(4))
    torch.testing.assert_close(y, expected, atol=1e-5, rtol=1e-4)
    v = rand(*y.shape, seed=3)
    back = A.adjoint(v, {"filters": filters, "multipliers": masks})
    torch.testing.assert_close((y * v).sum(), (x * back).sum(), rtol=1e-4, atol=0)


def test_a_physics_that_is_not_linear_has_the_adjoint_of_its_derivative():
    A, phi = (
        DeepinvOperator(Exposure(), ("gain", "gamma")),
        {"gain": torch.full((1, 1, 1, 1), 2.0), "gamma": torch.full((1, 1, 1, 1), 1.5)},
    )
    x, v = 0.2 + rand(1, 3, 8, 8), rand(1, 3, 8, 8, seed=1)
    torch.testing.assert_close(A(x, phi), 2 * x**1.5)
    torch.testing.assert_close(A.adjoint(v, phi, x), 3 * x**0.5 * v)


@pytest.mark.parametrize(("phi", "message"), [({"gain": delta(3)}, "has the parts gain, gamma"), (delta(3), "has the parts")])
def test_phi_that_does_not_fit_is_refused(phi, message):
    with pytest.raises(ValueError, match=message):
        DeepinvOperator(Exposure(), ("gain", "gamma"))(rand(1, 3, 8, 8), phi)


def test_one_name_takes_a_tensor_alone():
    with pytest.raises(ValueError, match="'gain' alone"):
        DeepinvOperator(Exposure(), "gain")(rand(1, 3, 8, 8), {"gain": delta(3)})


def test_em_finds_the_filter_of_deepinvs_downsampling(scenes, oracle):
    """A physics that we did not write: blur, then every second pixel. The filter is unknown, the M-step a plain gradient."""
    k, x = kernel(2, 9), oracle.decode(oracle.z[:2])
    A = DeepinvOperator(Downsampling((3, 48, 48), filter=delta(9), factor=2, padding="circular"), "filter")
    y = torch.cat([A(x[i : i + 1], k[i : i + 1]) for i in range(2)])
    found = []
    for i in range(2):
        level = torch.full((1, 1, 1, 1), 0.01)
        seen = y[i : i + 1] + 0.01 * torch.randn(1, 3, 24, 24, generator=torch.Generator().manual_seed(i))
        chain = Diffused(oracle, oracle.schedule.timesteps(40), DDIM(1.0))
        phi, loss = Estimated(delta(9), Gradient(A, iterations=5)), Measurement(A)
        move = Descend(loss, noise=loss.noise, rate=10.0)
        *_, last = solve(seen, chain, phi, move, level, canvas=(48, 48), rng=generators(0, 1))
        right = (last.x - x[i]).square().mean().sqrt() < 0.05
        found.append((bool(right), float(mnc(last.phi, k[i : i + 1]))))
    assert any(right for right, _ in found) and all(figure > 0.9 for right, figure in found if right), found


def test_a_known_part_and_an_estimated_part(scenes, oracle):
    """Exposure with a known gamma and an unknown gain, by name."""
    x, gain, gamma = oracle.decode(oracle.z[:1]), torch.full((1, 1, 1, 1), 0.6), torch.full((1, 1, 1, 1), 1.4)
    A = DeepinvOperator(Exposure(), ("gain", "gamma"))
    y = A(x, {"gain": gain, "gamma": gamma})

    class Bound:
        frame = staticmethod(A.frame)

        def __call__(self, x, phi):
            return A(x, {"gain": phi, "gamma": gamma})

    phi = {"gain": Estimated(torch.ones(1, 1, 1, 1), Gradient(Bound(), lambda v: v.clamp(min=0.1))), "gamma": Known(gamma)}
    loss = Measurement(A)
    chain = Diffused(oracle, oracle.schedule.timesteps(30), DDIM(1.0))
    move = Descend(loss, noise=loss.noise, rate=10.0)
    *_, last = solve(y, chain, phi, move, torch.full((1, 1, 1, 1), 0.01), rng=generators(0, 1))
    assert (last.x - x).square().mean().sqrt() < 0.05
    assert last.phi["gain"].item() == pytest.approx(0.6, abs=0.02)
    assert torch.equal(last.phi["gamma"], gamma)


def test_it_is_a_reconstructor_and_reads_what_the_physics_knows(scenes, oracle):
    x, k = scenes(24, 3, 48)[:1], kernel()
    physics = BlurFFT((3, 48, 48), k, noise_model=GaussianNoise(0.03))
    y = physics(x)
    model = BlindDeblurring("fastem-pigdm", 11, prior=oracle, denoiser=identity, steps=8, seed=2)
    assert isinstance(model, deepinv.models.Reconstructor)
    settings = {"method": "fastem-pigdm", "prior": oracle, "denoiser": identity, "kernel_size": 11, "steps": 8, "seed": 2}
    expected = deblur(y, sigma=0.03, circular=True, **settings)
    assert torch.equal(model(y, physics), expected.image)
    found = model.estimate(y, physics)
    assert torch.equal(found.kernel, expected.kernel) and not torch.equal(found.kernel, k)
    torch.testing.assert_close(found.sigma, torch.full((1, 1, 1, 1), 0.03))


@pytest.mark.parametrize(("blind", "name"), [(False, "fastem-pigdm"), (True, "ddnm")])
def test_not_blind_it_takes_the_filter(blind, name, scenes, oracle):
    """`blind=False`, or a method that is for known kernels only; the filter is padded to nine pixels at least."""
    x, k = scenes(24, 3, 48)[:1], rand(1, 1, 5, 5)
    k = k / k.sum()
    physics = Blur(k, padding="circular", noise_model=GaussianNoise(0.02))
    found = BlindDeblurring(name, blind=blind, prior=oracle, denoiser=identity, steps=6).estimate(physics(x), physics)
    assert found.kernel.shape == (1, 1, 9, 9)
    torch.testing.assert_close(CircularConvolution()(x, found.kernel), physics.A(x), atol=1e-5, rtol=0)


def test_poisson_noise_is_read(scenes, oracle):
    x, k = scenes(24, 3, 48)[:1], kernel()
    for normalize in (True, False):
        physics = Blur(k, padding="circular", noise_model=PoissonNoise(0.01, normalize=normalize, rng=generators(0, 1)[0]))
        y = physics(x)
        found = BlindDeblurring("ddnm", prior=oracle, steps=4).estimate(y, physics)
        counts = y if normalize else 0.01 * y
        expected = Deblurring.of(counts, 0.0, 11, True, k, photons=100.0).sigma.square().mean().sqrt()
        assert found.sigma.item() == pytest.approx(expected.item(), rel=1e-4)


def test_grey_images_come_back_grey(scenes, oracle):
    k = kernel()
    physics = Blur(k, padding="circular", noise_model=GaussianNoise(0.02))
    image = BlindDeblurring("ddnm", prior=oracle, steps=4)(physics(scenes(1, 1, 48)), physics)
    assert image.shape == (1, 1, 48, 48)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: BlindDeblurring("magic"), "there is no method 'magic'"),
        (lambda: BlindDeblurring("ddnm")(rand(1, 3, 48, 48)), "one filter"),
        (lambda: BlindDeblurring("latentdem")(rand(1, 4, 48, 48)), "one channel or three"),
        (lambda: BlindDeblurring("ddnm")(rand(1, 3, 48, 48), Blur(-delta(9), padding="circular")), "must not be negative"),
    ],
)
def test_what_cannot_be_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_the_example_runs():
    """Super-resolution with an unknown filter, cut to a few steps: already better than interpolation."""
    from importlib.util import module_from_spec, spec_from_file_location

    spec = spec_from_file_location("deepinv_physics", Path(__file__).parent.parent / "examples" / "deepinv_physics.py")
    example = module_from_spec(spec)
    spec.loader.exec_module(example)
    before, after, guess, found = example.main(12)
    assert after > before
    assert found > guess
