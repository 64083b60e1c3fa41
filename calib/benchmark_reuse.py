"""What reusing runs saves with many parameters: `python -m calib.benchmark_reuse` prints the comparison of docs/benchmarks."""

from __future__ import annotations

import time

import torch
from torch import Tensor

from calib._climb import ClimbConfig, climb
from calib._config import FitConfig
from calib._coordinates import Coordinates
from calib._fit import fit
from calib._flows import make_flow
from calib._problem import Problem
from calib._reuse import Source
from calib._space import Parameter, ParameterSpace
from calib.benchmark_fit import divergence


def main(dim: int = 60) -> None:
    """Fit a known Gaussian posterior of linear outputs both ways; print runs, KL (nats) and seconds of the processor."""
    torch.set_num_threads(1)
    g = torch.Generator().manual_seed(0)
    scale = torch.logspace(0, -1.5, dim, dtype=torch.float64)
    design = torch.randn(2 * dim, dim, generator=g, dtype=torch.float64) * scale
    truth = torch.randn(dim, generator=g, dtype=torch.float64)
    data = design @ truth + torch.randn(2 * dim, generator=g, dtype=torch.float64)
    covariance = torch.linalg.inv(torch.eye(dim, dtype=torch.float64) + design.T @ design)
    exact = torch.distributions.MultivariateNormal(covariance @ design.T @ data, covariance)

    def value(outputs: Tensor) -> Tensor:
        return -0.5 * ((data - outputs) ** 2).sum(-1)

    unit = torch.distributions.Normal(torch.zeros(dim, dtype=torch.float64), 1.0)
    source = Source(
        lambda z, s: z @ design.T, value, Coordinates(ParameterSpace((Parameter("z", unit),))), "reverse", dim + 1
    )
    started = time.process_time()
    found = climb(source, make_flow("gaussian", dim, seed=0), ClimbConfig(budget=20 * 16 * (dim + 1)))
    seconds = time.process_time() - started
    print("| method | runs | KL | seconds |\n| --- | --- | --- | --- |")
    print(
        f"| linearised-vi, runs with Jacobians | {found.calls} | {divergence(found.flow, exact):.4f} | {seconds:.1f} |",
        flush=True,
    )
    problem = Problem(dim, lambda z, s, path: value(z @ design.T))
    for steps in (50, 100, 200, 400, 800):
        started = time.process_time()
        flow = fit(problem, make_flow("gaussian", dim, seed=0), FitConfig(max_steps=steps, stop=None)).flow
        seconds = time.process_time() - started
        print(f"| fit, runs with gradients | {8 * steps} | {divergence(flow, exact):.4f} | {seconds:.1f} |", flush=True)


if __name__ == "__main__":
    main()
