"""Draws of the posterior by the local mean: Hamiltonian chains in the coordinates of the fitted flow, no simulation."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch
from rich.console import Console
from torch import Tensor

from calib import Flow
from calib._common_error import Beside, CommonError
from calib._hamiltonian import Chains, sample_chains
from calib._noise import derive_seed
from epi.inference.likelihood import Inference
from epi.inference.setup import steps

CHAINS = 64
ROUND = 20
"""Draws kept of each chain where they only choose points to simulate at."""
QUICK, CAREFUL = 0.8, 0.95
"""Acceptance of such chains, and of those whose draws are the posterior: with longer steps one chain in 64 sticks now and then, for
a hundred transitions, where much antibody is left or protection is steep, and R-hat tells of it."""


def centre_of(flow: Flow, seed: int) -> Tensor:
    """`[D]` mean of a fitted flow."""
    with torch.no_grad():
        return flow.sample(256, torch.Generator().manual_seed(derive_seed(seed, 0, "centre"))).mean(0)


def chains(
    inference: Inference,
    flow: Flow,
    errors: CommonError,
    seed: int,
    console: Console,
    draws: int,
    leave: Callable[[Tensor], bool] | None = None,
) -> Chains:
    """Draw from the posterior of the local mean: parameters and, beside them, errors `[draw, chain, D + K]`.

    Args:
        inference: with its local mean.
        flow: fitted to it; the chains run in its base noise.
        errors: that the figures seen share.
        seed: of the draws.
        console: for progress.
        draws: kept of each chain; before them 10 to 100 more tune the step.
        leave: called with the first third of the draws; True ends the chains there.
    """
    warmup = min(100, max(10, 2 * draws if draws <= ROUND else draws // 2))
    generator = torch.Generator().manual_seed(derive_seed(seed, 0, "chains"))
    with steps(console, "draws", warmup + draws) as advance, warnings.catch_warnings():
        # a trajectory that runs away is counted as divergent and left; Pyro would tell of each
        warnings.filterwarnings("ignore", message="Encountered (NaN|\\+inf|-inf)")
        return sample_chains(
            inference.joint(errors),
            Beside(flow, errors.count),
            chains=CHAINS,
            warmup=warmup,
            draws=draws,
            generator=generator,
            accepted=QUICK if draws <= ROUND else CAREFUL,
            leave=leave,
            progress=lambda done, of: advance(1),
        )


def summary(found: Chains) -> dict[str, float | int]:
    """What a manifest keeps of chains."""
    return {
        "chains": found.z.shape[1],
        "draws": found.z.shape[0] * found.z.shape[1],
        "step": found.step,
        "accepted": found.accepted,
        "divergent": found.divergent,
        "r_hat": float(found.r_hat.max()),
        "r_hat_median": float(found.r_hat.median()),
        "effective": float(found.effective.min()),
    }
