import math

import pytest
import torch

from calib import FLOWS, make_flow
from calib.multifidelity._shared_error import WithErrors


def shaken(name, dim, seed=0, size=0.1):
    """A flow away from its start, where nothing vanishes by chance."""
    flow = make_flow(name, dim, seed=seed, init_scale=0.7)
    generator = torch.Generator().manual_seed(seed + 1)
    with torch.no_grad():
        for p in flow.parameters():
            p.add_(size * torch.randn(p.shape, generator=generator))
    return flow


def noise(*shape, seed=5):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("name", FLOWS)
class TestContract:
    @pytest.mark.parametrize("dim", [1, 2, 5])
    def test_shapes(self, name, dim):
        flow = shaken(name, dim)
        z, log_q = flow.sample_with_log_prob(noise(3, 4, dim))
        assert z.shape == (3, 4, dim)
        assert log_q.shape == (3, 4)
        assert flow.log_prob(z).shape == (3, 4)

    @pytest.mark.parametrize(("dim", "scale"), [(1, 1.0), (4, 0.3), (60, 1.0)])
    def test_starts_at_the_scaled_prior(self, name, dim, scale):
        flow = make_flow(name, dim, seed=3, init_scale=scale)
        u = noise(20, dim) * 2  # into the splines' tails
        z, log_q = flow.sample_with_log_prob(u)
        torch.testing.assert_close(z, scale * u, rtol=0, atol=1e-12)
        base = torch.distributions.Normal(0.0, 1.0).log_prob(u).sum(-1) - dim * math.log(scale)
        torch.testing.assert_close(log_q, base, rtol=0, atol=1e-10)

    @pytest.mark.parametrize("dim", [1, 2, 7])
    def test_inverse_and_density_of_own_samples(self, name, dim):
        flow = shaken(name, dim)
        u = noise(30, dim)
        z, log_q = flow.sample_with_log_prob(u)
        torch.testing.assert_close(flow.inverse(z), u, rtol=1e-8, atol=1e-8)
        torch.testing.assert_close(flow.log_prob(z), log_q, rtol=1e-8, atol=1e-8)

    def test_log_determinant_against_autograd(self, name):
        flow = shaken(name, 4)
        for u in noise(6, 4):
            jacobian = torch.autograd.functional.jacobian(lambda u: flow.sample_with_log_prob(u)[0], u)
            base = torch.distributions.Normal(0.0, 1.0).log_prob(u).sum()
            expected = base - torch.linalg.slogdet(jacobian).logabsdet
            torch.testing.assert_close(flow.sample_with_log_prob(u)[1], expected, rtol=1e-9, atol=1e-9)

    @pytest.mark.parametrize("dim", [1, 2, 7])
    def test_score_is_the_derivative_of_the_density(self, name, dim):
        flow, u = shaken(name, dim), noise(6, dim)
        z = flow.sample_with_log_prob(u)[0].detach().requires_grad_()
        (expected,) = torch.autograd.grad(flow.log_prob(z).sum(), z)
        torch.testing.assert_close(flow.score(u), expected, rtol=1e-7, atol=1e-7)

    @pytest.mark.parametrize("direction", ["sample", "density"])
    @pytest.mark.parametrize("hierarchy", [(), [(0, 2, 4, 0.7), (1, 4, 6, 0.4)]])
    def test_reverse_mode_without_a_tape_is_that_of_autograd(self, name, direction, hierarchy):
        flow = make_flow(name, 6, seed=1, direction=direction, hierarchy=hierarchy)
        generator = torch.Generator().manual_seed(2)
        with torch.no_grad():
            for p in flow.parameters():
                p.add_(0.1 * torch.randn(p.shape, generator=generator))
        by, by_log = noise(5, 9, seed=3), noise(5, seed=4)
        for coordinates, dim in ((flow, 6), (WithErrors(flow, 3), 9)):
            u = noise(5, dim).requires_grad_()
            z, log_q = coordinates.sample_with_log_prob(u)
            (wanted,) = torch.autograd.grad((z, log_q), u, (by[:, :dim], by_log))
            same_z, same_log_q, back = coordinates.with_back(u)
            assert not same_z.requires_grad
            assert not same_log_q.requires_grad
            torch.testing.assert_close(same_z, z.detach(), rtol=1e-12, atol=1e-12)
            torch.testing.assert_close(same_log_q, log_q.detach(), rtol=1e-12, atol=1e-12)
            torch.testing.assert_close(back(by[:, :dim], by_log), wanted, rtol=1e-10, atol=1e-10)

    def test_density_integrates_to_one(self, name):
        flow = shaken(name, 1)
        grid = torch.linspace(-9, 9, 4001)[:, None]
        total = torch.trapezoid(flow.log_prob(grid).detach().exp(), grid[:, 0])
        assert float(total) == pytest.approx(1, abs=2e-3)  # splines have kinks

    @pytest.mark.parametrize("dim", [1, 5])
    def test_every_parameter_learns(self, name, dim):
        flow = make_flow(name, dim, seed=0)
        optimiser = torch.optim.Adam(flow.parameters(), lr=1e-2)
        for _ in range(2):  # at the exact start the hidden layers stand behind a zero layer
            optimiser.zero_grad()
            z, log_q = flow.sample_with_log_prob(noise(64, dim))
            (((z - 1) ** 4).sum(-1) + log_q).mean().backward()
            optimiser.step()
        for key, p in flow.named_parameters():
            assert p.grad is not None, key
            assert p.grad.abs().max() > 0 or (dim == 1 and key.endswith("lower")), key

    def test_state_round_trip(self, name):
        flow, other = shaken(name, 3), make_flow(name, 3, seed=9)
        other.load_state_dict(flow.state_dict())
        assert torch.equal(flow.sample_with_log_prob(noise(4, 3))[0], other.sample_with_log_prob(noise(4, 3))[0])

    def test_seed_decides_and_the_global_state_is_left_alone(self, name):
        before = torch.random.get_rng_state()
        a, b = make_flow(name, 5, seed=4), make_flow(name, 5, seed=4)
        draws = [f.sample(7, torch.Generator().manual_seed(1)) for f in (a, b)]
        assert torch.equal(torch.random.get_rng_state(), before)
        assert torch.equal(*draws)
        for p, q in zip(a.parameters(), b.parameters(), strict=True):
            assert torch.equal(p, q)

    def test_default_dtype_does_not_matter(self, name):
        a = make_flow(name, 5, seed=4)
        torch.set_default_dtype(torch.float32)
        b = make_flow(name, 5, seed=4)
        for p, q in zip(a.parameters(), b.parameters(), strict=True):
            assert torch.equal(p, q)

    def test_float32(self, name):
        flow = make_flow(name, 5, seed=0, dtype=torch.float32)
        z = flow.sample(6, torch.Generator().manual_seed(0))
        assert z.dtype == torch.float32
        assert flow.log_prob(z).dtype == torch.float32


def test_a_hierarchy_keeps_batches_precision_and_what_was_saved():
    """Effects 2 and 3 by coordinate 0, 4 and 5 by coordinate 1; coordinates of no block stay as they are."""
    hierarchy = [(0, 2, 4, 0.7), (1, 4, 6, 0.4)]
    flow = make_flow("gaussian", 8, seed=0, hierarchy=hierarchy)
    u = noise(3, 4, 8)
    z, log_q = flow.sample_with_log_prob(u)
    factor = torch.ones(3, 4, 8)
    factor[..., 2:4], factor[..., 4:6] = (torch.exp(-c * u[..., s, None]) for s, c in ((0, 0.35), (1, 0.2)))
    torch.testing.assert_close(z, u * factor)
    base = torch.distributions.Normal(0.0, 1.0).log_prob(u).sum(-1)
    torch.testing.assert_close(log_q, base - factor.log().sum(-1))
    torch.testing.assert_close(flow.inverse(z), u)
    single = make_flow("gaussian", 8, seed=0, hierarchy=hierarchy, dtype=torch.float32)
    assert single.sample_with_log_prob(u.float())[0].dtype == torch.float32
    assert not [name for name in flow.state_dict() if "source" in name or "block" in name], "weights alone are saved"
    lost = u[0].clone()
    lost[:, 0] = torch.inf
    assert bool(torch.isfinite(flow.layers[-1].push(lost)[0][:, 6:]).all())


def test_gaussian_reaches_any_covariance():
    flow = shaken("gaussian", 3, size=0.5)
    layer = flow.layers[0]
    scale = layer.log_scale.exp()[:, None] * (torch.eye(3) + layer.lower.tril(-1))
    exact = torch.distributions.MultivariateNormal(layer.loc, scale_tril=scale)
    z = noise(10, 3)
    torch.testing.assert_close(flow.log_prob(z), exact.log_prob(z))


def test_later_outputs_depend_on_all_earlier_inputs():
    flow = shaken("gaussian-nsf", 60, size=0.3)
    jacobian = torch.autograd.functional.jacobian(lambda u: flow.layers[0].push(u)[0], noise(60))
    lower = jacobian.tril(-1) != 0
    assert float(lower.sum()) / (60 * 59 / 2) > 0.999  # a narrow hidden layer would lose some
    assert (jacobian.triu(1) == 0).all()


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: make_flow("gausian", 3, seed=0), "no flow is called 'gausian'"),
        (lambda: make_flow("gaussian", 0, seed=0), "dim = 0"),
        (lambda: make_flow("gaussian", 3, seed=0, init_scale=0.0), "init_scale = 0.0"),
        (lambda: make_flow("gaussian", 3, seed=0).sample_with_log_prob(torch.zeros(2, 4)), "expected"),
    ],
)
def test_misuse_is_refused(call, text):
    with pytest.raises(ValueError, match=text):
        call()
