"""Calibrate an SIR model of epydemix to weekly cases, in a pool of processes: `python examples/epydemix_sir.py`."""

import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import torch
from epydemix import EpiModel, simulate
from torch.distributions import Independent, LogNormal, Poisson

from calib import Calibration, EachDraw, calibrate, rich_progress

WEEKS, REPORTED = 12, 0.2


def weekly_cases(theta: dict[str, float], seed: int) -> np.ndarray:
    """Expected reports of each week, of one stochastic epidemic among 100,000 people."""
    model = EpiModel(compartments=["S", "I", "R"])
    model.add_transition("S", "I", params=("transmission", "I"), kind="mediated")
    model.add_transition("I", "R", params="recovery", kind="spontaneous")
    model.add_parameter("transmission", theta["transmission"])
    model.add_parameter("recovery", theta["recovery"])
    start = {"S": np.array([99_900]), "I": np.array([100]), "R": np.array([0])}
    run = simulate(model, "2024-01-01", "2024-03-24", initial_conditions_dict=start, rng=seed)
    return REPORTED * run.transitions["S_to_I_total"].reshape(WEEKS, 7).sum(1) + 0.1


def main(budget: int = 3000) -> Calibration:
    """Calibrate to data made at a known truth."""
    truth = {"transmission": 0.3, "recovery": 0.2}
    data = np.random.default_rng(1).poisson(weekly_cases(truth, 1))
    prior = {
        "transmission": LogNormal(torch.tensor(0.25).log(), 0.4),
        "recovery": LogNormal(torch.tensor(0.2).log(), 0.3),
    }
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool, rich_progress() as progress:
        return calibrate(
            EachDraw(weekly_cases), prior, data, likelihood=lambda mean: Independent(Poisson(mean), 1), budget=budget,
            executor=pool, draws_per_task=20, progress=progress,
        )  # fmt: skip


if __name__ == "__main__":
    found = main(*map(int, sys.argv[1:]))
    print(found.verdict, found.summary(), sep="\n\n")
