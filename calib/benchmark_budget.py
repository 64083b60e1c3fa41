"""Which budget "auto" needs of a simulator with noise: `python -m calib.benchmark_budget` prints the table of docs/benchmarks."""

from __future__ import annotations

import argparse
import time
import warnings

import torch
from torch import Tensor
from torch.distributions import Independent, Normal

from calib._calibrate import calibrate
from calib._verdict import BELIEVED

OUTPUTS = 20
LADDER = (250, 500, 1000, 2000, 4000, 8000, 16_000)
NOISE = {"weak": 0.1, "moderate": 0.5, "strong": 2.0}
"""Standard deviation of the simulator's noise over that of the observations."""


class Linear:
    """Outputs that are linear in the parameters, with noise of the simulator: the posterior is known.

    Args:
        dim: number of parameters.
        noise: standard deviation of the simulator's noise; that of the observations is 1.
    """

    def __init__(self, dim: int, noise: float) -> None:
        generator = torch.Generator().manual_seed(dim)
        self.noise = noise
        self.design = torch.randn(OUTPUTS, dim, generator=generator, dtype=torch.float64) * 1.5 / dim**0.5
        truth = torch.randn(dim, generator=generator, dtype=torch.float64)
        sd = (1 + noise**2) ** 0.5
        self.data = self.design @ truth + sd * torch.randn(OUTPUTS, generator=generator, dtype=torch.float64)
        covariance = torch.linalg.inv(self.design.T @ self.design / sd**2 + torch.eye(dim, dtype=torch.float64))
        self.mean, self.sd = covariance @ self.design.T @ self.data / sd**2, covariance.diagonal().sqrt()
        self.prior = {f"x{i}": Normal(0.0, 1.0) for i in range(dim)}

    def __call__(self, theta: dict[str, Tensor], seed: int) -> Tensor:
        """Outputs `[P, 20]` of one run each."""
        x = torch.stack([theta[name] for name in self.prior], 1).double()
        noise = torch.randn(len(x), OUTPUTS, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        return x @ self.design.T + self.noise * noise


def main() -> None:
    """Climb a ladder of budgets until every seed gives a posterior that is good or usable."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--parameters", type=int, nargs="+", default=[1, 2, 3, 5, 8])
    parser.add_argument("--noise", nargs="+", default=list(NOISE), choices=list(NOISE))
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", RuntimeWarning)  # k-hat of weights under strong noise
    print("| parameters | noise | nats | budget | advised at | largest error (sd) | seconds |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for dim in arguments.parameters:
        for name in arguments.noise:
            print(_row(dim, name, arguments.seeds), flush=True)


def _row(dim: int, name: str, seeds: int) -> str:
    model, advised, worst, nats = Linear(dim, NOISE[name]), "", 0.0, 0.0
    for budget in LADDER:
        started, states, worst, nats = time.process_time(), [], 0.0, 0.0
        for seed in range(seeds):
            found = calibrate(
                model, model.prior, model.data, likelihood=lambda out: Independent(Normal(out, 1.0), 1), budget=budget, seed=seed,
            )  # fmt: skip
            states.append(found.verdict.state in BELIEVED)
            table = found.summary(2000)
            worst = max(worst, float(((torch.tensor(table["mean"].to_numpy()) - model.mean).abs() / model.sd).max()))
            nats += found.report["noise"]["sd"] / seeds if found.report["noise"] else 0.0
            if not advised and not states[-1]:
                advised = f"{budget:,}: {found.verdict.advice.removeprefix('Raise the budget from ').rstrip('.')}"
        if all(states):
            break
    reached = f"{budget:,}" if all(states) else f"> {budget:,} ({sum(states)} of {seeds})"
    seconds = (time.process_time() - started) / seeds
    return f"| {dim} | {name} | {nats:.1f} | {reached} | {advised or '-'} | {worst:.2f} | {seconds:.0f} |"


if __name__ == "__main__":
    main()
