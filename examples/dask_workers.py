"""Calibrate with the workers of a dask cluster, here one on this machine: `python examples/dask_workers.py`."""

import sys

import numpy as np
import torch
from dask.distributed import Client, LocalCluster
from torch.distributions import Beta, Independent, LogNormal, Poisson

from calib import Calibration, EachDraw, calibrate, rich_progress

PEOPLE, DAYS = 500, 40


def daily_cases(theta: dict[str, float], seed: int) -> np.ndarray:
    """Expected reports of each day of a chain-binomial epidemic: half of the infections, and few by error."""
    chance = np.random.default_rng(seed)
    susceptible, infectious, days = PEOPLE - 5, 5, []
    for _ in range(DAYS):
        new = chance.binomial(susceptible, 1 - np.exp(-theta["transmission"] * infectious / PEOPLE))
        recovered = chance.binomial(infectious, 1 - np.exp(-theta["recovery"]))
        susceptible, infectious = susceptible - new, infectious + new - recovered
        days.append(0.5 * new + 0.1)
    return np.array(days)


def main(budget: int = 5000) -> Calibration:
    """Calibrate to data made at a known truth."""
    data = np.random.default_rng(1).poisson(daily_cases({"transmission": 0.5, "recovery": 0.2}, 1))
    prior = {"transmission": LogNormal(torch.tensor(0.4).log(), 0.5), "recovery": Beta(2.0, 8.0)}
    # with a scheduler of your own: Client("tcp://scheduler:8786")
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster) as client,
        rich_progress() as progress,
    ):
        return calibrate(
            EachDraw(daily_cases), prior, data, likelihood=lambda mean: Independent(Poisson(mean), 1), budget=budget,
            executor=client.get_executor(), draws_per_task=100, progress=progress,
        )  # fmt: skip


if __name__ == "__main__":
    found = main(*map(int, sys.argv[1:]))
    print(found.verdict, found.summary(), sep="\n\n")
