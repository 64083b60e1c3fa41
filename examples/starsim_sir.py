"""Calibrate an SIR model of starsim to weekly cases, in a pool of processes: `python examples/starsim_sir.py`."""

import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import starsim as ss
import torch
from torch.distributions import Beta, Independent, LogNormal, Poisson

from calib import Calibration, EachDraw, calibrate, rich_progress

PEOPLE, WEEKS, REPORTED = 1_000, 10, 0.5


def weekly_cases(theta: dict[str, float], seed: int) -> np.ndarray:
    """Expected reports of each week of one epidemic on a network of four contacts a day."""
    disease = ss.SIR(
        beta=ss.perday(theta["transmission"]),
        dur_inf=ss.lognorm_ex(mean=ss.days(theta["infectious_days"])),
        init_prev=ss.bernoulli(0.01),
    )
    sim = ss.Sim(
        n_agents=PEOPLE, diseases=disease, networks=ss.RandomNet(n_contacts=4), start="2024-01-01", dt="day",
        dur=7 * WEEKS - 1, rand_seed=seed, verbose=0,
    )  # fmt: skip
    sim.run()
    return REPORTED * np.asarray(sim.results.sir.new_infections).reshape(WEEKS, 7).sum(1) + 0.1


def main(budget: int = 2000) -> Calibration:
    """Calibrate to data made at a known truth."""
    data = np.random.default_rng(1).poisson(weekly_cases({"transmission": 0.06, "infectious_days": 8.0}, 1))
    prior = {"transmission": Beta(2.0, 30.0), "infectious_days": LogNormal(torch.tensor(7.0).log(), 0.3)}
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool, rich_progress() as progress:
        return calibrate(
            EachDraw(weekly_cases), prior, data, likelihood=lambda mean: Independent(Poisson(mean), 1), budget=budget,
            executor=pool, draws_per_task=20, progress=progress,
        )  # fmt: skip


if __name__ == "__main__":
    found = main(*map(int, sys.argv[1:]))
    print(found.verdict, found.summary(), sep="\n\n")
