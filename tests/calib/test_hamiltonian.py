"""Chains in the coordinates of a flow against closed forms, and diagnostics that must speak up."""

import math

import pytest
import torch

from calib import make_flow
from calib._hamiltonian import sample_chains

D = 5


def gaussian():
    g = torch.Generator().manual_seed(0)
    root = torch.randn(D, D, generator=g) * 0.3 + torch.eye(D)
    covariance, mean = root @ root.T, torch.linspace(-1, 1, D)
    precision = torch.linalg.inv(covariance)

    def log_density(z):
        return -0.5 * torch.einsum("cd,de,ce->c", z - mean, precision, z - mean)

    return log_density, mean, covariance


def test_moments_of_a_gaussian_from_a_flow_that_is_wrong():
    log_density, mean, covariance = gaussian()
    flow = make_flow("gaussian", D, seed=0, init_scale=0.5)
    found = sample_chains(
        log_density, flow, chains=32, warmup=100, draws=200, generator=torch.Generator().manual_seed(1)
    )
    z = found.z.flatten(0, 1)
    torch.testing.assert_close(z.mean(0), mean, rtol=0, atol=0.12)
    torch.testing.assert_close(z.T.cov(), covariance, rtol=0.15, atol=0.1)
    assert float(found.r_hat.max()) < 1.05
    assert 0.6 < found.accepted < 0.95
    torch.testing.assert_close(
        found.log_density - found.log_density[0, 0], (log_density(z) - log_density(z[:1])).reshape(200, 32)
    )


def test_energy_of_draws_is_that_of_a_gaussian_with_its_momentum():
    """In base noise of the right flow the energy is half a chi-square of 2 D degrees of freedom, up to a constant."""
    flow = make_flow("gaussian", D, seed=0)

    def log_density(z):
        return flow.log_prob(z)

    found = sample_chains(
        log_density, flow, chains=32, warmup=60, draws=150, generator=torch.Generator().manual_seed(6)
    )
    assert found.energy.shape == found.diverging.shape == found.log_density.shape == (150, 32)
    assert float(found.energy.mean()) == pytest.approx(D, rel=0.06)
    assert float(found.energy.var()) == pytest.approx(D, rel=0.15)
    assert found.divergent == int(found.diverging.sum()) == 0


def test_trajectories_into_the_impossible_are_marked():
    def log_density(z):
        return torch.where(z[:, 0].abs() < 0.3, -0.5 * (z**2).sum(1), -math.inf)

    flow = make_flow("gaussian", 2, seed=0)
    found = sample_chains(log_density, flow, chains=8, warmup=5, draws=30, generator=torch.Generator().manual_seed(7))
    assert found.divergent == int(found.diverging.sum()) > 0
    assert torch.isfinite(found.energy).all()


def test_curved_posterior_that_no_gaussian_follows():
    """A banana, z_1 = x + z_0^2 / 2: the second coordinate has mean 1/2 and variance 1/4 + 1/2."""

    def log_density(z):
        return -0.5 * z[:, 0] ** 2 - 0.5 * ((z[:, 1] - 0.5 * z[:, 0] ** 2) / 0.5) ** 2

    flow = make_flow("gaussian", 2, seed=0)
    found = sample_chains(
        log_density, flow, chains=64, warmup=150, draws=1600, generator=torch.Generator().manual_seed(2), accepted=0.95
    )
    z = found.z.flatten(0, 1)
    assert float(z[:, 1].mean()) == pytest.approx(0.5, abs=0.06)
    assert float(z[:, 1].var()) == pytest.approx(0.75, rel=0.15)
    assert float(z[:, 0].var()) == pytest.approx(1.0, rel=0.1)


def test_two_modes_far_apart_are_called_unmixed():
    def log_density(z):
        return torch.logsumexp(torch.stack([-0.5 * ((z - m) ** 2).sum(1) / 0.01 for m in (-2.0, 2.0)]), 0)

    flow = make_flow("gaussian", 2, seed=0, init_scale=2.0)
    found = sample_chains(log_density, flow, chains=16, warmup=50, draws=50, generator=torch.Generator().manual_seed(3))
    assert float(found.r_hat.max()) > 1.5


def test_same_seed_same_draws_and_impossible_regions_are_left():
    def log_density(z):
        return torch.where(z[:, 0] > 0, -0.5 * (z**2).sum(1), math.nan)

    flow = make_flow("gaussian", 2, seed=0)
    runs = [
        sample_chains(log_density, flow, chains=8, warmup=20, draws=30, generator=torch.Generator().manual_seed(4)).z
        for _ in range(2)
    ]
    assert torch.equal(*runs)
    assert bool((runs[0][..., 0] > 0).all())


def test_the_step_follows_the_acceptance_asked_for():
    log_density, _, _ = gaussian()
    flow = make_flow("gaussian", D, seed=0, init_scale=0.5)
    found = [
        sample_chains(
            log_density,
            flow,
            chains=32,
            warmup=100,
            draws=50,
            generator=torch.Generator().manual_seed(1),
            accepted=rate,
        )
        for rate in (0.7, 0.95)
    ]
    assert found[1].step < found[0].step
    assert 0.9 < found[1].accepted < 0.99


def test_draws_are_distinct_and_too_many_are_refused():
    log_density, _, _ = gaussian()
    flow = make_flow("gaussian", D, seed=0)
    found = sample_chains(log_density, flow, chains=8, warmup=20, draws=20, generator=torch.Generator().manual_seed(5))
    assert found.draws(40, torch.Generator().manual_seed(0)).shape == (40, D)
    with pytest.raises(ValueError, match="161 draws were asked for of chains that hold 160"):
        found.draws(161, torch.Generator().manual_seed(0))
    with pytest.raises(ValueError, match="finite at none of 8 draws"):
        sample_chains(
            lambda z: z[:, 0] * math.nan, flow, chains=8, warmup=1, draws=1, generator=torch.Generator().manual_seed(0)
        )


def test_chains_that_are_left_end_after_a_third_of_their_draws():
    log_density, _, _ = gaussian()
    flow = make_flow("gaussian", D, seed=0, init_scale=0.5)
    calls = []

    def drawn(answer=None):
        def leave(z):
            calls.append(z)
            return answer

        generator = torch.Generator().manual_seed(7)
        return sample_chains(
            log_density,
            flow,
            chains=8,
            warmup=20,
            draws=30,
            generator=generator,
            leave=None if answer is None else leave,
        )

    whole, kept, left = drawn(), drawn(False), drawn(True)
    torch.testing.assert_close(kept.z, whole.z, rtol=0, atol=0)
    torch.testing.assert_close(left.z, whole.z[:10], rtol=0, atol=0)
    torch.testing.assert_close(left.log_density, whole.log_density[:10])
    assert all(torch.equal(z, left.z) for z in calls)
    assert len(calls) == 2, "asked once a run"
    assert 0.5 < left.accepted <= 1.0
