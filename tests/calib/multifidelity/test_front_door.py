"""The method for a user's own simulators, against closed forms, and cases in which it must say that it is wrong."""

import pytest
import torch
from torch.distributions import Independent, Normal, Poisson

import calib
from calib._more_budget import Allowance
from calib.multifidelity import Fidelity, GivenLikelihood, Problem, correction
from calib.multifidelity._first_order import Correction
from calib.multifidelity._front import settings_for
from calib.multifidelity._regression import regressed_jacobian
from calib.multifidelity._verdict import judge

D, F, SD = 3, 8, 0.3


def normal_case(noise):
    """Outputs linear in z with correlated chance, normal data: slopes, covariance of the chance, data, posterior mean and covariance."""
    g = torch.Generator().manual_seed(1)
    slope, shape = torch.randn(F, D, generator=g), noise * torch.randn(F, 2, generator=g)
    chance = shape @ shape.T + (0.1 * noise) ** 2 * torch.eye(F)
    total = chance + SD**2 * torch.eye(F)
    data = slope @ torch.tensor([1.0, -1.0, 0.5]) + torch.linalg.cholesky(total) @ torch.randn(F, generator=g)
    covariance = torch.linalg.inv(torch.eye(D) + slope.T @ torch.linalg.solve(total, slope))
    return slope, chance, data, covariance @ slope.T @ torch.linalg.solve(total, data), covariance


@pytest.mark.parametrize(
    ("gradient", "shared"),
    [pytest.param("score", False, marks=pytest.mark.slow), ("score", True), ("reverse", False)],
)
def test_posterior_of_a_linear_simulator_with_chance_is_the_closed_form(gradient, shared):
    slope, chance, data, mean, covariance = normal_case(0.4)
    root = torch.linalg.cholesky(chance)

    def simulate(theta, seed):
        z = torch.stack([theta[f"p{i}"] for i in range(D)], 1)
        rows = 1 if shared else len(z)
        return z @ slope.T + torch.randn(rows, F, generator=torch.Generator().manual_seed(seed)) @ root.T

    prior = {f"p{i}": Normal(torch.tensor(0.0), torch.tensor(1.0)) for i in range(D)}
    found = calib.calibrate(
        simulate, prior, data, likelihood=lambda out: Independent(Normal(out, SD), 1), method="multifidelity", budget=600,
        gradient=gradient, flow="gaussian",
    )  # fmt: skip
    z = found.sample_z(4000, torch.Generator().manual_seed(0))
    sd = covariance.diagonal().sqrt()
    assert float(((z.mean(0) - mean) / sd).abs().max()) < 0.4
    assert float((z.std(0) / sd).log().abs().max()) < 0.3
    assert found.verdict.state in ("good", "usable")
    assert found.report["simulations"] <= 600


@pytest.mark.slow
def test_a_simulator_that_no_quadratic_follows_is_called_poor():
    """Outputs that jump: the emulator is a line through the jump and takes what it misses for chance; pairs of fresh runs show it."""

    def simulate(theta, seed):
        x = theta["x"][:, None]
        chance = torch.randn(len(x), 4, generator=torch.Generator().manual_seed(seed))
        return torch.where(x > 0, 8.0, 2.0) + 0.1 * chance

    found = calib.calibrate(
        simulate, {"x": Normal(torch.tensor(0.0), torch.tensor(1.0))}, torch.full((4,), 5.0),
        likelihood=lambda out: Independent(Normal(out, 1.0), 1), method="multifidelity", budget=300, flow="gaussian",
    )  # fmt: skip
    assert found.verdict.state == "poor"
    assert found.report["correction"]["misfit"] > 1


def test_a_log_likelihood_alone_and_small_budgets_are_refused():
    prior = {"x": Normal(torch.tensor(0.0), torch.tensor(1.0))}
    with pytest.raises(ValueError, match="log likelihood alone"):
        calib.calibrate(lambda theta, seed: -(theta["x"] ** 2), prior, method="multifidelity", budget=500)
    with pytest.raises(ValueError, match="expected at least"):
        settings_for(100, 5, 1, 0)


def test_settings_stay_inside_the_budget():
    for budget, dim, cost in ((200, 2, 1), (2000, 6, 1), (3000, 10, 11)):
        s = settings_for(budget, dim, cost, 0)
        warm = s.warm_runs * (s.warm_steps if cost == 1 else s.first_steps + 2 * (s.warm_steps - s.first_steps))
        slopes = 0 if cost == 1 else s.rounds * s.round_jacobians
        assert cost * (warm + slopes) + 4.8 * s.round_runs + s.held_out_runs <= budget * 1.02


def test_regressed_slopes_are_those_of_the_expectation():
    g = torch.Generator().manual_seed(0)
    slope, z = torch.randn(5, 3, generator=g), torch.randn(400, 3, generator=g)
    linear = z @ slope.T + 0.2 * torch.randn(400, 5, generator=g)
    torch.testing.assert_close(regressed_jacobian(z, linear, link="identity", floor=0.0)[0], slope, atol=0.05, rtol=0)
    found = regressed_jacobian(z, linear.exp(), link="log", floor=1e-9)
    torch.testing.assert_close(found / linear.exp()[..., None], slope.expand(400, -1, -1), atol=0.05, rtol=0)


def test_information_of_a_given_likelihood_is_that_of_the_poisson():
    counts, mean = torch.tensor([3.0, 0.0, 8.0]), torch.tensor([[2.0, 1.0, 9.0]])
    own = GivenLikelihood(lambda out: Independent(Poisson(out), 1).log_prob(counts), 3, "log")
    jacobian = torch.randn(1, 3, 2, generator=torch.Generator().manual_seed(0))
    weight = counts / mean**2  # observed information in the mean
    wanted = torch.einsum("pfd,pf,pfe->pde", jacobian, weight, jacobian)
    torch.testing.assert_close(own.information(torch.zeros(1, 2), mean, jacobian), wanted)
    # an error of relative variance 0.25 in each output
    weight = weight / (1 + weight * 0.25 * mean**2)
    wanted = torch.einsum("pfd,pf,pfe->pde", jacobian, weight, jacobian)
    torch.testing.assert_close(own.information(torch.zeros(1, 2), mean, jacobian, torch.full((1, 3), 0.25)), wanted)


@pytest.mark.parametrize(
    ("ratio", "found", "r_hat", "extrapolated", "state"),
    [
        (1.0, (0.1, 1.1, 0.1, 0.1), 1.01, 0.0, "good"),
        (1.0, (0.1, 1.1, 0.1, 0.4), 1.01, 0.0, "usable"),
        (1.0, (0.1, 1.1, 0.1, 0.7), 1.01, 0.0, "poor"),
        (2.0, (0.1, 1.1, 0.1, 0.1), 1.01, 0.0, "poor"),
        (1.0, (0.6, 1.1, 0.1, 0.1), 1.01, 0.0, "poor"),
        (1.0, (0.1, 1.8, 0.1, 0.1), 1.01, 0.0, "poor"),
        (1.0, (0.1, 1.1, 1.5, 0.4), 1.01, 0.0, "poor"),
        (1.0, (0.1, 1.1, 0.1, 0.1, 2.0), 1.01, 0.0, "poor"),
        (1.0, (0.1, 1.1, 0.1, 0.1), 1.2, 0.0, "unfinished"),
        (1.0, (0.1, 1.1, 0.1, 0.1), 1.01, 0.1, "unfinished"),
    ],
)
def test_each_reason_alone_decides(ratio, found, r_hat, extrapolated, state):
    assert judge(ratio, Correction(*found), r_hat, extrapolated, 50, Allowance(1000)).state == state


def test_roles_must_be_held_once():
    space = calib.ParameterSpace((calib.Parameter("x", Normal(torch.tensor(0.0), torch.tensor(1.0))),))
    own = GivenLikelihood(lambda out: out.sum(1), 1, "identity")
    with pytest.raises(ValueError, match="each at most once"):
        Problem(space, own, lambda *given: None, (Fidelity("a"), Fidelity("b", ("values",))))
    with pytest.raises(ValueError, match="no fidelity has the roles"):
        Problem(space, own, lambda *given: None, (Fidelity("a", ("values",)),), lambda *given: None)
    assert callable(correction)
