"""A guide that bends with a hierarchy, and emulators along coordinates that straighten it, against closed forms."""

import math

import pytest
import torch

from calib import FitConfig, Problem, fit, make_flow, start_flow
from calib.multifidelity._emulator import feature_jacobian, to_features
from calib.multifidelity._warm_start import WarmStart, cold_start
from tests.calib.multifidelity.emulators import fit_emulator

EFFECTS, SLOPE, NOISE = 6, 0.5, 0.05
ROWS = [(0, 1, 1 + EFFECTS, SLOPE)]


def flow(exponent=0.3, name="gaussian"):
    made = make_flow(name, 1 + EFFECTS, seed=0, init_scale=0.7, hierarchy=ROWS)
    with torch.no_grad():
        made.layers[-1].exponent.fill_(exponent)
        made.layers[-2].loc.copy_(torch.linspace(-1, 1, 1 + EFFECTS))
    return made


@pytest.mark.parametrize("name", ["gaussian", "gaussian-nsf"])
def test_density_score_and_inverse_agree(name):
    made = flow(name=name)
    noise = made.noise(5, torch.Generator().manual_seed(0))
    z, log_q = made.sample_with_log_prob(noise)
    torch.testing.assert_close(made.inverse(z), noise)
    torch.testing.assert_close(made.log_prob(z), log_q)
    leaf = z.detach().requires_grad_()
    (slope,) = torch.autograd.grad(made.log_prob(leaf).sum(), leaf)
    torch.testing.assert_close(made.score(noise), slope)


def test_start_is_the_laplace_approximation_seen_through_the_bend():
    start = cold_start(1 + EFFECTS, torch.zeros(()))
    root = 3 * torch.randn(1 + EFFECTS, 1 + EFFECTS, generator=torch.Generator().manual_seed(0))
    mode = torch.linspace(-0.5, 0.5, 1 + EFFECTS)
    warm = WarmStart(**(vars(start) | {"z": mode, "information": root @ root.T + 400 * torch.eye(1 + EFFECTS)}))
    made = flow()
    start_flow(made, warm.z, warm.covariance)
    z = made.sample(40_000, torch.Generator().manual_seed(1))
    torch.testing.assert_close(z.mean(0), mode, rtol=0, atol=2e-3)
    torch.testing.assert_close(z.T.cov(), warm.covariance, rtol=0.05, atol=1e-4)


def scale(z):
    return 0.1 * torch.exp(SLOPE * z[..., :1])


def test_guide_follows_the_spread_of_known_effects():
    """Effects known to a third of their spread: the posterior of the spread against quadrature, where a plain Gaussian is too narrow."""
    g = torch.Generator().manual_seed(3)
    y = 0.15 * torch.randn(EFFECTS, generator=g) + NOISE * torch.randn(EFFECTS, generator=g)
    grid = torch.linspace(-5, 5, 4001)[:, None]
    marginal = (scale(grid) ** 2 + NOISE**2).sqrt()
    log_p = -0.5 * grid[:, 0] ** 2 - (0.5 * (y / marginal) ** 2 + marginal.log()).sum(1)
    p = torch.softmax(log_p, 0)
    mean = float(p @ grid[:, 0])
    sd = math.sqrt(float(p @ (grid[:, 0] - mean) ** 2))

    def log_likelihood(z, seed, gradient):
        return -0.5 * (((y - scale(z) * z[:, 1:]) / NOISE) ** 2).sum(1)

    problem = Problem(dim=1 + EFFECTS, log_likelihood=log_likelihood)
    settings = FitConfig(seed=0, particles=64, learning_rate=0.02, max_steps=1000)
    found = {}
    for kind, rows in (("bent", ROWS), ("plain", ())):
        made = make_flow("gaussian", 1 + EFFECTS, seed=0, init_scale=0.3, hierarchy=rows)
        fitted = fit(problem, made, settings).flow
        z = fitted.sample(20_000, torch.Generator().manual_seed(0))[:, 0]
        found[kind] = (float(z.mean()), float(z.std()))
    assert found["bent"][0] == pytest.approx(mean, abs=0.25 * sd)
    assert found["bent"][1] == pytest.approx(sd, rel=0.15)
    assert found["plain"][1] < 0.85 * sd  # what the quadratic is there for


def feature_map(z):
    return scale(z) * z[..., 1:]


def hierarchy_outputs(z, level=1.0):
    """Outputs log-linear in the effects, not in z."""
    a = torch.randn(9, EFFECTS, generator=torch.Generator().manual_seed(5))
    value = level * torch.exp(feature_map(z) @ a.T)
    return value, value[..., None] * (a @ feature_jacobian(feature_map, z)), a


def test_jacobians_come_back_from_the_chart():
    z = torch.randn(7, 1 + EFFECTS, generator=torch.Generator().manual_seed(6))
    value, jacobian, a = hierarchy_outputs(z)
    torch.testing.assert_close(to_features(feature_map, z, jacobian), value[..., None] * a)


def test_local_mean_is_exact_along_its_chart_and_not_along_z():
    z = 0.3 * torch.randn(12, 1 + EFFECTS, generator=torch.Generator().manual_seed(7))
    value, jacobian, _ = hierarchy_outputs(z)
    far = torch.full((1 + EFFECTS,), 1.5)
    truth = hierarchy_outputs(far)[0]
    torch.testing.assert_close(fit_emulator(z, value, jacobian, floor=1e-9, feature_map=feature_map)(far), truth)
    straight = fit_emulator(z, value, jacobian, floor=1e-9)(far)
    assert float((straight / truth).log().abs().max()) > 0.05
    leaf = far.clone().requires_grad_()
    local = fit_emulator(z, value, jacobian, floor=1e-9, feature_map=feature_map)
    torch.testing.assert_close(torch.func.jacrev(local)(leaf.detach()), local.jacobian(far))


def test_level_comes_from_the_larger_system_and_slopes_from_the_sample():
    z = 0.3 * torch.randn(12, 1 + EFFECTS, generator=torch.Generator().manual_seed(8))
    value, jacobian, _ = hierarchy_outputs(z, level=0.8)  # a small sample that loses a fifth to chance
    at = 0.2 * torch.randn(5, 1 + EFFECTS, generator=torch.Generator().manual_seed(9))
    local = fit_emulator(z, value, jacobian, floor=1e-9, feature_map=feature_map, values=(at, hierarchy_outputs(at)[0]))
    assert local.runs == 5
    torch.testing.assert_close(local(z), hierarchy_outputs(z)[0])
