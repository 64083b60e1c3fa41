"""Draws of the posterior by an emulator: Hamiltonian chains in the coordinates of a flow, no simulation."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch
from torch import Tensor

from calib._flows import Flow
from calib._hamiltonian import Chains, sample_chains
from calib._noise import derive_seed
from calib.multifidelity._posterior import EmulatorPosterior
from calib.multifidelity._recorder import Recorder
from calib.multifidelity._shared_error import SharedError, WithErrors

CHAINS = 64
ROUND_DRAWS = 20
"""Draws of each chain where they only choose points to simulate at."""
QUICK, CAREFUL = 0.8, 0.95
"""Acceptance of such chains, and of those whose draws are the posterior: with longer steps one chain in 64 sticks now and then, for
a hundred transitions, in a narrow corner, and R-hat shows it."""


def centre_of(flow: Flow, seed: int) -> Tensor:
    """`[D]` mean of a fitted flow."""
    with torch.no_grad():
        return flow.sample(256, torch.Generator().manual_seed(derive_seed(seed, 0, "centre"))).mean(0)


def run_chains(
    posterior: EmulatorPosterior,
    flow: Flow,
    errors: SharedError,
    seed: int,
    recorder: Recorder,
    draws: int,
    should_stop: Callable[[Tensor], bool] | None = None,
) -> Chains:
    """Draw from the posterior of an emulator: parameters and, after them, errors `[draw, chain, D + K]`.

    Args:
        posterior: by the emulator.
        flow: fitted to it; the chains run in its base noise.
        errors: that the observations share.
        seed: of the draws.
        recorder: for progress.
        draws: of each chain; before them 10 to 100 more tune the step.
        should_stop: called with the first third of the draws; True ends the chains there.
    """
    warmup = min(100, max(10, 2 * draws if draws <= ROUND_DRAWS else draws // 2))
    generator = torch.Generator().manual_seed(derive_seed(seed, 0, "chains"))
    with recorder.steps("draws", warmup + draws) as advance, warnings.catch_warnings():
        # a trajectory that runs away is counted as divergent and left; Pyro would warn of each
        warnings.filterwarnings("ignore", message="Encountered (NaN|\\+inf|-inf)")
        return sample_chains(
            posterior.joint(errors),
            WithErrors(flow, errors.count),
            chains=CHAINS,
            warmup=warmup,
            draws=draws,
            generator=generator,
            accepted=QUICK if draws <= ROUND_DRAWS else CAREFUL,
            leave=should_stop,
            progress=lambda done, of: advance(1),
        )


def _finite(value: Tensor) -> float | None:
    return float(value) if bool(torch.isfinite(value)) else None


def summary(found: Chains) -> dict[str, float | int | None]:
    """Plain data that describe chains; chains that never moved have no finite R-hat (None) and no effective draws."""
    return {
        "chains": found.z.shape[1],
        "draws": found.z.shape[0] * found.z.shape[1],
        "step": found.step,
        "accepted": found.accepted,
        "divergent": found.divergent,
        "r_hat": _finite(found.r_hat.max()),
        "r_hat_median": _finite(found.r_hat.median()),
        "effective": float(found.effective.min().nan_to_num(0.0)),
    }
