"""From a plan to a calibration: the method, the check, the report."""

from __future__ import annotations

import importlib.metadata
import time
from typing import Any

from calib._baselines_sbi import BASELINES
from calib._by_hmc import by_hmc
from calib._calibration import Calibration, Origin
from calib._check import gather
from calib._config import BudgetError
from calib._methods import Fitted, by_baseline, by_climb, by_direct, by_reuse
from calib._noisy import NOISY, check_noisy, fit_noisy
from calib._plan import Plan
from calib._replicates import log_mean_bias
from calib._unmoved import MIN_EFFECTIVE, prior_distance
from calib._verdict import BELIEVED, CalibrationVerdict, judge
from calib.multifidelity import by_multifidelity

WAYS = {"hmc": by_hmc, "emulated-smc": by_reuse, "linearised-vi": by_climb, "vi": by_direct}
COMPARED = 1000  # draws compared with the prior


def carry_out(plan: Plan, started: float) -> Calibration:
    """Fit and check.

    Args:
        plan: what to do.
        started: when the call began, by `time.perf_counter`.

    Returns:
        The calibration.

    Raises:
        BudgetError: the method needs a larger budget.
        FitError: the simulator failed too often, or no draw has a likelihood.
    """
    task, noise = plan.task, None
    try:
        if plan.how in NOISY and plan.pilot is not None:
            fit = fit_noisy(task, plan.how, plan.pilot, plan.likelihood, plan.data)
            proof, verdict = check_noisy(task, fit, plan.pilot, plan.fresh)
            found, noise = fit.fitted, proof.to_dict()
        elif plan.how == "multifidelity":
            found, verdict = by_multifidelity(task, plan.pilot)
        elif plan.how in BASELINES:
            found = by_baseline(task, plan.how, plan.likelihood, plan.data)
            verdict = assess(plan, found)
        else:
            found = WAYS[plan.how](task)
            verdict = assess(plan, found)
    except BudgetError as error:
        raise plan.enough(error) from error
    return finish(plan, found, verdict, started, noise)


def assess(plan: Plan, found: Fitted) -> CalibrationVerdict:
    """The verdict that a method brings, or that of fresh simulations."""
    if found.verdict is not None:
        return found.verdict
    told, task = found.told, plan.task
    evidence = gather(
        task.source,
        found.flow,
        found.runs,
        found.scale,
        budget=plan.fresh,
        seed=task.seed,
        loss_weight=task.loss_weight,
        weight=told["weight"],
        stopped_because="new_mode" if told.get("found_higher") else told["stopped_because"],
    )
    return judge(evidence, correctable=found.runs is not None, allowance=task.allowance)


def finish(
    plan: Plan, found: Fitted, verdict: CalibrationVerdict, started: float, noise: dict[str, Any] | None = None
) -> Calibration:
    """Put fit, verdict and report together."""
    task, rows, evidence = plan.task, plan.rows, verdict.evidence
    report: dict[str, Any] = {
        "method": plan.how, "gradient": task.source.gradient, "budget": plan.budget, "seed": task.seed,
        "loss_weight": task.loss_weight, "output": "log likelihood" if task.source.density else "outputs",
        "versions": {name: importlib.metadata.version(name) for name in ("torch", "zuko", "pyro-ppl")},
        "effective_share": evidence.effective_share, "k_hat": evidence.k_hat, "model_error": evidence.model_error,
        "check_draws": evidence.draws,
    } | found.told  # fmt: skip
    report["simulations"] = (report["simulations"] + plan.fresh) * plan.replicates + plan.used
    report |= {"verdict": verdict.to_dict(), "failures": dict(rows.failures), "flow": found.flow.name, "noise": noise}
    report["from_folder"] = 0 if rows.store is None else rows.store.loaded
    if plan.replicates > 1:
        bias = log_mean_bias(evidence.noise * plan.replicates**0.5, plan.replicates)
        report["replicates"] = {"runs": plan.replicates, "bias_nats": 0.0 if plan.how == "importance" else bias}
    result = Calibration(
        task.space, found.flow, plan.data, found.runs, found.scale, report,
        task.source if found.runs is not None else None, found.chains, task.density, Origin(plan, found),
    )  # fmt: skip
    report["unmoved"] = unmoved(result)
    report["seconds"] = time.perf_counter() - started
    return result


def unmoved(result: Calibration) -> list[str] | None:
    """Parameters whose posterior is their prior, within noise; None where the posterior is not believed or the prior is not N(0, I)."""
    if result.verdict.state not in BELIEVED or (result.density is not None and not result.density.whitened):
        return None
    worth = None if result.chains is None else result.chains.effective.clamp(max=COMPARED).numpy()
    if worth is not None and not (worth >= MIN_EFFECTIVE).all():
        return None
    z = result.sample_z(COMPARED, seed=0).double().numpy()
    return list(prior_distance(z, result.space.names, effective=worth).unmoved)
