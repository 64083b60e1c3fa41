"""The weekly update: the posterior of last week's data becomes that of this week's, with as few new simulations as will do.

Three steps, each taken only if the one before is not believed. First, draws of the last posterior are weighted by the ratio of
the new likelihood to the old; the shape of the tail of these weights (Pareto k-hat) tells whether draws of last week reach the
posterior of this week. Second, the method goes on from its runs, with a few new ones. Third, everything is calibrated anew.

A simulator with noise has no weights that can be relied on, since its likelihood is that of one run: there the kept runs are
regressed anew on the new data in the first step, which costs no simulation but the check.

References:
    Chopin, N. (2002). A sequential particle filter method for static models. Biometrika 89.
    Vehtari, A. et al. (2024). Pareto smoothed importance sampling. JMLR 25.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from calib._anneal import systematic
from calib._arguments import whole_number
from calib._calibration import Calibration, Origin
from calib._carry_out import assess, carry_out, finish
from calib._config import BudgetError
from calib._continue import origin_of
from calib._hamiltonian import Chains
from calib._importance import importance, judge_k_hat
from calib._inputs import PyroInCoordinates
from calib._methods import DRAWN, Fitted, flow_at
from calib._noise import derive_seed
from calib._noisy import NOISY
from calib._observed import Evaluate, as_data
from calib._plan import LEAST_BUDGET, Plan, kept_back
from calib._pyro_read import read_pyro
from calib._replicates import MeanLikelihood
from calib._verdict import BELIEVED, CalibrationVerdict, Evidence, State

NEW_RUNS = 0.2  # share of the budget for new runs
MAX_SIMULATED = 400  # draws that are simulated to be weighted, where no emulator knows their outputs
MIN_EFFECTIVE, GOOD_EFFECTIVE = 100, 1000  # effective draws by the weights, for "usable" and for "good"


@dataclass(frozen=True, eq=False)
class Weighted:
    """Draws of the last posterior, weighted.

    Attributes:
        z: `[S, D]`.
        weight: normalised, `[S]`.
        k_hat: of the weights; None for minus infinity (all equal).
        effective: number of draws that they are worth.
        simulations: spent on them.
    """

    z: Tensor
    weight: Tensor
    k_hat: float | None
    effective: float
    simulations: int

    @property
    def reach(self) -> bool:
        """Whether draws of the last posterior reach the new one."""
        tail = self.k_hat is None or judge_k_hat(self.k_hat, len(self.z)).word != "poor"
        return tail and self.effective >= MIN_EFFECTIVE


def update(found: Calibration, data: Any, *, budget: int | None = None, seed: int = 0) -> Calibration:
    """Bring a calibration up to date with new data.

    Args:
        found: as `calibrate`, `continue_calibration` or this function gave it; in the same process.
        data: all data, of the shape of those before: entries that were missing (NaN) and are known now, and entries that were
            revised. A Pyro model is called with them, and may be given more of them than before.
        budget: simulations that may be spent; that of the calibration if None. A refit takes all of it.
        seed: of draws and simulations.

    Returns:
        The calibration by the first step whose verdict is good or usable, else by the refit. `report["update"]` has the `step`
        ("reweighted", "further" or "refit"), and of the weights `k_hat`, `effective` and `draws`. Budget and simulations
        are those of the update.

    Raises:
        ValueError: the calibration cannot go on (`continue_calibration`), the data do not fit, or the budget is too small.

    Examples:
        >>> import torch
        >>> from torch.distributions import Independent, Normal
        >>> from calib import calibrate
        >>> first = torch.tensor([1.0, 2.0, torch.nan])
        >>> found = calibrate(
        ...     lambda theta, seed: theta["mean"][:, None].expand(-1, 3), {"mean": Normal(0.0, 10.0)}, first,
        ...     likelihood=lambda out: Independent(Normal(out, 1.0), 1), budget=300)
        >>> new = update(found, torch.tensor([1.0, 2.0, 1.5]))
        >>> new.report["update"]["step"], abs(float(new.summary()["mean"].iloc[0]) - 1.495) < 0.03
        ('reweighted', True)
    """
    origin, started = origin_of(found), time.perf_counter()
    budget = int(found.report["budget"]) if budget is None else whole_number("budget", budget, least=LEAST_BUDGET)
    seed = whole_number("seed", seed)
    before = origin.plan
    plan = replace(with_data(before, data), budget=budget, used=0)
    record: dict[str, Any] = {"step": "refit", "k_hat": None, "effective": None, "draws": 0}
    spent, new = 0, None
    same = plan.task.space.names == before.task.space.names
    steps = _steps(found, origin, plan, seed, started, record) if same else iter(())
    for step in steps:
        spent += step.report["simulations"]
        new = step
        if step.verdict.state in BELIEVED:
            break
    if new is None or new.verdict.state not in BELIEVED:
        record["step"] = "refit"
        new = carry_out(_anew(plan, budget, seed), started)
        spent += new.report["simulations"]
    new.report.update(update=record, simulations=spent, budget=budget, seconds=time.perf_counter() - started)
    return new


def _steps(
    found: Calibration, origin: Origin, plan: Plan, seed: int, started: float, record: dict[str, Any]
) -> Iterator[Calibration]:
    """Calibrations by weights, then by a few new runs."""
    few = max(LEAST_BUDGET, int(NEW_RUNS * plan.budget))
    if plan.how in NOISY:
        record["step"] = "reweighted"
        repeated = plan.further(plan.budget, origin.fitted, seed, None)
        yield carry_out(replace(repeated, task=replace(repeated.task, budget=0)), started)
    else:
        weighted = weigh(found, plan, seed)
        record |= {"k_hat": weighted.k_hat, "effective": weighted.effective, "draws": len(weighted.z)}
        if weighted.reach:
            record["step"] = "reweighted"
            yield reweighted(origin, plan, weighted, few, seed, started)
    record["step"] = "further"
    try:
        yield carry_out(plan.further(few, origin.fitted, seed, None), started)
    except BudgetError:
        return  # too few for this method: the refit follows


def with_data(plan: Plan, data: Any) -> Plan:
    """The plan with other data.

    Raises:
        ValueError: the simulator gives its log likelihood itself, so that data are not asked for, or the data do not fit.
    """
    task = plan.task
    if task.density is not None:
        density = read_pyro(task.density.model, data)
        source = replace(task.source, simulate=PyroInCoordinates(density, task.source.coordinates))
        kept = data if isinstance(data, Tensor) else None
        return replace(plan, task=replace(task, density=density, source=source), data=kept)
    if plan.likelihood is None or plan.data is None:
        raise ValueError(
            "the simulator gives the log likelihood itself, so that new data change nothing: calibrate again."
        )
    observed = as_data(data)
    if observed.shape != plan.data.shape:
        raise ValueError(
            f"the new data have shape {tuple(observed.shape)}, expected {tuple(plan.data.shape)} as before: let the simulator run "
            "to the last date from the start, and write NaN for what is not yet observed."
        )
    value: Evaluate | MeanLikelihood = Evaluate(plan.likelihood, observed)
    if plan.replicates > 1:
        value = MeanLikelihood(value, plan.replicates)
    return replace(plan, task=replace(task, source=replace(task.source, log_likelihood=value)), data=observed)


def weigh(found: Calibration, plan: Plan, seed: int) -> Weighted:
    """Weigh draws of the last posterior towards the new one.

    Draws of chains, and those that an emulator corrects, are of the last posterior: their weight is the new likelihood over the
    old. Others are of the flow, whose density is known: their weight is the new posterior over that, by fresh simulations.
    """
    assert found.origin is not None
    old, new = found.origin.plan.task.source, plan.task.source
    at, cheap = derive_seed(seed, 0, "update-simulate"), found.runs is not None or plan.task.density is not None
    count = DRAWN if cheap else min(MAX_SIMULATED, plan.budget // (4 * plan.replicates))
    generator = torch.Generator().manual_seed(derive_seed(seed, 0, "update"))
    with torch.no_grad():
        if found.chains is not None or found.runs is not None:
            z = found.sample_z(count, generator).double()
            x = old.coordinates.to_x(z)
            one, two = old.simulate(x, at) if found.runs is None else old.model(found.runs, found.scale)(x), None
            if plan.task.density is not None:
                two = new.simulate(x, at)
            log_weight = plan.task.loss_weight * (new.value(one if two is None else two) - old.value(one))
        else:
            z, log_q = (t.double() for t in found.flow.sample_with_log_prob(found.flow.noise(count, generator)))
            value = new.value(new.simulate(new.coordinates.to_x(z), at))
            log_weight = plan.task.loss_weight * value - 0.5 * (z**2).sum(1) - log_q
    log_weight = log_weight.nan_to_num(nan=-torch.inf)
    weights = importance(log_weight, torch.zeros_like(log_weight))
    weight = torch.softmax(log_weight, 0)
    k_hat = weights.k_hat if -torch.inf < weights.k_hat < torch.inf else None if weights.k_hat < 0 else 9.99
    return Weighted(z, weight, k_hat, float(1 / (weight**2).sum()), 0 if cheap else count * plan.replicates)


def reweighted(origin: Origin, plan: Plan, weighted: Weighted, few: int, seed: int, started: float) -> Calibration:
    """A calibration by weighted draws: a flow through them, which fresh simulations check, or the draws themselves of chains."""
    generator = torch.Generator().manual_seed(derive_seed(seed, 1, "update"))
    z = weighted.z[systematic(weighted.weight, DRAWN, generator)]
    fitted, task = origin.fitted, plan.task
    flow = flow_at("gaussian" if task.flow == "auto" and fitted.flow.name == "gaussian" else task.flow, z, task.seed)
    told: dict[str, Any] = {
        key: fitted.told[key] for key in ("weight", "form", "sampler", "mode", "baseline") if key in fitted.told
    }
    told |= {
        "simulations": -(-weighted.simulations // plan.replicates), "calls": weighted.simulations, "dropped": 0, "rounds": [],
        "stopped_because": "converged",
    }  # fmt: skip
    chains, verdict = None, None
    if fitted.chains is not None:
        chains, verdict = as_chains(z, fitted.chains, generator), of_weights(weighted)
    fit = Fitted(flow, fitted.runs, fitted.scale, told, chains, verdict)
    fresh = 0 if verdict is not None else kept_back(few, plan.how) // plan.replicates
    repeated = plan.further(plan.budget, fitted, seed, None)
    repeated = replace(repeated, fresh=fresh)
    return finish(repeated, fit, assess(repeated, fit), started)


def as_chains(z: Tensor, like: Chains, generator: torch.Generator) -> Chains:
    """Equally weighted draws `[S, D]` in random order, side by side as if of as many chains as before."""
    each = len(z) // like.z.shape[1]
    z = z[torch.randperm(len(z), generator=generator)][: each * like.z.shape[1]].reshape(each, like.z.shape[1], -1)
    none = torch.zeros(z.shape[:2], dtype=z.dtype)
    return Chains(z, none, like.step, like.accepted, 0, none.bool(), none)


def of_weights(weighted: Weighted) -> CalibrationVerdict:
    """The verdict of draws of chains that were weighted."""
    state: State = "good" if weighted.effective >= GOOD_EFFECTIVE else "usable"
    k_hat = "below 0" if weighted.k_hat is None else f"{weighted.k_hat:.2f}"
    reason = f"Draws of the last posterior, weighted by the new likelihood, are worth {weighted.effective:,.0f} (k-hat {k_hat})."
    count = len(weighted.z)
    evidence = Evidence(
        "converged", 1.0, count, count, effective_share=weighted.effective / count, k_hat=weighted.k_hat, k_hat_draws=count,
        shift=0.0, stretch=1.0,
    )  # fmt: skip
    advice = (
        "Use the draws."
        if state == "good"
        else "Means and intervals are rough: calibrate anew if much depends on them."
    )
    return CalibrationVerdict(state, (reason,), advice, evidence)


def _anew(plan: Plan, budget: int, seed: int) -> Plan:
    """The plan of a refit."""
    fresh = kept_back(budget, plan.how)
    task = replace(
        plan.task,
        budget=(budget - fresh) // plan.replicates,
        earlier=None,
        seed=derive_seed(plan.task.seed, seed, "refit"),
        allowance=replace(plan.task.allowance, budget=budget, seconds=None),
    )
    return replace(plan, task=task, fresh=fresh // plan.replicates)
