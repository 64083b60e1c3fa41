"""Leave one region out: what the others say of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from calib._noise import derive_seed
from calib._observed import Evaluate, Likelihood, as_data
from calib._short_repr import short_repr
from calib.composition._compose import Composed
from calib.composition._fit_function import FunctionPosterior, fit_function


@dataclass(frozen=True, eq=False)
class LeftOut:
    """A region forecast from the others.

    Attributes:
        region: its name.
        posterior: of the functions, from the data of the other regions.
        outputs: `[draw, M]` of the simulator at draws of that posterior.
        log_score: log density of the region's data, averaged over the draws, nats.
    """

    __repr__ = short_repr

    region: str
    posterior: FunctionPosterior
    outputs: Tensor
    log_score: float


def leave_one_region_out(
    composed: Composed,
    data: Any,
    likelihood: Likelihood,
    regions: Sequence[str],
    of_region: Tensor,
    *,
    draws: int = 200,
    seed: int = 0,
    **options: Any,
) -> list[LeftOut]:
    """Fit with the data of each region left out in turn, and score them.

    Args:
        composed: simulator and blocks.
        data: `[M]` one event of the likelihood, entries independent.
        likelihood: distribution of the data given outputs `[P, M]`.
        regions: names.
        of_region: `[M]` which region each observation is of, counted from 0.
        draws: of each posterior.
        seed: of draws and simulator.
        **options: of `fit_function`.

    Returns:
        One entry a region, in order.

    Raises:
        ValueError: there is one region alone, or one has no data.
    """
    observed = as_data(data)
    if len(regions) < 2:
        raise ValueError(
            f"{len(regions)} region was given to leave one out of, expected at least 2: nothing would be left to learn from."
        )
    found = []
    for r, name in enumerate(regions):
        own = (of_region == r).reshape(observed.shape) & ~observed.isnan()
        if not bool(own.any()):
            raise ValueError(f"region {name!r} has no data to be scored by: give some, or leave it out of the names.")
        posterior = fit_function(composed, torch.where(own, torch.nan, observed), likelihood, seed=seed, **options)
        generator = torch.Generator().manual_seed(derive_seed(seed, r, "left-out"))
        outputs = composed.outputs(posterior.draws(draws, generator), derive_seed(seed, r, "left-out-runs"))
        value = Evaluate(likelihood, torch.where(own, observed, torch.nan))(outputs)
        score = float(torch.logsumexp(value, 0) - torch.log(torch.tensor(float(draws))))
        found.append(LeftOut(name, posterior, outputs, score))
    return found
