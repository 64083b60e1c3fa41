"""The front door: a simulator or a Pyro model, priors and data in; a calibration out."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any, Literal

from calib._arguments import check_names, one_of, positive, whole_number
from calib._baselines_sbi import BASELINES
from calib._brings_jacobian import BringsJacobian
from calib._calibration import Calibration
from calib._carry_out import carry_out
from calib._executor import Workers
from calib._flows import FLOWS
from calib._former_names import refuse_former_method
from calib._inputs import Prior, Simulator, look, look_for_noise, pyro_path, understand
from calib._noisy import NOISY, can_draw
from calib._observed import FirstColumn, Likelihood
from calib._plan import FEW, LEAST_BUDGET, MANY, METHODS, Method, choose, make_plan
from calib._problem import GRADIENTS, Gradient
from calib._pyro_density import PyroDensity
from calib._reporter import Reporter
from calib._reuse import Round
from calib._run_store import RunStore


def calibrate(
    model: Simulator,
    prior: Prior | None = None,
    data: Any = None,
    *,
    likelihood: Likelihood | None = None,
    flow: str = "auto",
    gradient: Gradient | Literal["auto"] = "auto",
    budget: int = 10_000,
    max_seconds: float | None = None,
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
        max_seconds: after which no round or step begins, a sixth of them kept for the check; what was found until then is judged. The
            result then depends on the machine. A call of the simulator that has begun is not cut short. None for no limit; not for
            methods of sbi.
        seed: of everything random.
        loss_weight: weight of the log likelihood (generalised posterior); 1 is Bayes.
        method: "hmc" runs Hamiltonian chains on the log density itself (Pyro models, and simulators with derivatives and without
            noise; the budget counts evaluations with their gradient); "emulated-smc" keeps every run and draws from the posterior they
            imply (`calib.reuse`; at most some dozen parameters and outputs that hardly scatter); "linearised-vi" lets a flow climb linearised
            runs and goes on with new ones where those do not carry it (`calib.climb`; many parameters, needs a Jacobian); "vi"
            makes new runs for every update of the flow (`fit`); "multifidelity" samples an emulator of the mean outputs with the
            noise of one run in its error (`calib.multifidelity`; stochastic simulators, with Jacobian or without); "npe", "nle",
            "nre", "fmpe", "smc-abc" are those of sbi on draws of the data, with a flow fitted to what they give. For a simulator
            with noise, "abc-regression" regresses parameters on noisy simulated data in rounds around the posterior
            (`_iterated_regression`), and "importance" weighs single runs by p(y | run) (`_tempered_importance`); both are
            computed on the same runs. "auto" takes "hmc" for a Pyro model, or where the output is the log likelihood with
            derivatives and the budget at least 5,000. Else a pilot of 15 to 35 simulations tells whether outputs scatter: then
            "abc-regression", or "importance" where no data can be drawn. If not, "emulated-smc" up to 12 parameters, then "linearised-vi", or
            "vi" without derivatives.
        gradient_cost: what a run with derivatives counts, in simulations. If None: 1 for `BringsJacobian`, else 4 for a gradient
            ("vi"), the larger of 4 and 1 + D for a Jacobian ("emulated-smc").
        replicates: runs whose likelihoods are averaged at each draw of the parameters, for "vi" and "importance"; each counts.
            The log of their mean is low by about var(p) / (2 R mean(p)^2) nats, which "vi" inherits and "importance" does not.
        executor: where the simulator runs, a task for every `draws_per_task` draws; any `concurrent.futures.Executor`. Outputs then
            carry no derivatives but those of `BringsJacobian`. A simulator of one draw at a time is wrapped by `EachDraw`.
        draws_per_task: draws of a task. Each task has its own seed, so results do not depend on the number of workers.
        task_timeout: seconds that a task may run; its draws then count as failed.
        folder: where every simulation is kept as it is made, so that a call that was killed goes on with `resume=True` and the same
            arguments. Steps of "vi" with derivatives, and chains, are not kept.
        resume: whether the runs that the folder holds are used.
        progress: called after each round (`Round`, or weighted draws) or step (`Progress`), and before and between rounds after each
            call of the simulator, or task of the executor (`Spent`).

    Returns:
        The calibration; `.verdict` says whether it can be believed: `.verdict.state` is "good", "usable", "poor" or "unfinished".

    Raises:
        TypeError: an argument, the data or the outputs are of a kind that means nothing here.
        ValueError: data, prior and likelihood do not fit together, there is no such method, or the budget is too small.
        FitError: the simulator failed too often, or no draw has a likelihood.
        ModuleNotFoundError: a method of sbi was asked for and the extra `sbi` is not installed.

    Examples:
        A logistic curve seen through Poisson counts:

        >>> from torch.distributions import Independent, LogNormal, Poisson
        >>> days, truth = torch.arange(12.0), {"growth": torch.tensor([0.6]), "size": torch.tensor([300.0])}
        >>> curve = lambda theta, seed: theta["size"][:, None] * torch.sigmoid(theta["growth"][:, None] * (days - 6))
        >>> counts = curve(truth, 0)[0].round()
        >>> prior = {"growth": LogNormal(-1.0, 0.5), "size": LogNormal(5.0, 1.0)}
        >>> distribution = lambda mean: Independent(Poisson(mean.clamp_min(1e-6)), 1)
        >>> found = calibrate(curve, prior, counts, likelihood=distribution, budget=500)
        >>> draws = found.sample(1000, torch.Generator().manual_seed(0))
        >>> abs(float(draws["growth"].mean()) - 0.6) < 0.03, found.report["stopped_because"]
        (True, 'converged')
    """
    budget, seed = whole_number("budget", budget, least=LEAST_BUDGET), whole_number("seed", seed)
    refuse_former_method(method)
    one_of("method", method, METHODS)
    one_of("gradient", gradient, ("auto", *GRADIENTS))
    one_of("flow", flow, ("auto", *FLOWS))
    loss_weight, replicates = positive("loss_weight", loss_weight), whole_number("replicates", replicates, least=1)
    if gradient_cost is not None:
        gradient_cost = whole_number("gradient_cost", gradient_cost, least=1)
    if max_seconds is not None:
        max_seconds = positive("max_seconds", max_seconds)
        if method in BASELINES:
            raise ValueError(f"method={method!r} cannot be ended by time: leave max_seconds= out.")
    workers = None
    if executor is not None:
        timeout = None if task_timeout is None else positive("task_timeout", task_timeout)
        workers = Workers(executor, whole_number("draws_per_task", draws_per_task, least=1), timeout)
        if prior is None or (gradient in ("reverse", "forward") and not isinstance(model, BringsJacobian)):
            raise ValueError(
                "outputs of an executor carry no derivatives: use gradient='score' or BringsJacobian, and no executor for a Pyro model."
            )
    started = time.perf_counter()
    space, data, rows, value = understand(model, prior, data, likelihood)
    rows.workers = workers
    if progress is not None:
        progress = Reporter(progress, budget)
        rows.report = progress.simulated
    if isinstance(model, BringsJacobian):
        if gradient == "forward":
            raise ValueError("gradient='forward' was given with BringsJacobian: use 'reverse', or 'auto'.")
        gradient_cost = 1 if gradient_cost is None else gradient_cost
    if folder is not None:
        if prior is None:
            raise ValueError("a folder keeps simulations, and a Pyro model makes none: leave folder= out.")
        rows.store = RunStore(folder, rows.model, space.names, resume)
    check_names(space)
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
    how = choose(method, space.dim, path, pilot, drawn, smooth and cheap)
    plan = make_plan(
        how, path, rows, space, value, data, likelihood, pilot, budget=budget, seed=seed, flow=flow,
        loss_weight=loss_weight, gradient_cost=gradient_cost, replicates=replicates, max_seconds=max_seconds, progress=progress,
    )  # fmt: skip
    return carry_out(plan, started)


__all__ = ["Calibration", "Round", "calibrate"]
