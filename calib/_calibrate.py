"""The front door: a simulator or a Pyro model, priors and data in; a calibration out."""

from __future__ import annotations

import importlib.metadata
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor
from torch.distributions import Distribution

from calib._arguments import check_names, one_of, positive, whole_number
from calib._baselines_sbi import BASELINES
from calib._calibration import Calibration
from calib._chart import Chart
from calib._check import gather
from calib._config import FitError
from calib._flows import FLOWS
from calib._methods import GRADIENT_COST, Task, by_baseline, by_climb, by_direct, by_reuse
from calib._noise import derive_seed
from calib._noise_pilot import Pilot, run_noise_pilot
from calib._noisy import NOISY, can_draw, check_noisy, fit_noisy
from calib._observed import Evaluate, FirstColumn, Likelihood, as_data
from calib._problem import GRADIENTS, Gradient
from calib._pyro import log_likelihood as pyro_log_likelihood
from calib._pyro import space_from_pyro
from calib._replicates import MeanLikelihood, ReplicatedOutputs, log_mean_bias
from calib._reuse import Round, Source
from calib._simulator import Rows
from calib._space import Parameter, ParameterSpace
from calib._verdict import judge
from calib.multifidelity import by_multifidelity

Method = Literal[
    "auto",
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
WAYS = {"reuse": by_reuse, "climb": by_climb, "direct": by_direct}
Prior = ParameterSpace | Mapping[str, Distribution]
Simulator = Callable[..., Any]
FEW = 12  # parameters up to which populations of draws fill the posterior
LOOKED_AT = 4  # runs that tell shapes and derivatives before anything else is spent
LEAST_BUDGET = 50
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
    progress: Callable[[Any], None] | None = None,
) -> Calibration:
    """Calibrate a simulator or a Pyro model to data.

    Args:
        model: a simulator `(theta {name: [P, *event]}, seed) -> outputs [P, M]`, each row from its own row of theta alone, all
            randomness from the seed. Outputs are a tensor, an array, a table, nested lists, or a dict of such, set side by side.
            Rows that are NaN, or at which it raises, are left out and counted. Or, with `prior=None`, a Pyro model in the
            convention of `space_from_pyro` that is called with `data`.
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
        method: "reuse" keeps every run and draws from the posterior they imply (`reuse`; at most some dozen parameters and
            outputs that hardly scatter); "climb" lets a flow climb linearised runs and goes on with new ones where those do not
            carry it (`climb`; many parameters, needs a Jacobian); "direct" makes new runs for every update of the flow (`fit`);
            "multifidelity" samples an emulator of the mean outputs with the chance of one run in its error (`calib.multifidelity`;
            stochastic simulators, with Jacobian or without).
            "npe", "nle", "nre", "fmpe", "smc-abc" are those of sbi on draws of the data, with a flow fitted to what they give.
            For a simulator with noise, "abc-regression" regresses parameters on noisy simulated data in rounds around the posterior
            (`_iterated_regression`), and "importance" weighs single runs by p(y | run) (`_tempered_importance`); both are computed
            on the same runs. "auto" runs a pilot of 15 to 35 simulations: if outputs scatter it takes "abc-regression", or
            "importance" where no data can be drawn; else "reuse" up to 12 parameters, then "climb", or "direct" without derivatives.
        gradient_cost: what a run with derivatives counts, in simulations: 4 for a gradient ("direct"), the larger of 4 and
            1 + D for a Jacobian ("reuse"), if None.
        replicates: runs whose likelihoods are averaged at each draw of the parameters, for "direct" and "importance"; each counts.
            The log of their mean is low by about var(p) / (2 R mean(p)^2) nats, which "direct" inherits and "importance" does not.
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
    loss_weight = positive("loss_weight", loss_weight)
    if gradient_cost is not None:
        gradient_cost = whole_number("gradient_cost", gradient_cost, least=1)
    space, data, rows, value = _understand(model, prior, data, likelihood)
    check_names(space)
    started = time.perf_counter()
    path = _look(rows, space, value, gradient, seed)
    pilot = _pilot(rows, value, space, seed) if method in ("auto", "multifidelity", *NOISY) else None
    how = _choose(method, space.dim, path, pilot, loss_weight == 1.0 and can_draw(likelihood, pilot))
    replicates = _replicates(replicates, how)
    spared, used = min(max(100, budget // 20), budget // 4), LOOKED_AT + (pilot.simulations if pilot else 0)
    if how in NOISY:
        spared = max(LEAST_FRESH, min(max(100, budget // 10), budget // 4))
        if budget < LEAST_NOISY_BUDGET * replicates:
            raise ValueError(
                f"a budget of {budget} simulations was given, expected at least {LEAST_NOISY_BUDGET * replicates} for a simulator "
                "with noise."
            )
    if how == "multifidelity":
        spared = 0  # it makes its own fresh runs: importance weights of single runs say little where runs scatter
    left, spared = (budget - spared - used) // replicates, spared // replicates
    outputs: Rows | ReplicatedOutputs = rows
    if replicates > 1:
        outputs, value = ReplicatedOutputs(rows, replicates), MeanLikelihood(value, replicates)
    chart = Chart(space, natural=how == "reuse")
    jacobian_cost = gradient_cost if gradient_cost is not None else max(GRADIENT_COST, 1 + space.dim)
    simulate = InChart(outputs, space, chart)
    source = Source(simulate, value, chart, path, jacobian_cost, density=likelihood is None)
    each = gradient_cost if gradient_cost is not None else GRADIENT_COST
    task = Task(space, outputs, source, flow, left, seed, loss_weight, each, progress)
    noise: dict[str, Any] | None = None
    if how in NOISY and pilot is not None:
        fit = fit_noisy(task, how, pilot, likelihood, data)
        found, told, (proof, verdict) = fit.fitted, fit.fitted.told, check_noisy(task, fit, pilot, spared)
        noise, evidence = proof.to_dict(), verdict.evidence
    elif how == "multifidelity":
        found, verdict = by_multifidelity(task, pilot)
        told, evidence = found.told, verdict.evidence
    else:
        found = by_baseline(task, how, likelihood, data) if how in BASELINES else WAYS[how](task)
        told = found.told
        evidence = gather(
            source, found.flow, found.runs, found.scale, budget=spared, seed=seed, loss_weight=loss_weight,
            weight=told["weight"], stopped_because="new_mode" if told.get("found_higher") else told["stopped_because"],
        )  # fmt: skip
        verdict = judge(evidence, correctable=found.runs is not None)
    report: dict[str, Any] = {
        "method": how, "gradient": path, "budget": budget, "seed": seed, "loss_weight": loss_weight,
        "output": "log likelihood" if source.density else "outputs",
        "versions": {name: importlib.metadata.version(name) for name in ("torch", "zuko", "pyro-ppl")},
    } | told  # fmt: skip
    report["simulations"] = (report["simulations"] + spared) * replicates + used
    report |= {key: getattr(evidence, key) for key in ("k_hat", "effective_share", "model_error")}
    report |= {"check_draws": evidence.draws, "verdict": verdict.to_dict(), "failures": dict(rows.failures)}
    report |= {"flow": found.flow.name, "noise": noise, "seconds": time.perf_counter() - started}
    if replicates > 1:
        bias = log_mean_bias(evidence.noise * replicates**0.5, replicates)
        report["replicates"] = {"runs": replicates, "bias_nats": 0.0 if how == "importance" else bias}
    kept = source if found.runs is not None else None
    return Calibration(space, found.flow, data, found.runs, found.scale, report, kept)


def _look(rows: Rows, space: ParameterSpace, value: Callable[[Tensor], Tensor], gradient: str, seed: int) -> Gradient:
    """Run a few draws of the prior: shapes that do not fit are refused, and whether outputs carry a graph is seen."""
    generator = torch.Generator().manual_seed(derive_seed(seed, 0, "look"))
    z = torch.randn(LOOKED_AT, space.dim, generator=generator, dtype=torch.float64)
    at = derive_seed(seed, 0, "look-simulate")
    path: str = gradient
    outputs: Tensor | None = None
    if gradient in ("auto", "reverse"):
        try:
            outputs = rows(space.to_theta(z.requires_grad_()), at)
        except FitError as error:
            _say_graph(error, gradient)
        path = "reverse" if gradient == "reverse" or (outputs is not None and outputs.requires_grad) else "score"
        rows.forget()
    if outputs is None:
        with torch.no_grad():
            try:
                outputs = rows(space.to_theta(z.detach()), at)
            except FitError:
                rows.forget()  # four draws may all fail; the first round of the method says so if others do too
                return path  # type: ignore[return-value]
    finite = outputs.detach()[torch.isfinite(outputs.detach()).all(1)]
    value(finite)
    return path  # type: ignore[return-value]


def _say_graph(error: FitError, gradient: str) -> None:
    """Say what numpy means by a tensor that requires grad, where derivatives were asked for."""
    if gradient == "reverse" and "requires grad" in str(error):
        raise ValueError(
            "the simulator leaves torch (numpy was called on a parameter), so its outputs have no derivatives: use gradient='score'."
        ) from error


def _pilot(rows: Rows, value: Callable[[Tensor], Tensor], space: ParameterSpace, seed: int) -> Pilot | None:
    """Whether the simulator has noise; None if all runs failed, which the first round of the method then says."""
    try:
        return run_noise_pilot(rows, value, space, seed)
    except FitError:
        rows.forget()
        return None


def _choose(method: str, dim: int, gradient: Gradient, pilot: Pilot | None, can_draw_data: bool) -> str:
    if method != "auto":
        return method
    if pilot is not None and not pilot.negligible:
        return "abc-regression" if can_draw_data else "importance"
    if dim <= FEW:
        return "reuse"
    return "direct" if gradient == "score" else "climb"


def _replicates(given: int, how: str) -> int:
    """How many runs are averaged.

    Raises:
        ValueError: the method does not average runs.
    """
    given = whole_number("replicates", given, least=1)
    if given > 1 and how not in AVERAGED:
        raise ValueError(
            f"replicates={given} was given with method={how!r}, expected 1: only {' and '.join(AVERAGED)} average runs."
        )
    return given


@dataclass(frozen=True, eq=False)
class InChart:
    """A simulator of named parameters as one of coordinates, `(x [P, D], seed) -> [P, M]`."""

    rows: Callable[[Mapping[str, Tensor], int], Tensor]
    space: ParameterSpace
    chart: Chart

    def __call__(self, x: Tensor, seed: int) -> Tensor:
        """Simulate."""
        return self.rows(self.space.to_theta(self.chart.to_z(x)), seed)


@dataclass(frozen=True, eq=False)
class PyroTotal:
    """Log likelihood of a Pyro model as its only output."""

    model: Callable[..., Any]
    data: Any

    def __call__(self, theta: Mapping[str, Tensor], seed: int) -> Tensor:
        """`{name: [P, *event]}` to `[P, 1]`."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return sum(pyro_log_likelihood(self.model, theta, self.data).values())[:, None]  # type: ignore[index]


def _understand(
    model: Simulator, prior: Prior | None, data: Any, likelihood: Likelihood | None
) -> tuple[ParameterSpace, Tensor | None, Rows, Callable[[Tensor], Tensor]]:
    """Parameters, data, outputs of theta and log likelihood of outputs, whichever way the model was given.

    Raises:
        TypeError: the model, the prior or the likelihood cannot be called or read.
        ValueError: one of them is missing.
    """
    if not callable(model):
        raise TypeError(f"the model is a {type(model).__name__}, expected a function of parameters and a seed.")
    if likelihood is not None and not callable(likelihood):
        raise TypeError(
            f"the likelihood is a {type(likelihood).__name__}, expected a function of outputs: lambda outputs: Distribution(outputs)."
        )
    if prior is None:
        if likelihood is not None:
            raise ValueError(
                "a likelihood was given without a prior: give both with a simulator, neither with a Pyro model."
            )
        if data is None:
            raise ValueError(
                "a model was given without prior and data: pass a prior for a simulator, data for a Pyro model."
            )
        space = space_from_pyro(model, data)
        return space, data if isinstance(data, Tensor) else None, Rows(PyroTotal(model, data)), FirstColumn()
    space = prior if isinstance(prior, ParameterSpace) else _space(prior)
    if likelihood is None:
        return space, None if data is None else as_data(data), Rows(model), FirstColumn()
    if data is None:
        raise ValueError("a likelihood was given without data: pass what was observed, one event of the likelihood.")
    observed = as_data(data)
    return space, observed, Rows(model), Evaluate(likelihood, observed)


def _space(prior: Mapping[str, Distribution]) -> ParameterSpace:
    if not isinstance(prior, Mapping):
        raise TypeError(f"the prior is a {type(prior).__name__}, expected a dict of distributions or a ParameterSpace.")
    for name, given in prior.items():
        if not isinstance(given, Distribution):
            raise TypeError(
                f"the prior of {name!r} is a {type(given).__name__}, expected a distribution of torch.distributions."
            )
    return ParameterSpace(tuple(Parameter(name, given) for name, given in prior.items()))


__all__ = ["Calibration", "Round", "calibrate"]
