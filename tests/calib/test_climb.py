import pytest
import torch

from calib import Parameter, ParameterSpace, make_flow
from calib._climb import ClimbConfig, climb
from calib._coordinates import Coordinates
from calib._reuse import Source
from calib.benchmark_fit import divergence

DIM = 15


def source(gradient="reverse"):
    g = torch.Generator().manual_seed(0)
    design = torch.randn(2 * DIM, DIM, generator=g) * torch.logspace(0, -1, DIM)
    data = design @ torch.randn(DIM, generator=g) + torch.randn(2 * DIM, generator=g)
    covariance = torch.linalg.inv(torch.eye(DIM) + design.T @ design)
    posterior = torch.distributions.MultivariateNormal(covariance @ design.T @ data, covariance)
    space = ParameterSpace((Parameter("z", torch.distributions.Normal(torch.zeros(DIM), 1.0)),))
    value = lambda out: -0.5 * ((data - out) ** 2).sum(-1)  # noqa: E731
    return Source(lambda x, seed: x @ design.T, value, Coordinates(space), gradient, DIM + 1), posterior


def test_linear_posterior_from_a_hundred_runs():
    simulator, posterior = source()
    config = ClimbConfig(budget=(DIM + 1) * 100, updates=200, particles=16)
    found = climb(simulator, make_flow("gaussian", DIM, seed=0), config)
    assert divergence(found.flow, posterior) < 0.05
    assert found.calls <= 100
    assert found.stopped_because == "converged"


def test_derivatives_and_budget_are_needed():
    with pytest.raises(ValueError, match="Jacobian"):
        climb(source("score")[0], make_flow("gaussian", DIM, seed=0), ClimbConfig())
    with pytest.raises(ValueError, match="three rounds"):
        climb(source()[0], make_flow("gaussian", DIM, seed=0), ClimbConfig(budget=100))
