"""The front door: a simulator or a Pyro model, priors and data in; a calibration out."""

from __future__ import annotations

import importlib.metadata
import os
import time
from collections.abc import Callable
from concurrent.futures import Executor
from itertools import count
from typing import Any, Literal, get_args

from calib._arguments import check_names, one_of, positive, whole_number
from calib._baselines_sbi import BASELINES
from calib._by_hmc import by_hmc
from calib._calibration import Calibration
from calib._chart import Chart
from calib._check import gather
from calib._config import BudgetError
from calib._executor import Workers
from calib._flows import FLOWS
from calib._inputs import LOOKED_AT, InChart, Prior, PyroInChart, Simulator, look, look_for_noise, pyro_path, understand
from calib._methods import GRADIENT_COST, Fitted, Task, by_baseline, by_climb, by_direct, by_reuse
from calib._noise_pilot import Pilot
from calib._noisy import NOISY, can_draw, check_noisy, fit_noisy
from calib._observed import FirstColumn, Likelihood
from calib._problem import GRADIENTS, Gradient
from calib._pyro_density import PyroDensity
from calib._replicates import MeanLikelihood, ReplicatedOutputs, log_mean_bias
from calib._reuse import Round, Source
from calib._run_store import RunStore
from calib._simulator import Rows
from calib._verdict import CalibrationVerdict, judge
from calib.multifidelity import by_multifidelity

Method = Literal[
    "auto",
    "hmc",
    "reuse",
    "climb",
    "direct",
    "multifidelity",
    "npe",
    "nle",
    "nre",
    "fmpe",
    "smc-abc",
    "abc-regression",
    "importance",
]
METHODS: tuple[str, ...] = get_args(Method)
WAYS = {"hmc": by_hmc, "reuse": by_reuse, "climb": by_climb, "direct": by_direct}
FEW = 12  # parameters up to which populations of draws fill the posterior
MANY = 5000  # evaluations of a log likelihood from which on chains are at least as good as an emulator of it
LEAST_CHECK = 48  # simulations
LEAST_BUDGET = LEAST_CHECK + LOOKED_AT + 1
LEAST_NOISY_BUDGET, LEAST_FRESH = 200, 60
AVERAGED = ("direct", "importance")  # methods that average runs


def calibrate(
    model: Simulator,
    prior: Prior | None = None,
    data: Any = None,
    *,
    likelihood: Likelihood | None = None,
    flow: str = "auto",
    gradient: Gradient | Literal["auto"] = "auto",
    budget: int = 10_000,
    seed: int = 0,
    loss_weight: float = 1.0,
    method: Method = "auto",
    gradient_cost: int | None = None,
    replicates: int = 1,
    executor: Executor | None = None,
    draws_per_task: int = 1,
    task_timeout: float | None = None,
    folder: str | os.PathLike[str] | None = None,
    resume: bool = False,
    progress: Callable[[Any], None] | None = None,
) -> Calibration:
    """Calibrate a simulator or a Pyro model to data.

    Args:
        model: a simulator `(theta {name: [P, *event]}, seed) -> outputs [P, M]`, each row from its own row of theta alone, all
            randomness from the seed. Outputs are a tensor, an array, a table, nested lists, or a dict of such, set side by side.
            Rows that are NaN, or at which it raises, are left out and counted. Or, with `prior=None`, an ordinary
            Pyro model, written for one particle, that is called with `data`: plates, hierarchies, `pyro.factor`, masks and
            enumerated sites are understood (`read_pyro`).
        prior: the parameters, or a distribution for each by name. None for a Pyro model.
        data: observed, of the shape of one event of the likelihood, in any container; NaN where an observation is missing. For
            a Pyro model whatever it takes.
        likelihood: distribution of the data given outputs `[P, M]` (float64): batch `[P]`, one event a row. None if the
            simulator's output `[P, 1]` or `[P]` is the log likelihood itself.
        flow: "auto" (a full-rank Gaussian where it fits, else a neural spline flow) or a name of `calib.FLOWS`.
        gradient: how outputs are differentiated: "reverse", "forward", or "score" for a simulator without derivatives. "auto"
            takes "reverse" where the outputs carry a graph, else "score".
        budget: simulations that may be spent, those of the check included.
        seed: of everything random.
        loss_weight: weight of the log likelihood (generalised posterior); 1 is Bayes.
        method: "hmc" runs Hamiltonian chains on the log density itself (Pyro models, and simulators with derivatives and without
            noise; the budget counts evaluations with their gradient); "reuse" keeps every run and draws from the posterior they
            imply (`reuse`; at most some dozen parameters and outputs that hardly scatter); "climb" lets a flow climb linearised
            runs and goes on with new ones where those do not carry it (`climb`; many parameters, needs a Jacobian); "direct"
            makes new runs for every update of the flow (`fit`); "multifidelity" samples an emulator of the mean outputs with the
            noise of one run in its error (`calib.multifidelity`; stochastic simulators, with Jacobian or without); "npe", "nle",
            "nre", "fmpe", "smc-abc" are those of sbi on draws of the data, with a flow fitted to what they give. For a simulator
            with noise, "abc-regression" regresses parameters on noisy simulated data in rounds around the posterior
            (`_iterated_regression`), and "importance" weighs single runs by p(y | run) (`_tempered_importance`); both are
            computed on the same runs. "auto" takes "hmc" for a Pyro model, or where the output is the log likelihood with
            derivatives and the budget at least 5,000. Else a pilot of 15 to 35 simulations tells whether outputs scatter: then
            "abc-regression", or "importance" where no data can be drawn. If not, "reuse" up to 12 parameters, then "climb", or
            "direct" without derivatives.
        gradient_cost: what a run with derivatives counts, in simulations: 4 for a gradient ("direct"), the larger of 4 and
            1 + D for a Jacobian ("reuse"), if None.
        replicates: runs whose likelihoods are averaged at each draw of the parameters, for "direct" and "importance"; each counts.
            The log of their mean is low by about var(p) / (2 R mean(p)^2) nats, which "direct" inherits and "importance" does not.
        executor: where the simulator runs, a task for every `draws_per_task` draws; any `concurrent.futures.Executor`. Outputs then
            carry no derivatives. A simulator of one draw at a time is wrapped by `EachDraw`.
        draws_per_task: draws of a task. Each task has its own seed, so results do not depend on the number of workers.
        task_timeout: seconds that a task may run; its draws then count as failed.
        folder: where every simulation is kept as it is made, so that a call that was killed goes on with `resume=True` and the same
            arguments. Steps of "direct" with derivatives, and chains, are not kept.
        resume: whether the runs that the folder holds are used.
        progress: called after each round (`Round`, or weighted draws) or step (`Progress`).

    Returns:
        The calibration; `.verdict` says whether it can be believed: `.verdict.state` is "good", "usable", "poor" or "unfinished".

    Raises:
        TypeError: an argument, the data or the outputs are of a kind that means nothing here.
        ValueError: data, prior and likelihood do not fit together, there is no such method, or the budget is too small.
        FitError: the simulator failed too often, or no draw has a likelihood.
        ModuleNotFoundError: a method of sbi was asked for and the extra `sbi` is not installed.

    Example:
        A logistic curve seen through Poisson counts:

        >>> from torch.distributions import Independent, LogNormal, Poisson
        >>> days, truth = torch.arange(12.0), {"growth": torch.tensor([0.6]), "size": torch.tensor([300.0])}
        >>> curve = lambda theta, seed: theta["size"][:, None] * torch.sigmoid(theta["growth"][:, None] * (days - 6))
        >>> counts = curve(truth, 0)[0].round()
        >>> prior = {"growth": LogNormal(-1.0, 0.5), "size": LogNormal(5.0, 1.0)}
        >>> law = lambda mean: Independent(Poisson(mean.clamp_min(1e-6)), 1)
        >>> found = calibrate(curve, prior, counts, likelihood=law, budget=500)
        >>> draws = found.sample(1000, torch.Generator().manual_seed(0))
        >>> abs(float(draws["growth"].mean()) - 0.6) < 0.03, found.report["stopped_because"]
        (True, 'settled')
    """
    budget, seed = whole_number("budget", budget, least=LEAST_BUDGET), whole_number("seed", seed)
    one_of("method", method, METHODS)
    one_of("gradient", gradient, ("auto", *GRADIENTS))
    one_of("flow", flow, ("auto", *FLOWS))
    loss_weight, replicates = positive("loss_weight", loss_weight), whole_number("replicates", replicates, least=1)
    if gradient_cost is not None:
        gradient_cost = whole_number("gradient_cost", gradient_cost, least=1)
    workers = None
    if executor is not None:
        timeout = None if task_timeout is None else positive("task_timeout", task_timeout)
        workers = Workers(executor, whole_number("draws_per_task", draws_per_task, least=1), timeout)
        if prior is None or gradient in ("reverse", "forward"):
            raise ValueError(
                "outputs of an executor carry no derivatives: use gradient='score', and no executor for a Pyro model."
            )
    space, data, rows, value = understand(model, prior, data, likelihood)
    rows.workers = workers
    if folder is not None:
        if prior is None:
            raise ValueError("a folder keeps simulations, and a Pyro model makes none: leave folder= out.")
        rows.store = RunStore(folder, rows.model, space.names, resume)
    check_names(space)
    started = time.perf_counter()
    density = rows.model if isinstance(rows.model, PyroDensity) else None
    if density is not None and not density.whitened and loss_weight != 1.0:
        raise ValueError(
            "loss_weight needs priors that map to a standard normal, and one of the model's does not: leave it at 1."
        )
    path = look(rows, space, value, gradient, seed) if density is None else pyro_path(gradient)
    pilot = (
        look_for_noise(rows, value, space, seed)
        if density is None and method in ("auto", "multifidelity", *NOISY)
        else None
    )
    smooth = isinstance(value, FirstColumn) and path == "reverse"
    cheap = (budget >= MANY or space.dim > FEW) if density is None else not density.random
    drawn = loss_weight == 1.0 and can_draw(likelihood, pilot)
    how = _choose(method, space.dim, path, pilot, drawn, smooth and cheap)
    if replicates > 1 and how not in AVERAGED:
        raise ValueError(
            f"replicates={replicates} was given with method={how!r}, expected 1: only {' and '.join(AVERAGED)} average runs."
        )
    kept_back, used = _kept_back(budget, how), LOOKED_AT + (pilot.simulations if pilot else 0)
    if how in NOISY and budget < LEAST_NOISY_BUDGET * replicates:
        raise BudgetError(budget, LEAST_NOISY_BUDGET * replicates, "for a simulator with noise")
    left, fresh = (budget - kept_back - used) // replicates, kept_back // replicates
    outputs: Rows | ReplicatedOutputs = rows
    if replicates > 1:
        outputs, value = ReplicatedOutputs(rows, replicates), MeanLikelihood(value, replicates)
    chart = Chart(space, natural=how == "reuse")
    jacobian_cost = gradient_cost if gradient_cost is not None else max(GRADIENT_COST, 1 + space.dim)
    simulate = InChart(outputs, space, chart) if density is None else PyroInChart(density, chart)
    source = Source(simulate, value, chart, path, jacobian_cost, density=likelihood is None, store=rows.store)
    each = gradient_cost if gradient_cost is not None else GRADIENT_COST
    task = Task(space, outputs, source, flow, left, seed, loss_weight, each, progress, density)
    noise: dict[str, Any] | None = None
    if how in NOISY and pilot is not None:
        fit = fit_noisy(task, how, pilot, likelihood, data)
        proof, verdict = check_noisy(task, fit, pilot, fresh)
        found, noise = fit.fitted, proof.to_dict()
    elif how == "multifidelity":
        found, verdict = by_multifidelity(task, pilot)
    else:
        try:
            found = by_baseline(task, how, likelihood, data) if how in BASELINES else WAYS[how](task)
        except BudgetError as error:
            need = next(b for b in count(budget) if (b - _kept_back(b, how) - used) // replicates >= error.need)
            raise BudgetError(
                budget, need, f"{error.why}, with {_kept_back(need, how)} of them for the check"
            ) from error
        verdict = _assess(source, found, fresh, seed, loss_weight)
    evidence = verdict.evidence
    report: dict[str, Any] = {
        "method": how, "gradient": path, "budget": budget, "seed": seed, "loss_weight": loss_weight,
        "output": "log likelihood" if source.density else "outputs",
        "versions": {name: importlib.metadata.version(name) for name in ("torch", "zuko", "pyro-ppl")},
        "effective_share": evidence.effective_share, "k_hat": evidence.k_hat, "model_error": evidence.model_error,
        "check_draws": evidence.draws,
    } | found.told  # fmt: skip
    report["simulations"] = (report["simulations"] + fresh) * replicates + used
    report |= {"verdict": verdict.to_dict(), "failures": dict(rows.failures), "flow": found.flow.name, "noise": noise}
    report["from_folder"] = 0 if rows.store is None else rows.store.loaded
    if replicates > 1:
        bias = log_mean_bias(evidence.noise * replicates**0.5, replicates)
        report["replicates"] = {"runs": replicates, "bias_nats": 0.0 if how == "importance" else bias}
    report["seconds"] = time.perf_counter() - started
    kept = source if found.runs is not None else None
    return Calibration(space, found.flow, data, found.runs, found.scale, report, kept, found.chains, density)


def _choose(
    method: str, dim: int, gradient: Gradient, pilot: Pilot | None, can_draw_data: bool, chains: bool = False
) -> str:
    """The method by name; "auto" chooses."""
    if method != "auto":
        return method
    if pilot is not None and not pilot.negligible:
        return "abc-regression" if can_draw_data else "importance"
    if chains:
        return "hmc"
    if dim <= FEW:
        return "reuse"
    return "direct" if gradient == "score" else "climb"


def _kept_back(budget: int, how: str) -> int:
    """Simulations kept for the check; chains need none, and the multifidelity method makes its own."""
    if how in ("hmc", "multifidelity"):
        return 0
    if how in NOISY:
        return max(LEAST_FRESH, min(max(100, budget // 10), budget // 4))
    return min(max(100, budget // 20), max(LEAST_CHECK, budget // 4))


def _assess(source: Source, found: Fitted, fresh: int, seed: int, loss_weight: float) -> CalibrationVerdict:
    """The verdict that a method brings, or that of fresh simulations."""
    if found.verdict is not None:
        return found.verdict
    told = found.told
    evidence = gather(
        source,
        found.flow,
        found.runs,
        found.scale,
        budget=fresh,
        seed=seed,
        loss_weight=loss_weight,
        weight=told["weight"],
        stopped_because="new_mode" if told.get("found_higher") else told["stopped_because"],
    )
    return judge(evidence, correctable=found.runs is not None)


__all__ = ["Calibration", "Round", "calibrate"]
