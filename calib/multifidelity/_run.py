"""The whole method: warm start, design rounds, flow, chains with refinement, held-out validation."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from calib._fit import fit
from calib._flows import Flow
from calib._importance import Importance, importance
from calib._noise import derive_seed
from calib._short_repr import short_repr
from calib.multifidelity._design import Pool, explore, move_flow
from calib.multifidelity._held_out import held_out
from calib.multifidelity._posterior import EmulatorPosterior
from calib.multifidelity._problem import Problem
from calib.multifidelity._recorder import Recorder
from calib.multifidelity._refine import Drawn, draw
from calib.multifidelity._settings import Settings
from calib.multifidelity._start import start, warm_start
from calib.multifidelity._warm_start import WarmStart

ASSESSED = 4000
"""Draws from which the importance weights of a flow are taken."""


@dataclass(frozen=True, eq=False)
class Result:
    """What the method leaves.

    Attributes:
        drawn: chains on the emulator's posterior, and that posterior.
        flow: of the chains' coordinates.
        held_out: of `held_out`, on fresh runs at posterior draws.
        held_out_z: `[S, D]`, held_out_values: `[S, M]`: those runs.
        simulations: runs made, by purpose.
    """

    __repr__ = short_repr

    drawn: Drawn
    flow: Flow
    held_out: dict[str, float | int]
    held_out_z: Tensor = field(repr=False)
    held_out_values: Tensor = field(repr=False)
    simulations: dict[str, int]


def prepare(
    problem: Problem, settings: Settings, recorder: Recorder
) -> tuple[EmulatorPosterior, Flow, tuple[WarmStart, Pool | None]]:
    """Warm start and design rounds.

    Returns:
        The posterior by the emulator, the flow to go on from, and the runs.
    """
    with recorder.phase("warm_start"):
        warm = warm_start(problem, settings, recorder)
    emulator, flow = start(problem, settings, warm)
    posterior, pool = EmulatorPosterior(problem, emulator), None
    if settings.rounds:
        posterior, flow, pool = explore(posterior, warm, flow, settings, recorder)
    return posterior, flow, (warm, pool)


def sample(problem: Problem, settings: Settings, recorder: Recorder | None = None) -> Result:
    """Calibrate a stochastic simulator by emulators of its mean outputs.

    Args:
        problem: simulator and data.
        settings: what to spend.
        recorder: for progress, and where to save state; None for neither.

    Returns:
        Draws of the posterior and how far the emulator can be believed.

    Raises:
        FitError: too few runs were finite.
    """
    recorder = recorder or Recorder(fingerprint=problem.fingerprint)
    posterior, flow, (warm, pool) = prepare(problem, settings, recorder)
    if problem.observations.integrates_error:
        with recorder.phase("fit"), recorder.fit_progress() as progress:
            flow = fit(posterior.fit_problem(), flow, settings.fit, progress=progress).flow
    drawn = draw(posterior, flow, settings, recorder, None if pool is None else (warm, pool))
    dim = problem.space.dim
    generator = torch.Generator().manual_seed(derive_seed(settings.seed, 0, "held-out"))
    # twice at each draw: pairs show chance alone
    z = drawn.chains.draws(settings.held_out_runs // 2, generator)[:, :dim].repeat(2, 1)
    values = problem.values(z, derive_seed(settings.seed, 0, "held-out-runs"))
    good = torch.isfinite(values).all(1)
    recorder.failed(good, "held-out runs")
    good = (good[: len(z) // 2] & good[len(z) // 2 :]).repeat(2)
    if not problem.observations.integrates_error:
        move_flow(flow, drawn.chains.z.flatten(0, 1)[:, :dim])
    level = 0 if problem.jacobian is None else warm.value_simulations
    made = {
        "warm_start": warm.simulations + level,
        "rounds": 0 if pool is None else settings.rounds * settings.round_runs,
        "jacobians": 0 if problem.jacobian is None or pool is None else settings.rounds * settings.round_jacobians,
        "refinements": drawn.refinement_runs,
        "held_out": len(z),
    }
    found = held_out(drawn.posterior, z[good], values[good])
    return Result(drawn, flow, found, z[good], values[good], made)


def assess_flow(posterior: EmulatorPosterior, flow: Flow, seed: int) -> Importance:
    """Importance weights of many draws of a flow under the emulator's likelihood: no simulation."""
    generator = torch.Generator().manual_seed(derive_seed(seed, 0, "judge"))
    with torch.no_grad():
        z, log_q = flow.sample_with_log_prob(flow.noise(ASSESSED, generator))
        log_likelihood = posterior.fit_problem().log_likelihood(z, 0, "reverse")
        return importance(log_likelihood - 0.5 * (z**2 + math.log(2 * math.pi)).sum(1), log_q)
