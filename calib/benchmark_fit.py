"""How close a fit comes in a given number of steps: `python -m calib.benchmark_fit` prints the tables of docs/inference.md.

The posterior is a known Gaussian of 60 dimensions, some known to a tenth of their prior, some hardly; the
likelihood is given with and without noise in its gradient, as a stochastic simulator gives it.
"""

from __future__ import annotations

import math
import time
from typing import Any

import torch

from calib._config import FitConfig
from calib._fit import fit
from calib._flows import FLOWS, Flow, make_flow
from calib._noise import derive_seed
from calib._problem import Problem

SETTINGS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("gaussian", {}),
    ("gaussian", {"estimator": "total"}),
    ("gaussian", {"noise": "antithetic"}),
    ("gaussian", {"noise": "sobol"}),
    ("gaussian", {"particles": 4}),
    ("gaussian", {"particles": 16}),
    ("gaussian", {"max_steps": 300}),
    ("gaussian", {"max_steps": 1200}),
    ("gaussian", {"learning_rate": 0.01}),
    ("gaussian", {"learning_rate": 0.04}),
    ("gaussian", {"average_fraction": 0.0}),
    ("gaussian-low-rank", {}),
    ("gaussian-diagonal", {}),
    ("gaussian-nsf", {"estimator": "total"}),
    ("gaussian-nsf", {}),
)


def linear_problem(dim: int, noise: float, seed: int = 0) -> tuple[Problem, torch.distributions.MultivariateNormal]:
    """A linear-Gaussian problem and its exact posterior.

    Args:
        dim: D; there are 2 D observations.
        noise: standard deviation of what is added to each derivative of the log likelihood in z.
        seed: of the design and the data.

    Returns:
        The problem and the posterior.
    """
    g = torch.Generator().manual_seed(seed)
    scale = torch.logspace(0, -1.5, dim, dtype=torch.float64)
    design = torch.randn(2 * dim, dim, generator=g, dtype=torch.float64) * scale
    truth = torch.randn(dim, generator=g, dtype=torch.float64)
    data = design @ truth + torch.randn(2 * dim, generator=g, dtype=torch.float64)

    def log_likelihood(z: torch.Tensor, seed: int, gradient: str) -> torch.Tensor:
        value = -0.5 * ((data - z @ design.T) ** 2).sum(-1) - dim * math.log(2 * math.pi)
        if noise:
            own = torch.Generator().manual_seed(seed)
            value = value + noise * (z * torch.randn(z.shape, generator=own, dtype=z.dtype)).sum(-1)
        return value

    covariance = torch.linalg.inv(torch.eye(dim, dtype=torch.float64) + design.T @ design)
    mean = covariance @ design.T @ data
    return Problem(dim, log_likelihood), torch.distributions.MultivariateNormal(mean, covariance)


def divergence(flow: Flow, posterior: torch.distributions.MultivariateNormal, draws: int = 20000) -> float:
    """KL(q | posterior) in nats, from draws of q."""
    with torch.no_grad():
        z, log_q = flow.sample_with_log_prob(flow.noise(draws, torch.Generator().manual_seed(derive_seed(0, 0, "kl"))))
        return float((log_q - posterior.log_prob(z)).mean())


def step_milliseconds(name: str, dim: int, particles: int) -> tuple[float, float]:
    """Best of several: draw and backward, and the same with the score of the path derivative."""
    flow = make_flow(name, dim, seed=0)
    noise = flow.noise(particles, torch.Generator().manual_seed(0))
    best = [math.inf, math.inf]
    for _ in range(6):
        started = time.perf_counter()
        z, log_q = flow.sample_with_log_prob(noise)
        ((z**2).sum(-1) + log_q).mean().backward()
        plain = time.perf_counter()
        flow.score(noise)
        best = [min(best[0], plain - started), min(best[1], time.perf_counter() - started)]
    return 1000 * best[0], 1000 * best[1]


def main() -> None:
    """Print both tables as Markdown."""
    torch.set_num_threads(1)
    print("| flow | weights, D = 60 | ms, D = 60, P = 8 | with path | ms, D = 100, P = 16 | with path |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name in FLOWS:
        weights = sum(p.numel() for p in make_flow(name, 60, seed=0).parameters())
        small, large = step_milliseconds(name, 60, 8), step_milliseconds(name, 100, 16)
        print(f"| {name} | {weights:,} | {small[0]:.1f} | {small[1]:.1f} | {large[0]:.1f} | {large[1]:.1f} |")
    print("\n| flow | settings | KL, exact gradient | KL, noisy gradient |")
    print("| --- | --- | --- | --- |")
    for name, changes in SETTINGS:
        found = []
        for noise in (0.0, 3.0):
            problem, posterior = linear_problem(60, noise)
            config = FitConfig(**({"max_steps": 600, "stop": None} | changes))
            found.append(divergence(fit(problem, make_flow(name, 60, seed=0), config).flow, posterior))
        said = ", ".join(f"{key} {value}" for key, value in changes.items()) or "defaults"
        print(f"| {name} | {said} | {found[0]:.3f} | {found[1]:.2f} |", flush=True)


if __name__ == "__main__":
    main()
