"""The method for any simulator and likelihood, as `calib.calibrate` offers it."""

from __future__ import annotations

import math
from dataclasses import asdict, replace

import torch
from torch import Tensor

from calib._config import BudgetError, FitError
from calib._methods import DRAWN, Fitted, Task, flow_at
from calib._more_budget import Allowance
from calib._noise import derive_seed
from calib._noise_pilot import Pilot, simulate_apart
from calib._reuse import Source
from calib._verdict import CalibrationVerdict
from calib.multifidelity._chains import summary
from calib.multifidelity._first_order import correction
from calib.multifidelity._given import GivenLikelihood
from calib.multifidelity._problem import Fidelity, Problem
from calib.multifidelity._run import Result, sample
from calib.multifidelity._settings import Settings
from calib.multifidelity._threads import allowed_threads
from calib.multifidelity._verdict import judge

PILOT = 8  # runs at draws of the prior that show the outputs
WARM_STEPS = 6
SHARES = {"warm": 0.35, "rounds": 0.55, "held out": 0.1}
MAX_RUNS = 120  # of a round: what more of them would tell an emulator of second degree costs more than it is worth
MAX_HELD_OUT = 100
MAX_SKEWNESS, MAX_KURTOSIS = 0.3, 0.7  # of draws that a Gaussian describes
FLOOR = 0.1  # of the smallest output of the pilot


def by_multifidelity(task: Task, noise: Pilot | None) -> tuple[Fitted, CalibrationVerdict]:
    """Calibrate a simulator of one fidelity.

    The data are those of one run of the real system, so that the chance of one run is part of the error: it is drawn along with the parameters.

    Args:
        task: as for every method.
        noise: what a pilot says; rows of one call that share their random numbers are run apart.

    Raises:
        ValueError: the simulator gives a log likelihood alone, or the budget is too small.
        FitError: too few runs were finite.
    """
    source, dim, shared = task.source, task.space.dim, noise is not None and noise.shared
    if source.density:
        raise ValueError(
            "method='multifidelity' emulates outputs, but the simulator gives a log likelihood alone: pass its outputs "
            "and likelihood=."
        )

    def simulate(z: Tensor, seed: int, fidelity: Fidelity | None = None, first: int = 0) -> Tensor:
        with torch.no_grad():
            return simulate_apart(task.outputs, task.space, z, derive_seed(seed, first, "rows"), shared).double()

    def jacobian(z: Tensor, seed: int, fidelity: Fidelity, first: int = 0) -> tuple[Tensor, Tensor]:
        parts = [
            _differentiated(source, part, derive_seed(seed, first + i, "rows"))
            for i, part in enumerate(z.split(1 if shared else len(z)))
        ]
        return torch.cat([value for value, _ in parts]), torch.cat([slope for _, slope in parts])

    generator = torch.Generator().manual_seed(derive_seed(task.seed, 0, "pilot"))
    pilot = simulate(
        torch.randn(PILOT, dim, generator=generator, dtype=torch.float64), derive_seed(task.seed, 0, "pilot-simulate")
    )
    pilot = pilot[torch.isfinite(pilot).all(1)]
    if not len(pilot):
        raise FitError(f"none of {PILOT} runs at draws of the prior was finite; check the simulator and the priors.")
    link = "log" if bool((pilot > 0).all()) else "identity"
    outputs = pilot.shape[1]

    def value(x: Tensor) -> Tensor:
        return task.loss_weight * source.log_likelihood(x)

    problem = Problem(
        task.space,
        GivenLikelihood(value, outputs, link),  # type: ignore[arg-type]
        simulate,
        (Fidelity("only", batch=MAX_RUNS),),
        None if source.gradient == "score" else jacobian,
        link=link,  # type: ignore[arg-type]
        floor=FLOOR * float(pilot.min()) if link == "log" else 0.0,
        smear=False,
    )
    settings = settings_for(task.budget - PILOT, dim, source.cost, task.seed)
    found = sample(problem, settings)
    drawn = found.drawn.chains.draws(DRAWN, generator)[:, :dim]
    flow = found.flow if task.flow == "auto" and _is_gaussian(drawn) else flow_at(task.flow, drawn, task.seed)
    told, verdict = _report(found, source.cost, dim, replace(task.allowance, ceiling=ceiling(source.cost)))
    told["threads"] = settings.threads
    return Fitted(flow, None, None, told), verdict


def _differentiated(source: Source, z: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """Outputs `[P, M]` and Jacobian `[P, M, D]`, NaN where a run failed."""
    with torch.enable_grad():
        runs, good = source.run(z, seed)
    assert runs.jacobian is not None
    value, slope = (x.new_full((len(z), *x.shape[1:]), torch.nan, dtype=z.dtype) for x in (runs.outputs, runs.jacobian))
    value[good], slope[good] = runs.outputs.to(z), runs.jacobian.to(z)
    return value, slope


def _is_gaussian(z: Tensor) -> bool:
    """Whether the margins of draws `[S, D]` have about the skewness and kurtosis of normal ones."""
    unit = (z - z.mean(0)) / z.std(0)
    return bool(((unit**3).mean(0).abs() < MAX_SKEWNESS).all() and (((unit**4).mean(0) - 3).abs() < MAX_KURTOSIS).all())


def settings_for(budget: int, dim: int, cost: int, seed: int) -> Settings:
    """Spend a budget of simulations.

    Args:
        budget: simulations.
        dim: number of parameters D.
        cost: of a run with Jacobian; 1 where there is none.
        seed: of everything random.

    Raises:
        BudgetError: the budget is too small.
    """
    first = Settings(warm_steps=WARM_STEPS).first_steps
    steps = WARM_STEPS if cost == 1 else first + 2 * (WARM_STEPS - first)
    fewest = 2 * dim + 4 if cost == 1 else 2
    warm = min(int(SHARES["warm"] * budget / (steps * cost)), MAX_RUNS)
    # three rounds and three refinements of 0.6 of one; a quarter of a round's runs also with Jacobian
    runs = min(int(SHARES["rounds"] * budget / (4.8 + (0.75 * cost if cost > 1 else 0))), MAX_RUNS)
    held_out = min(int(SHARES["held out"] * budget), MAX_HELD_OUT)
    if warm < fewest or runs < 12 or held_out < 10:
        least = max(
            fewest * steps * cost / SHARES["warm"],
            12 * (4.8 + (0.75 * cost if cost > 1 else 0)) / SHARES["rounds"],
            10 / SHARES["held out"],
        )
        raise BudgetError(budget + PILOT, int(least) + PILOT + 1, f"for {dim} parameters")
    return Settings(
        seed=seed, warm_steps=WARM_STEPS, warm_runs=warm, level_runs=0, round_runs=runs, round_jacobians=max(4, runs // 4),
        jacobian_batch=MAX_RUNS, held_out_runs=held_out, threads=allowed_threads(),
    )  # fmt: skip


def ceiling(cost: int) -> int:
    """The budget from which on every part of it has the runs that it takes at most."""
    first = Settings(warm_steps=WARM_STEPS).first_steps
    steps = WARM_STEPS if cost == 1 else first + 2 * (WARM_STEPS - first)
    rounds = 4.8 + (0.75 * cost if cost > 1 else 0)
    return PILOT + math.ceil(
        max(
            MAX_RUNS * steps * cost / SHARES["warm"],
            MAX_RUNS * rounds / SHARES["rounds"],
            MAX_HELD_OUT / SHARES["held out"],
        )
    )


def _report(found: Result, cost: int, dim: int, allowance: Allowance) -> tuple[dict[str, object], CalibrationVerdict]:
    chains, posterior = found.drawn.chains, found.drawn.posterior
    z = chains.z.flatten(0, 1)[:, :dim]
    first = correction(posterior, found.drawn.errors, z, found.held_out_z, found.held_out_values)
    about = summary(chains)
    ratio = float(found.held_out["rms"])
    verdict = judge(
        ratio, first, float(chains.r_hat[:dim].max()), found.drawn.extrapolated, len(found.held_out_z), allowance
    )
    made = found.simulations
    jacobians = made["jacobians"] + (made["warm_start"] if cost > 1 else 0)
    plain = sum(made.values()) - jacobians
    told = {
        "weight": 1.0, "simulations": PILOT + plain + cost * jacobians, "calls": PILOT + plain + jacobians, "dropped": 0,
        "stopped_because": "converged", "rounds": [], "held_out": found.held_out, "correction": asdict(first),
        "chains": about, "runs": made, "extrapolated": found.drawn.extrapolated,
    }  # fmt: skip
    return told, verdict
