"""Simulators that raise, and fits that are interrupted."""

import pytest
import torch

from calib import FitConfig, FitError, Problem, fit, make_flow
from calib._config import Interrupted
from calib._failures import Misuse

SETTINGS = FitConfig(max_steps=60, stop=None, particles=6)


def likelihood(z, seed, gradient):
    """N(1, 0.5^2) seen with noise that depends on the seed and the particle's place."""
    del gradient
    own = [torch.Generator().manual_seed((seed + p) % 2**62) for p in range(len(z))]
    noise = torch.stack([torch.randn(z.shape[1], generator=g) for g in own])
    return (-2 * (z - 1 + 0.1 * noise) ** 2).sum(-1)


def raising(limit):
    def log_likelihood(z, seed, gradient):
        if (z[:, 0] > limit).any():
            raise FloatingPointError("the step of the solver became zero")
        return likelihood(z, seed, gradient)

    return log_likelihood


def as_nan(limit):
    def log_likelihood(z, seed, gradient):
        value = likelihood(z, seed, gradient)
        return torch.where(z[:, 0] > limit, torch.nan, value)

    return log_likelihood


def fitted(log_likelihood, **arguments):
    return fit(Problem(2, log_likelihood), make_flow("gaussian", 2, seed=0), SETTINGS, **arguments)


def test_particles_that_raise_are_dropped_and_counted():
    found = fitted(raising(1.6))
    assert found.dropped > 0
    assert found.errors == {"FloatingPointError: the step of the solver became zero": found.dropped}
    assert found.skipped < 10


def test_a_particle_that_raises_is_as_one_that_is_not_finite():
    """The others keep their random streams and their values."""
    raised, nan = fitted(raising(1.6)), fitted(as_nan(1.6))
    for name, weight in nan.flow.named_parameters():
        torch.testing.assert_close(dict(raised.flow.named_parameters())[name], weight, rtol=0, atol=0)
    assert raised.dropped == nan.dropped
    assert nan.errors == {}


def test_a_likelihood_that_always_raises_says_so_itself():
    def broken(z, seed, gradient):
        raise KeyError("beta")

    with pytest.raises(KeyError, match="beta"):
        fitted(broken)


def test_misuse_is_not_taken_for_a_failed_particle():
    with pytest.raises(Misuse, match="no gradient"):
        fitted(lambda z, seed, gradient: z.detach().sum(-1))


def test_too_many_that_raise_end_the_fit_and_are_named():
    calls = []

    def log_likelihood(z, seed, gradient):
        calls.append(seed)
        return raising(-3.0 if len(set(calls)) > 8 else 9.0)(z, seed, gradient)

    with pytest.raises(FitError, match=r"particles raised 'FloatingPointError: the step of the solver became zero'"):
        fitted(log_likelihood)


def test_counts_survive_a_resumed_run(tmp_path):
    whole = fitted(raising(1.6))
    stopped = []

    def stops(z, seed, gradient):
        stopped.append(seed)
        if len(set(stopped)) == 31:
            raise Interrupted("rank 1 of this run died")
        return raising(1.6)(z, seed, gradient)

    with pytest.raises(Interrupted):
        fitted(stops, folder=tmp_path)
    second = fitted(raising(1.6), folder=tmp_path, resume=True)
    assert second.errors == whole.errors
    assert second.dropped == whole.dropped
    for name, weight in whole.flow.named_parameters():
        torch.testing.assert_close(dict(second.flow.named_parameters())[name], weight, rtol=0, atol=0)
