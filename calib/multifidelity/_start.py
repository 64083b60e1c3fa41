"""The warm start of a problem, resumable, and the emulator and flow that it leaves."""

from __future__ import annotations

import math
from dataclasses import fields, replace

import torch
from torch import Tensor

from calib._config import FitError, Interrupted
from calib._flows import Flow, make_flow
from calib._gaussian_start import start_flow
from calib.multifidelity._emulator import Emulator
from calib.multifidelity._problem import AskedAtEmulator, Problem
from calib.multifidelity._recorder import Recorder
from calib.multifidelity._regression import regressed_jacobian
from calib.multifidelity._settings import Settings
from calib.multifidelity._warm_start import Outputs, WarmStart, cold_start, gauss_newton

FILE = "warm_start"


def outputs_of(problem: Problem) -> Outputs:
    """Simulator and likelihood taken apart, as Gauss-Newton wants them."""
    observations, which = problem.observations, problem.observations.which
    has_jacobian = problem.jacobian is not None
    higher = has_jacobian and problem.fidelity("values") is not problem.fidelity("start")

    def jacobian(z: Tensor, seed: int) -> tuple[Tensor, Tensor]:
        if problem.jacobian is not None:
            return problem.jacobian(z, seed, problem.fidelity("start"))
        values = problem.values(z, seed)
        good = torch.isfinite(values).all(1)
        slope = values.new_full((*values.shape, z.shape[1]), torch.nan)
        if int(good.sum()) >= 2:
            slope[good] = regressed_jacobian(z[good], values[good], link=problem.link, floor=problem.floor)
        return values, slope

    return Outputs(
        jacobian,
        lambda z, mean: observations.log_likelihood(z, mean[:, which]),
        observations.information,
        problem.emulator_settings,
        problem.values if higher else None,
        observations.at_emulator if isinstance(observations, AskedAtEmulator) else None,
    )


def warm_start(problem: Problem, settings: Settings, recorder: Recorder) -> WarmStart:
    """Gauss-Newton steps from the prior's centre to the mode and around it; a run that was stopped goes on with the step that it was in.

    Without Jacobians every step makes its runs around, and slopes are regressed on them.

    Raises:
        FitError: too few runs were finite.
    """
    outputs = outputs_of(problem)
    state = cold_start(problem.space.dim, torch.zeros((), dtype=torch.float64))
    first, total = settings.first_steps, settings.warm_steps
    level_runs = math.ceil(settings.level_runs / max(1, total - first))
    regressed = problem.jacobian is None
    if recorder.has(FILE):
        state = load_warm_start(recorder)
    with recorder.steps("warm start", total) as advance:
        advance(state.iteration)
        while state.iteration < total:
            # first to the mode with all runs at one point, then around it, as wide as the posterior
            around = state.iteration >= first
            try:
                state = gauss_newton(
                    outputs,
                    state,
                    particles=settings.warm_runs * (2 if around and not regressed else 1),
                    seed=settings.seed,
                    radius=0.5 if around else 1.0,
                    dispersion=1.0 if around or regressed else 0.0,
                    value_runs=level_runs if around else 0,
                )
            except Interrupted:
                raise
            except ValueError as error:
                raise FitError(f"The warm start failed: {error}") from error
            recorder.total("warm_start", state.simulations)
            recorder.total("warm_start_level", state.value_simulations)
            _save(state, recorder)
            advance(1)
    emulator = state.emulator(problem.emulator_settings)
    recorder.update(
        warm_start={
            "objective": [x if math.isfinite(x) else None for x in state.objective],
            "runs_in_local_mean": emulator.runs,
            "relative_error_of_local_mean": float(emulator.standard_error.median()),
        }
    )
    return state


def start(problem: Problem, settings: Settings, warm: WarmStart) -> tuple[Emulator, Flow]:
    """The emulator by the runs of a warm start, and a flow that starts as the Gaussian there, widened by the emulator's error."""
    flow = make_flow(settings.flow, problem.space.dim, seed=settings.seed, hierarchy=problem.hierarchy)
    emulator = warm.emulator(problem.emulator_settings)
    at = warm.z[None]
    variance = emulator.standard_error_at(at) ** 2
    if not problem.observations.integrates_error:  # the real system's own residual is no part of the likelihood
        variance = variance + emulator.scaled_residual.var(0) * problem.variance_share
    known = problem.observations.information(at, emulator(at), emulator.jacobian(at), variance)[0]
    warm = replace(warm, information=known)
    start_flow(flow, warm.z, warm.covariance)
    return emulator, flow


def _save(state: WarmStart, recorder: Recorder) -> None:
    tensors = {f.name: getattr(state, f.name) for f in fields(state) if isinstance(getattr(state, f.name), Tensor)}
    numbers = {
        "objective": torch.tensor(state.objective, dtype=torch.float64),
        "simulations": torch.tensor(state.simulations),
        "value_simulations": torch.tensor(state.value_simulations),
    }
    recorder.save(FILE, tensors | numbers)


def load_warm_start(recorder: Recorder) -> WarmStart:
    """The warm start that was saved."""
    names = [f.name for f in fields(WarmStart)]
    saved = recorder.load(FILE, names, "remove it, and the warm start is done again")
    objective = tuple(saved.pop("objective").tolist())
    made, level = int(saved.pop("simulations")), int(saved.pop("value_simulations"))
    return WarmStart(
        **{n: saved[n] for n in saved if n in names}, objective=objective, simulations=made, value_simulations=level
    )
