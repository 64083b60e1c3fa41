"""The front door: a simulator or a Pyro model, priors and data in; a calibration out."""

from __future__ import annotations

import importlib.metadata
import time
from collections.abc import Callable, Mapping
from typing import Any, Literal, get_args

import torch
from torch import Tensor
from torch.distributions import Distribution

from calib._baselines_sbi import BASELINES
from calib._calibration import Calibration, Likelihood, evaluate
from calib._chart import Chart
from calib._check import check
from calib._methods import GRADIENT_COST, Task, by_baseline, by_climb, by_direct, by_reuse
from calib._problem import Gradient
from calib._pyro import log_likelihood as pyro_log_likelihood
from calib._pyro import space_from_pyro
from calib._reuse import Round, Source
from calib._space import Parameter, ParameterSpace
from calib.multifidelity import by_multifidelity

Method = Literal["auto", "reuse", "climb", "direct", "multifidelity", "npe", "nle", "nre", "fmpe", "smc-abc"]
METHODS: tuple[str, ...] = get_args(Method)
WAYS = {"reuse": by_reuse, "climb": by_climb, "direct": by_direct, "multifidelity": by_multifidelity}
Prior = ParameterSpace | Mapping[str, Distribution]
Simulator = Callable[..., Tensor]
FEW = 12  # parameters up to which populations of draws fill the posterior


def calibrate(
    model: Simulator,
    prior: Prior | None = None,
    data: Any = None,
    *,
    likelihood: Likelihood | None = None,
    flow: str = "auto",
    gradient: Gradient = "reverse",
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
            randomness from the seed; or, with `prior=None`, a Pyro model in the convention of `space_from_pyro` that is
            called with `data`.
        prior: the parameters, or a distribution for each by name. None for a Pyro model.
        data: observed, `[K]`; for a Pyro model whatever it takes.
        likelihood: law of the data given outputs, one event of shape `[K]` a row. None if the simulator's output `[P, 1]` or
            `[P]` is the log likelihood itself.
        flow: "auto" (a full-rank Gaussian where it fits, else a neural spline flow) or a name of `calib.FLOWS`.
        gradient: how outputs are differentiated: "reverse", "forward", or "score" for a simulator without derivatives.
        budget: simulations that may be spent, those of the check included.
        seed: of everything random.
        loss_weight: weight of the log likelihood (generalised posterior); 1 is Bayes.
        method: "reuse" keeps every run and draws from the posterior they imply (`reuse`; at most some dozen parameters and
            outputs that hardly scatter); "climb" lets a flow climb linearised runs and goes on with new ones where those do not
            carry it (`climb`; many parameters, needs a Jacobian); "direct" makes new runs for every update of the flow (`fit`);
            "multifidelity" samples an emulator of the mean outputs with the chance of one run in its error (`calib.multifidelity`;
            stochastic simulators, with Jacobian or without).
            "npe", "nle", "nre", "fmpe", "smc-abc" are those of sbi on draws of the data, with a flow fitted to what they give.
            "auto" takes "reuse" up to 12 parameters, then "climb", or "direct" without derivatives.
        gradient_cost: what a run with derivatives counts, in simulations: 4 for a gradient ("direct"), the larger of 4 and
            1 + D for a Jacobian ("reuse"), if None.
        progress: called after each round (`Round`) or step (`Progress`).

    Returns:
        The calibration; `.verdict` says whether it can be believed.

    Raises:
        ValueError: data, prior and likelihood do not fit together, there is no such method, or the budget is too small.
        FitError: the simulator failed too often.
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
    space, data, outputs, value = _understand(model, prior, data, likelihood)
    started = time.perf_counter()
    how = _choose(method, space.dim, gradient)
    # it makes its own fresh runs: importance weights of single runs say little where runs scatter
    spared = 0 if how == "multifidelity" else min(max(100, budget // 20), budget // 4)
    chart = Chart(space, natural=how == "reuse")
    jacobian_cost = gradient_cost if gradient_cost is not None else max(GRADIENT_COST, 1 + space.dim)
    source = Source(lambda x, s: outputs(space.to_theta(chart.to_z(x)), s), value, chart, gradient, jacobian_cost)
    each = gradient_cost if gradient_cost is not None else GRADIENT_COST
    task = Task(space, outputs, source, flow, budget - spared, seed, loss_weight, each, progress)
    found = by_baseline(task, how, likelihood, data) if how in BASELINES else WAYS[how](task)
    report: dict[str, Any] = {
        "method": how, "gradient": gradient, "budget": budget, "seed": seed, "loss_weight": loss_weight,
        "versions": {name: importlib.metadata.version(name) for name in ("torch", "zuko", "pyro-ppl")},
    } | found.told  # fmt: skip
    report["simulations"] += spared
    if spared:
        report |= check(source, found.flow, found.runs, found.scale, spared, seed, loss_weight, report["weight"])
    report |= {"flow": found.flow.name, "seconds": time.perf_counter() - started}
    kept = source if found.runs is not None else None
    return Calibration(space, found.flow, data, found.runs, found.scale, report, kept)


def _choose(method: Method, dim: int, gradient: Gradient) -> str:
    if method != "auto":
        if method not in METHODS:
            raise ValueError(f"no method is called {method!r}: choose from {', '.join(METHODS)}.")
        return method
    if dim <= FEW:
        return "reuse"
    return "direct" if gradient == "score" else "climb"


def _understand(
    model: Simulator, prior: Prior | None, data: Any, likelihood: Likelihood | None
) -> tuple[ParameterSpace, Tensor | None, Callable[[Mapping[str, Tensor], int], Tensor], Callable[[Tensor], Tensor]]:
    """Parameters, data, outputs of theta and log likelihood of outputs, whichever way the model was given."""
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

        def total(theta: Mapping[str, Tensor], seed: int) -> Tensor:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                return sum(pyro_log_likelihood(model, theta, data).values())[:, None]  # type: ignore[index]

        return space, data if isinstance(data, Tensor) else None, total, lambda outputs: outputs[:, 0]
    space = prior if isinstance(prior, ParameterSpace) else _space(prior)

    def outputs(theta: Mapping[str, Tensor], seed: int) -> Tensor:
        out = model(theta, seed)
        return out[:, None] if out.ndim == 1 else out

    if likelihood is None:
        return space, None if data is None else torch.as_tensor(data), outputs, lambda out: out[:, 0]
    if data is None:
        raise ValueError("a likelihood was given without data: pass what was observed, one event of the likelihood.")
    observed = torch.as_tensor(data)
    return space, observed, outputs, evaluate(likelihood, observed)


def _space(prior: Mapping[str, Distribution]) -> ParameterSpace:
    return ParameterSpace(tuple(Parameter(name, law) for name, law in prior.items()))


__all__ = ["Calibration", "Round", "calibrate"]
