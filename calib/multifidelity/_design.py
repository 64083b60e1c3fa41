"""Rounds of runs at draws of the emulator's posterior, from which the emulator gets its quadratic term."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from calib._fit import fit
from calib._flows import Flow
from calib._gaussian_start import start_flow
from calib._noise import derive_seed
from calib._short_repr import short_repr
from calib.multifidelity._chains import ROUND_DRAWS, centre_of, run_chains
from calib.multifidelity._emulator import Emulator
from calib.multifidelity._posterior import EmulatorPosterior
from calib.multifidelity._problem import Problem
from calib.multifidelity._recorder import Recorder
from calib.multifidelity._saved_runs import saved_runs
from calib.multifidelity._settings import Settings
from calib.multifidelity._threads import several_threads
from calib.multifidelity._warm_start import WarmStart

FILE = "rounds"
RUNS = ("z", "values", "slope_z", "slope_values", "slopes")
INFLATION = 1.6
"""Runs are made this much further from the centre than draws lie: curvature shows there, and the posterior that is believed when a round
begins may lie next to the one that its runs lead to."""
ROUND_STEPS = 500
"""Steps of the fits between rounds, which only choose where to simulate next."""


@dataclass(frozen=True, eq=False)
class Pool:
    """What the rounds have come to.

    Attributes:
        z: `[V, D]` and values `[V, M]`, runs without Jacobians.
        slope_z: `[N, D]`, slope_values `[N, M]` and slopes `[N, M, D]`, runs with Jacobians.
        flow: weights of the flow. rounds: how many are done.
    """

    __repr__ = short_repr

    z: Tensor
    values: Tensor
    slope_z: Tensor
    slope_values: Tensor
    slopes: Tensor
    flow: dict[str, Tensor]
    rounds: int

    def emulator(self, problem: Problem, warm: WarmStart) -> Emulator:
        """What all these runs and those of the warm start know of the mean."""
        slopes = (self.slope_z, self.slope_values, self.slopes.double()) if len(self.slope_z) else None
        return warm.emulator(problem.emulator_settings, (self.z, self.values), slopes)


def explore(
    posterior: EmulatorPosterior, warm: WarmStart, flow: Flow, settings: Settings, recorder: Recorder
) -> tuple[EmulatorPosterior, Flow, Pool | None]:
    """Fit a flow, draw from the emulator's posterior, run the simulator around there, some runs with Jacobians, fit the emulator, and again.

    A run that was stopped goes on with the round that it was in.

    Returns:
        The posterior by the emulator that the last round left, the flow to go on from, and the runs; None without rounds.
    """
    problem = posterior.problem
    pool = load_pool(recorder) if recorder.has(FILE) else None
    if pool is not None:
        flow.load_state_dict(pool.flow)
        posterior = replace(posterior, emulator=pool.emulator(problem, warm))
    for number in range(0 if pool is None else pool.rounds, settings.rounds):
        with recorder.phase(f"fit_{number + 1}"):
            flow = fit_round(posterior, flow, settings, recorder)
        generator = torch.Generator().manual_seed(derive_seed(settings.seed, number, "round"))
        with recorder.phase(f"draws_{number + 1}"):
            found = run_chains(
                posterior,
                flow,
                posterior.shared_error(centre_of(flow, settings.seed)),
                derive_seed(settings.seed, number, "round-draws"),
                recorder,
                min(ROUND_DRAWS, settings.chain_draws),
            )
            drawn = found.z.flatten(0, 1)
            centre = drawn.mean(0)
            z = (centre + INFLATION * (found.draws(settings.round_runs, generator) - centre))[:, : problem.space.dim]
        if not problem.observations.integrates_error:
            move_flow(flow, drawn[:, : problem.space.dim])
        with recorder.phase(f"round_{number + 1}"):
            values = simulate_round(problem, z, number, settings, recorder)
        good = torch.isfinite(values).all(1)
        recorder.failed(good, "runs of a round")
        new = (z[good], values[good], *_slopes(problem, z, number, settings, recorder))
        if pool is not None:
            before = (pool.z, pool.values, pool.slope_z, pool.slope_values, pool.slopes)
            new = tuple(torch.cat(pair) for pair in zip(before, new, strict=True))  # type: ignore[assignment]
        pool = Pool(*new, flow.state_dict(), number + 1)
        save_pool(pool, recorder)
        with recorder.phase(f"learn_{number + 1}"), several_threads(settings.threads):
            posterior = replace(posterior, emulator=pool.emulator(problem, warm))
        flow.requires_grad_(True)
    report_emulator(posterior, recorder)
    return posterior, flow, pool


def fit_round(posterior: EmulatorPosterior, flow: Flow, settings: Settings, recorder: Recorder) -> Flow:
    """A flow fitted to the emulator's posterior; as it is where the likelihood integrates over no error, which would make it too narrow."""
    if not posterior.problem.observations.integrates_error:
        return flow
    quick = replace(settings.fit, max_steps=min(ROUND_STEPS, settings.fit.max_steps))
    with recorder.fit_progress() as progress:
        return fit(posterior.fit_problem(), flow, quick, progress=progress).flow


def move_flow(flow: Flow, z: Tensor) -> None:
    """Start a flow anew at the mean and covariance of draws `z [S, D]`, in place."""
    eye = torch.eye(z.shape[1]).to(z)
    start_flow(flow, z.mean(0), torch.atleast_2d(z.mT.cov()) + 1e-10 * eye)


def _slopes(
    problem: Problem, z: Tensor, number: int, settings: Settings, recorder: Recorder
) -> tuple[Tensor, Tensor, Tensor]:
    """Runs with Jacobians at the first of `z [V, D]`, those that are finite: `[N, D]`, `[N, M]` and `[N, M, D]`."""
    if problem.jacobian is None:
        count = len(problem.observations.which) if problem.wanted is None else len(problem.wanted)
        return z[:0], z.new_zeros(0, count), torch.zeros(0, count, z.shape[1])
    at = z[: settings.round_jacobians]
    with recorder.phase(f"slopes_{number + 1}"):
        outputs, slopes = _differentiate(problem, at, number, settings, recorder)
    fine = torch.isfinite(outputs).all(1) & torch.isfinite(slopes).flatten(1).all(1)
    recorder.failed(fine, "runs of a round with Jacobians", fewest=2)
    return at[fine], outputs[fine], slopes[fine].float()


def report_emulator(posterior: EmulatorPosterior, recorder: Recorder) -> None:
    """Plain data that describe an emulator with a quadratic term."""
    emulator = posterior.emulator
    if emulator.quadratic is None:
        return
    wanted = posterior.problem.wanted
    every = torch.ones(len(emulator.intercept), dtype=torch.bool) if wanted is None else wanted
    residual = float(emulator.residual.std(0)[every].median())  # infinite where a run lies far off
    recorder.update(
        emulator={
            "runs": emulator.runs, "curvature": emulator.quadratic.curvature,
            "error_median": float(emulator.quadratic.typical_error[every].median()),
            "residual_median": residual if math.isfinite(residual) else None,
        }
    )  # fmt: skip


def simulate_round(problem: Problem, z: Tensor, number: int, settings: Settings, recorder: Recorder) -> Tensor:
    """Outputs `[V, M]` of value runs at `z [V, D]`; a run that was stopped goes on with those it had."""
    seed = derive_seed(settings.seed, number, "round-runs")
    file: Path | None = None if recorder.folder is None else recorder.folder / f"round_{number + 1}.safetensors"
    with recorder.steps(f"round {number + 1}", len(z)) as advance:

        def made(runs: int, now: bool) -> None:
            advance(runs)
            if now:
                recorder.count("rounds", runs)

        return saved_runs(
            file,
            recorder.fingerprint,
            z,
            problem.fidelity("values").batch,
            lambda part, first: problem.values(part, seed, first),
            made,
        )


def _differentiate(
    problem: Problem, z: Tensor, number: int, settings: Settings, recorder: Recorder
) -> tuple[Tensor, Tensor]:
    """Outputs `[N, M]` at `z [N, D]` and their Jacobians `[N, M, D]`."""
    seed, batch, rows = derive_seed(settings.seed, number, "round-slopes"), settings.jacobian_batch, []
    assert problem.jacobian is not None
    with recorder.steps(f"slopes {number + 1}", len(z)) as advance, torch.no_grad():
        for start in range(0, len(z), batch):
            part = z[start : start + batch]
            rows.append(problem.jacobian(part, seed, problem.fidelity("slopes"), start))
            recorder.count("round_jacobians", len(part))
            advance(len(part))
    outputs, slopes = zip(*rows, strict=True)
    return torch.cat(outputs), torch.cat(slopes)


def save_pool(pool: Pool, recorder: Recorder) -> None:
    """Save it: a run that was stopped goes on from there."""
    weights = {f"flow/{name}": x.detach() for name, x in pool.flow.items()}
    runs = {name: getattr(pool, name).contiguous() for name in RUNS}
    recorder.save(FILE, {**runs, "rounds": torch.tensor(pool.rounds), **weights})


def load_pool(recorder: Recorder) -> Pool:
    """The pool of a run that was begun."""
    saved = recorder.load(FILE, (*RUNS, "rounds"), "remove it, and the rounds are done again")
    flow = {name.removeprefix("flow/"): x for name, x in saved.items() if name.startswith("flow/")}
    return Pool(**{name: saved[name] for name in RUNS}, flow=flow, rounds=int(saved["rounds"]))
