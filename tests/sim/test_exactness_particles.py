"""Exactness of what the other tests hold fixed: particles that differ run together, and importation day by day, against enumeration."""

import itertools

import pytest
import torch

import sim
from sim import Rates
from tests.sim.test_exactness import DAYS, chain_binomial, chain_rates, enumerated_incidence

KINDS = torch.tensor([[0.9, 0.15, 1.4, 0.8], [0.3, 0.4, 0.7, 0.2], [1.8, 0.05, 1.0, 1.2]], dtype=torch.float64)
WEIGHTS = torch.tensor([1.0, 0.5, -0.3, 2.0], dtype=torch.float64)


def together(rates):
    return Rates(*(torch.cat(x) for x in zip(*(r.tensors() for r in rates), strict=True)))


def test_particles_that_differ_have_each_its_own_exact_gradient():
    repeats, households = 120, 150
    per_run = KINDS.repeat(repeats, 1).requires_grad_()  # neighbours differ
    batch = together([chain_rates(row, 1) for row in per_run])
    incidence = sim.epidemic(chain_binomial(3, households), batch, seed=5)
    value = (incidence[..., 0] @ WEIGHTS) / households
    (gradient,) = torch.autograd.grad(value.sum(), per_run)
    for kind, row in enumerate(KINDS):
        theta = row.clone().requires_grad_()
        exact = enumerated_incidence(3, theta) @ WEIGHTS
        (truth,) = torch.autograd.grad(exact, theta)
        values, mine = value[kind :: len(KINDS)].detach(), gradient[kind :: len(KINDS)]
        assert abs(values.mean() - exact) < 4 * values.std() / repeats**0.5
        error = mine.std(0) / repeats**0.5
        assert ((mine.mean(0) - truth).abs() < 4 * error + truth.abs() / households).all()


def test_a_particle_does_not_feel_its_neighbours():
    population = chain_binomial(3, 50)
    one, other = (chain_rates(row, 1) for row in KINDS[:2])
    streams = torch.tensor([7, 3])
    batch = together([one, other]).map(lambda x: x.requires_grad_())
    x = sim.epidemic(population, batch, 2, streams=streams)
    both = torch.autograd.grad(x.square().sum(), batch.tensors(), materialize_grads=True)
    for p, rates in enumerate((one, other)):
        alone = rates.map(lambda x: x.clone().requires_grad_())
        y = sim.epidemic(population, alone, 2, streams=streams[p : p + 1])
        assert torch.equal(x[p], y[0])
        single = torch.autograd.grad(y.square().sum(), alone.tensors(), materialize_grads=True)
        for a, b in zip(both, single, strict=True):
            torch.testing.assert_close(a[p], b[0], rtol=1e-12, atol=1e-12)


def expected_by_importation(theta, importation):
    """Expected weighted infections of one household of 2 whose hazard from outside differs by day: every outcome enumerated."""
    base = chain_rates(theta, 1)
    rho, sigma, total = base.infectiousness[0], base.susceptibility[0], torch.tensor(0.0)
    for outcome in itertools.product(range(DAYS + 1), repeat=2):
        log_p, worth = torch.tensor(0.0), torch.tensor(0.0)
        for t in range(DAYS):
            pressure = sum(
                (rho[j % 2, t - 1 - d] for j, d in enumerate(outcome) if 0 <= t - 1 - d < 2), torch.tensor(0.0)
            )
            hazard = theta[0] * 0.7 * pressure + importation[t]
            for i, d in enumerate(outcome):
                if d == t:
                    log_p, worth = log_p + torch.log(-torch.expm1(-sigma[i % 2] * hazard)), worth + WEIGHTS[t]
                elif d > t:
                    log_p = log_p - sigma[i % 2] * hazard
        total = total + torch.exp(log_p) * worth
    return total


@pytest.mark.parametrize(
    ("backend", "estimator"), [("reference", "local-score"), ("compiled", "local-score"), ("compiled", "removals")]
)
def test_importation_day_by_day_against_enumeration(backend, estimator):
    importation = torch.tensor([0.3, 0.02, 0.15, 0.08], requires_grad=True)
    exact = expected_by_importation(KINDS[0], importation)
    (truth,) = torch.autograd.grad(exact, importation)
    particles, households = 60, 400
    base = chain_rates(KINDS[0], particles)
    leaf = importation.detach()[None, :, None].expand(particles, DAYS, 1).clone().requires_grad_()
    rates = Rates(**{**base.__dict__, "importation": leaf})
    x = sim.epidemic(chain_binomial(2, households), rates, 3, backend=backend, estimator=estimator)
    value = x[..., 0] @ WEIGHTS / households
    (gradient,) = torch.autograd.grad(value.sum(), leaf)
    error = gradient.std(0)[:, 0] / particles**0.5
    assert abs(value.mean() - exact) < 4 * value.std() / particles**0.5
    assert ((gradient.mean(0)[:, 0] - truth).abs() < 4 * error + truth.abs() / households).all()
