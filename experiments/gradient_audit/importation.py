"""`python -m experiments.gradient_audit.importation`: is the gradient in importation biased in the world of seven agents?

Sums the gradient of the total over batches of fresh runs until they are done, and prints the bias against the enumerated truth
(`results/truth.csv`) after each, with its standard error: of all importation, and of that into one district.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import pandas as pd
import torch

from experiments.gradient_audit.worlds import seven
from sim import epidemic

TRUTH = Path(__file__).parent / "results" / "truth.csv"
RUNS, DISTRICT = 20_000, 2


def main(arguments: list[str] | None = None) -> int:
    """Print a line after each batch."""
    parser = argparse.ArgumentParser(prog="experiments.gradient_audit.importation", description=__doc__)
    parser.add_argument("--batches", type=int, default=30, help=f"of {RUNS:,} runs each")
    parser.add_argument("--seed", type=int, default=1_000, help="of the first batch; the others follow")
    options = parser.parse_args(arguments)
    torch.set_default_dtype(torch.float64)
    world = seven(reinfection=False)
    table = pd.read_csv(TRUTH).query("world == 'seven' and outcome == 'total'").set_index("parameter")["derivative"]
    truth = torch.tensor([table["importation"], table["importation of one district"]])
    rates = world.rates(torch.zeros(RUNS, len(world.parameters)))
    rates.importation.requires_grad_()
    number, sums, squares = 0, torch.zeros(2), torch.zeros(2)
    for batch in range(options.batches):
        total = epidemic(world.people, rates, options.seed + batch).sum()
        (bar,) = torch.autograd.grad(total, rates.importation)
        by_group = (bar * rates.importation.detach()).sum(1)
        each = torch.stack([by_group.sum(1), by_group[:, DISTRICT]], 1)
        number, sums, squares = number + RUNS, sums + each.sum(0), squares + each.square().sum(0)
        mean = sums / number
        error = ((squares / number - mean.square()) / number).sqrt()
        bias, sd = 100 * (mean / truth - 1), 100 * error / truth
        print(
            f"{number:,} runs: importation {bias[0]:+.2f} ± {sd[0]:.2f} %, of one district {bias[1]:+.2f} ± {sd[1]:.2f} %",
            flush=True,
        )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
