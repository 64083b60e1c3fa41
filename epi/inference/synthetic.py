"""Observations simulated from a known draw of the prior, and whether the calibration finds it again."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from calib.numerics import derive_seed
from epi.data import Data
from epi.errors import StudyError
from epi.model import Simulator, observation_distribution
from epi.study import Cases

ATTEMPTS = 50
TAKEN_OFF = 20_000
"""Fewest expected cases over the fitted weeks of a synthetic epidemic; a draw of the prior that fizzles out says nothing."""
USUAL_PEOPLE = 1_000_000
"""People from which that number holds; fewer people need fewer cases in proportion."""


def _counted(sample: Simulator) -> str:
    """Stream by which it is seen whether an epidemic takes off: cases, else infections."""
    found = sample.study.first_stream(Cases)
    return sample.study.infections if found is None else found.name


def people(sample: Simulator) -> float:
    """People of all regions."""
    return float(sample.observation.inhabitants.sum())


def synthetic_data(sample: Simulator, country: Simulator, real: Data, seed: int) -> tuple[Tensor, Data]:
    """Draw parameters from the prior until the epidemic takes off, simulate the whole country, and draw the weekly counts.

    Args:
        sample: simulator on which it is seen whether a draw takes off, over all weeks.
        country: the same on the whole population (scale 1): the data have the chance that the country has.
        real: says what the likelihood sees and where observations are missing.
        seed: names the draw.

    Returns:
        The true z `[D]` and the counts.

    Raises:
        StudyError: none of 50 draws took off.
    """
    space, weeks, study = sample.space, int(real.fitted.nonzero().max()) + 1, sample.study
    counted, enough = _counted(sample), TAKEN_OFF * min(1.0, float(people(sample)) / USUAL_PEOPLE)
    for attempt in range(ATTEMPTS):
        generator = torch.Generator().manual_seed(derive_seed(seed, attempt, "synthetic-truth"))
        z = torch.randn(1, space.dim, generator=generator, dtype=torch.float64)
        theta, stream = space.to_theta(z), derive_seed(seed, attempt, "synthetic-epidemic")
        with torch.no_grad():
            tried = sample.bind(stream)(theta)[counted][0, :weeks].sum()
            if not float(tried) >= enough:
                continue
            expected = country.bind(stream)(theta)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive_seed(seed, attempt, "synthetic-counts") % 2**63)
            tested = country.observation.tested
            drawn = {
                s.name: observation_distribution(s, expected[s.name], theta, tested=tested.get(s.name)).sample()[0]
                for s in study.observed
            }
        # where the real series has a gap, this one has
        gaps = {s: torch.where(real.counts[s].isnan(), torch.nan, x) for s, x in drawn.items()}
        return z[0], Data(gaps, real.in_likelihood, real.fitted, real.tested)
    raise StudyError(
        f"None of {ATTEMPTS} prior draws of synthetic seed {seed} gave an epidemic of {enough:,.0f} cases; choose another seed."
    )


def recovery(names: tuple[str, ...], truth: NDArray[np.float64], draws: NDArray[np.float64]) -> dict[str, Any]:
    """Where the truth lies in the posterior.

    Args:
        names: of the D coordinates.
        truth: `[D]` z.
        draws: `[draw, D]` z.

    Returns:
        Per parameter the central 90 % interval, the rank and whether the truth is inside; the share inside; the chance of a share
        this low if each were inside with probability 0.9 independently.
    """
    low, high = np.quantile(draws, [0.05, 0.95], axis=0)
    inside = (low <= truth) & (truth <= high)
    rank = (draws < truth).mean(0)
    count, n = int(inside.sum()), len(names)
    chance = sum(math.comb(n, k) * 0.9**k * 0.1 ** (n - k) for k in range(count + 1))
    rows: list[Mapping[str, Any]] = [
        {"name": name, "truth": float(t), "low": float(a), "high": float(b), "rank": float(r), "inside": bool(i)}
        for name, t, a, b, r, i in zip(names, truth, low, high, rank, inside, strict=True)
    ]
    return {"parameters": rows, "inside": count, "of": n, "share": count / n, "chance_of_so_few": chance}
