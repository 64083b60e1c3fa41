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
from calib._by_hmc import by_hmc
from calib._calibration import Calibration
from calib._chart import Chart
from calib._check import gather
from calib._config import FitError
from calib._flows import FLOWS
from calib._methods import GRADIENT_COST, Task, by_baseline, by_climb, by_direct, by_reuse
from calib._noise import derive_seed
from calib._observed import Evaluate, FirstColumn, Likelihood, as_data
from calib._problem import GRADIENTS, Gradient
from calib._pyro_density import PyroDensity
from calib._pyro_read import read_pyro
from calib._pyro_space import DependentSpace
from calib._reuse import Round, Source
from calib._simulator import Rows
from calib._space import Parameter, ParameterSpace
from calib._verdict import judge

Method = Literal["auto", "hmc", "reuse", "climb", "direct", "npe", "nle", "nre", "fmpe", "smc-abc"]
METHODS: tuple[str, ...] = get_args(Method)
WAYS = {"hmc": by_hmc, "reuse": by_reuse, "climb": by_climb, "direct": by_direct}
Prior = ParameterSpace | Mapping[str, Distribution]
Simulator = Callable[..., Any]
FEW = 12  # parameters up to which populations of draws fill the posterior
LOOKED_AT = 4  # runs that tell shapes and derivatives before anything else is spent
LEAST_BUDGET = 50


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
        method: "hmc" runs Hamiltonian chains on the log density itself: Pyro models, and simulators with derivatives and without
            noise; its budget counts evaluations with their gradient. "reuse" keeps every run and draws from the posterior they
            imply (`reuse`; at most some dozen parameters and outputs that hardly scatter); "climb" lets a flow climb linearised
            runs and goes on with new ones where those do not carry it (`climb`; many parameters, needs a Jacobian); "direct"
            makes new runs for every update of the flow (`fit`); "npe", "nle", "nre", "fmpe", "smc-abc" are those of sbi on draws
            of the data, with a flow fitted to what they give. "auto" takes "hmc" for a Pyro model, and where the output is the
            log likelihood with derivatives; "reuse" up to 12 parameters; then "climb", or "direct" without derivatives.
        gradient_cost: what a run with derivatives counts, in simulations: 4 for a gradient ("direct"), the larger of 4 and
            1 + D for a Jacobian ("reuse"), if None.
        progress: called after each round (`Round`) or step (`Progress`).

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
    density = rows.model if isinstance(rows.model, PyroDensity) else None
    path = _look(rows, space, value, gradient, seed) if density is None else _path(gradient)
    direct = isinstance(value, FirstColumn) and path == "reverse" and not (density is not None and density.random)
    how = _choose(method, space.dim, path, direct)
    if density is not None and not density.whitened and loss_weight != 1.0:
        raise ValueError(
            "loss_weight needs priors that map to a standard normal, and one of the model's does not: leave it at 1."
        )
    spared = 0 if how == "hmc" else min(max(100, budget // 20), budget // 4)
    chart = Chart(space, natural=how == "reuse")
    jacobian_cost = gradient_cost if gradient_cost is not None else max(GRADIENT_COST, 1 + space.dim)
    simulate = InChart(rows, space, chart) if density is None else PyroInChart(density, chart)
    source = Source(simulate, value, chart, path, jacobian_cost, density=isinstance(value, FirstColumn))
    each = gradient_cost if gradient_cost is not None else GRADIENT_COST
    task = Task(space, rows, source, flow, budget - spared - LOOKED_AT, seed, loss_weight, each, progress, density)
    found = by_baseline(task, how, likelihood, data) if how in BASELINES else WAYS[how](task)
    report: dict[str, Any] = {
        "method": how, "gradient": path, "budget": budget, "seed": seed, "loss_weight": loss_weight,
        "output": "log likelihood" if source.density else "outputs",
        "versions": {name: importlib.metadata.version(name) for name in ("torch", "zuko", "pyro-ppl")},
    } | found.told  # fmt: skip
    report["simulations"] += spared + LOOKED_AT
    report |= {"failures": dict(rows.failures), "flow": found.flow.name}
    if found.verdict is not None:
        report |= {
            "verdict": found.verdict.to_dict(),
            "k_hat": None,
            "model_error": None,
            "seconds": time.perf_counter() - started,
        }
        return Calibration(space, found.flow, data, None, None, report, None, found.chains, density)
    evidence = gather(
        source, found.flow, found.runs, found.scale, budget=spared, seed=seed, loss_weight=loss_weight,
        weight=report["weight"], stopped_because="new_mode" if report.get("found_higher") else report["stopped_because"],
    )  # fmt: skip
    verdict = judge(evidence, correctable=found.runs is not None)
    report |= {key: getattr(evidence, key) for key in ("k_hat", "effective_share", "model_error")}
    report |= {"check_draws": evidence.draws, "verdict": verdict.to_dict(), "seconds": time.perf_counter() - started}
    kept = source if found.runs is not None else None
    return Calibration(space, found.flow, data, found.runs, found.scale, report, kept, None, density)


def _path(gradient: str) -> Gradient:
    """How a Pyro model is differentiated."""
    if gradient == "forward":
        raise ValueError("gradient='forward' was asked for a Pyro model: use 'reverse', or 'score' for none.")
    return "score" if gradient == "score" else "reverse"


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


def _choose(method: str, dim: int, gradient: Gradient, direct: bool) -> str:
    if method != "auto":
        return method
    if direct:
        return "hmc"
    if dim <= FEW:
        return "reuse"
    return "direct" if gradient == "score" else "climb"


@dataclass(frozen=True, eq=False)
class InChart:
    """A simulator of named parameters as one of coordinates, `(x [P, D], seed) -> [P, M]`."""

    rows: Rows
    space: ParameterSpace
    chart: Chart

    def __call__(self, x: Tensor, seed: int) -> Tensor:
        """Simulate."""
        return self.rows(self.space.to_theta(self.chart.to_z(x)), seed)


@dataclass(frozen=True, eq=False)
class PyroInChart:
    """Log likelihood of a Pyro model as its only output, `(x [P, D], seed) -> [P, 1]`."""

    density: PyroDensity
    chart: Chart

    def __call__(self, x: Tensor, seed: int) -> Tensor:
        """Evaluate."""
        return self.density.log_weight(self.chart.to_z(x), seed)[:, None]


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
        density = read_pyro(model, data)
        kept = data if isinstance(data, Tensor) else None
        return density.space or DependentSpace(density), kept, Rows(density), FirstColumn()  # type: ignore[arg-type, return-value]
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
