"""Calibrate an agent-based SIR model of mesa to daily cases, in a pool of processes: `python examples/mesa_sir.py`."""

import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import mesa
import numpy as np
import torch
from torch.distributions import Beta, Independent, LogNormal, Poisson

from calib import Calibration, EachDraw, calibrate, rich_progress

PEOPLE, DAYS, CONTACTS = 300, 30, 5


class Person(mesa.Agent):
    """Meets five others a day while infectious."""

    def __init__(self, model: "Town", infectious: bool) -> None:
        super().__init__(model)
        self.state = "I" if infectious else "S"

    def step(self) -> None:
        """Infect, and perhaps recover."""
        if self.state != "I":
            return
        for other in self.model.random.sample(self.model.everyone, CONTACTS):
            if other.state == "S" and self.model.random.random() < self.model.chance:
                other.state, self.model.new = "I", self.model.new + 1
        if self.model.random.random() < self.model.recovery:
            self.state = "R"


class Town(mesa.Model):
    """People who meet at random."""

    def __init__(self, chance: float, recovery: float, seed: int) -> None:
        super().__init__(rng=seed)
        self.chance, self.recovery, self.new = chance, recovery, 0
        self.everyone = [Person(self, infectious=i < 5) for i in range(PEOPLE)]

    def step(self) -> None:
        """One day."""
        self.new = 0
        self.agents.shuffle_do("step")


def daily_cases(theta: dict[str, float], seed: int) -> np.ndarray:
    """Expected reports of each day of one run: half of the infections, and few by error."""
    town = Town(theta["chance"], theta["recovery"], seed)
    days = []
    for _ in range(DAYS):
        town.step()
        days.append(0.5 * town.new + 0.1)
    return np.array(days)


def main(budget: int = 3000) -> Calibration:
    """Calibrate to data made at a known truth."""
    data = np.random.default_rng(1).poisson(daily_cases({"chance": 0.08, "recovery": 0.2}, 1))
    prior = {"chance": Beta(2.0, 18.0), "recovery": LogNormal(torch.tensor(0.2).log(), 0.3)}
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool, rich_progress() as progress:
        return calibrate(
            EachDraw(daily_cases), prior, data, likelihood=lambda mean: Independent(Poisson(mean), 1), budget=budget,
            executor=pool, draws_per_task=20, progress=progress,
        )  # fmt: skip


if __name__ == "__main__":
    found = main(*map(int, sys.argv[1:]))
    print(found.verdict, found.summary(), sep="\n\n")
