"""Calibrate a covasim model to weekly diagnoses, in a pool of processes: `python examples/covasim_wave.py`."""

import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import covasim as cv
import numpy as np
import torch
from torch.distributions import Beta, Independent, LogNormal, Poisson

from calib import Calibration, EachDraw, calibrate, rich_progress

PEOPLE, WEEKS = 1_000, 10


def weekly_diagnoses(theta: dict[str, float], seed: int) -> np.ndarray:
    """Expected diagnoses of each week where everybody with symptoms is tested with some probability a day."""
    sim = cv.Sim(
        pop_size=PEOPLE, pop_infected=10, start_day="2020-03-01", n_days=7 * WEEKS - 1, rand_seed=seed, verbose=0,
        beta=theta["transmission"], interventions=cv.test_prob(symp_prob=theta["tested"], asymp_prob=0.0),
    )  # fmt: skip
    sim.run()
    return np.asarray(sim.results["new_diagnoses"].values).reshape(WEEKS, 7).sum(1) + 0.1


def main(budget: int = 2000) -> Calibration:
    """Calibrate to data made at a known truth."""
    data = np.random.default_rng(1).poisson(weekly_diagnoses({"transmission": 0.016, "tested": 0.1}, 1))
    prior = {"transmission": LogNormal(torch.tensor(0.015).log(), 0.3), "tested": Beta(2.0, 12.0)}
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool, rich_progress() as progress:
        return calibrate(
            EachDraw(weekly_diagnoses), prior, data, likelihood=lambda mean: Independent(Poisson(mean), 1), budget=budget,
            executor=pool, draws_per_task=20, progress=progress,
        )  # fmt: skip


if __name__ == "__main__":
    found = main(*map(int, sys.argv[1:]))
    print(found.verdict, found.summary(), sep="\n\n")
