"""Calibrate the Pyro models of the gallery and compare with their known posteriors.

Run by `python -m experiments.calibration_gallery._pyro_table --only linear --seeds 0 1 --budget 10000`.
"""

from __future__ import annotations

import argparse
import csv
import sys
import time
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from calib import Calibration, calibrate
from experiments.calibration_gallery._pyro_models import PROBLEMS, PyroProblem

MEAN_OFF, SD_OFF = 0.5, 1.5  # beyond which a posterior is wrong: reference standard deviations, and a factor
DRAWS = 2000


@dataclass(frozen=True)
class Row:
    """One calibration against the known posterior.

    Attributes:
        problem: its name.
        seed: of the calibration.
        budget: evaluations that might be spent.
        dim: number of coordinates.
        way: how particles were evaluated together.
        mean_off: largest error of a mean, reference standard deviations.
        sd_ratio: standard deviation over the reference's, of the parameter where it is farthest from 1.
        state: of the verdict.
        r_hat: the largest.
        divergent: transitions.
        evaluations: spent.
        seconds: of the calibration.
    """

    problem: str
    seed: int
    budget: int
    dim: int
    way: str
    mean_off: float
    sd_ratio: float
    state: str
    r_hat: float
    divergent: int
    evaluations: int
    seconds: float

    @property
    def right(self) -> bool:
        """Whether mean and standard deviation of every parameter are near the reference's."""
        return self.mean_off <= MEAN_OFF and 1 / SD_OFF <= self.sd_ratio <= SD_OFF


def compare(problem: PyroProblem, *, seed: int, budget: int) -> Row:
    """Calibrate one problem."""
    started = time.perf_counter()
    found = calibrate(problem.model, data=problem.data(), seed=seed, budget=budget)
    seconds = time.perf_counter() - started
    mean_off, ratio = errors(problem, found)
    assert found.density is not None
    sampler = found.report["sampler"]
    return Row(
        problem.name, seed, budget, found.space.dim, found.density.way, round(mean_off, 3), round(ratio, 3),
        found.verdict.state, round(sampler["r_hat"], 4), sampler["divergent"], found.report["simulations"], round(seconds, 1),
    )  # fmt: skip


def errors(problem: PyroProblem, found: Calibration) -> tuple[float, float]:
    """Largest error of a mean in reference standard deviations, and the ratio of standard deviations farthest from 1."""
    assert found.chains is not None
    _, mean, sd = problem.reference()
    count = found.chains.z.shape[0] * found.chains.z.shape[1]
    values = found.sample(min(DRAWS, count), seed=1)
    if not set(problem.sites) <= set(values):
        values = values | found.predict(min(DRAWS, count), seed=1)[1]
    draws = problem.columns(values)
    ratio = draws.std(0) / sd
    return float(((draws.mean(0) - mean).abs() / sd).max()), float(ratio[ratio.log().abs().argmax()])


def main() -> None:
    """Print a table, and write it if asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="*", help="names of problems; all if none")
    parser.add_argument("--seeds", nargs="*", type=int, default=[0])
    parser.add_argument("--budget", type=int, default=10_000)
    parser.add_argument("--output", type=Path, help="a CSV file that rows are added to")
    options = parser.parse_args()
    names = [field.name for field in fields(Row)]
    for problem in PROBLEMS:
        for seed in options.seeds if not options.only or problem.name in options.only else ():
            row = compare(problem, seed=seed, budget=options.budget)
            sys.stdout.write(f"{'right' if row.right else 'WRONG'} {row}\n")
            sys.stdout.flush()
            if options.output is not None:
                new = not options.output.exists()
                with options.output.open("a", newline="") as file:
                    writer = csv.DictWriter(file, names)
                    if new:
                        writer.writeheader()
                    writer.writerow(asdict(row))


if __name__ == "__main__":
    main()
