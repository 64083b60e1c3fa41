"""`python -m experiments.gradient_audit.removed`: what it adds to the noise of the gradient to remove a random part of the infections.

Runs epidemics of the New Zealand population, takes the gradient of the total by all removals and by parts of them, and prints for each
parameter (a rate times a factor) the relative standard deviation of the first between runs, and that of the difference of the others
from it as a multiple.
"""

from __future__ import annotations

import argparse

import pandas as pd
import torch

from experiments.benchmark_simulator import make_population, make_rates
from sim import Rates, epidemic
from sim.backends import removing_at_most

DAYS, SCHOOL, MONTH = 180, 2, slice(60, 90)


def main(arguments: list[str] | None = None) -> int:
    """Print the table after each run."""
    parser = argparse.ArgumentParser(prog="experiments.gradient_audit.removed", description=__doc__)
    parser.add_argument("--agents", type=int, default=200_000)
    parser.add_argument("--runs", type=int, default=14)
    parser.add_argument("--parts", type=float, nargs="+", default=[0.5, 0.25, 0.1], help="of the infections")
    options = parser.parse_args(arguments)
    population, _ = make_population(options.agents, 0)
    rates = make_rates(population, 1, DAYS, torch.device("cpu"), torch.float64)
    whole: list[pd.Series] = []
    apart: dict[float, list[pd.Series]] = {part: [] for part in options.parts}
    for seed in range(options.runs):
        leaves = rates.map(lambda x: x.clone().requires_grad_())
        total = epidemic(population, leaves, seed).sum()
        with removing_at_most(int(total) + 1):
            whole.append(slopes(total, leaves, rates))
        for part, found in apart.items():
            with removing_at_most(int(part * float(total))):
                found.append(slopes(total, leaves, rates) - whole[-1])
        if seed > 0:
            print(table(whole, apart).round(2).to_string(), flush=True)
    return 0


def slopes(total: torch.Tensor, leaves: Rates, rates: Rates) -> pd.Series:
    """Derivatives of the total by the logarithm of a factor of each rate, and of schools in one month."""
    bars = torch.autograd.grad(total, leaves.tensors(), retain_graph=True, allow_unused=True)
    found = {
        name: float((x * bar).sum())
        for name, x, bar in zip(Rates.__annotations__, rates.tensors(), bars, strict=True)
        if bar is not None and x.numel()
    }
    schools = slice(SCHOOL, SCHOOL + 1), MONTH
    transmission = bars[list(Rates.__annotations__).index("transmission")]
    found["schools in one month"] = float((rates.transmission[:, *schools] * transmission[:, *schools]).sum())
    return pd.Series(found)


def table(whole: list[pd.Series], apart: dict[float, list[pd.Series]]) -> pd.DataFrame:
    """Relative standard deviation by all removals, and what parts add as a multiple of it."""
    runs = pd.DataFrame(whole)
    out = pd.DataFrame({"all: relative sd": runs.std() / runs.mean().abs()})
    for part, found in apart.items():
        out[f"{part:g}: added sd / sd"] = (pd.DataFrame(found) ** 2).mean() ** 0.5 / runs.std()
    return out


if __name__ == "__main__":
    raise SystemExit(main())
