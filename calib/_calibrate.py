"""The front door: a simulator or a Pyro model, priors and data in; a calibration out."""

from __future__ import annotations

import importlib.metadata
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Distribution

from calib._calibration import Calibration, Likelihood, evaluate
from calib._chart import Chart
from calib._config import FitConfig
from calib._fit import fit
from calib._flow_draws import fit_flow
from calib._flows import Flow, make_flow
from calib._importance import Importance, importance, judge_k_hat
from calib._local_model import LocalModel, Runs
from calib._noise import derive_seed
from calib._problem import Gradient, Problem
from calib._pyro import log_likelihood as pyro_log_likelihood
from calib._pyro import space_from_pyro
from calib._reuse import Reuse, ReuseConfig, Round, Source, posterior, reuse
from calib._space import Parameter, ParameterSpace

Method = Literal["auto", "reuse", "direct"]
Prior = ParameterSpace | Mapping[str, Distribution]
Simulator = Callable[..., Tensor]
FEW = 12  # parameters up to which populations of draws fill the posterior
ENOUGH = 0.5  # effective share of a Gaussian's draws at which no other flow is tried
JUDGED = 4000  # draws of the flow whose weights k-hat is taken from, where they cost no simulation
PARTICLES = 8
GRADIENT_COST = 4  # of one reverse sweep, in simulations


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
            outputs that hardly scatter), "direct" makes new runs for every update of the flow (`fit`), "auto" takes "reuse" up
            to 12 parameters.
        gradient_cost: what a run with derivatives counts, in simulations: 4 for a gradient ("direct"), the larger of 4 and
            1 + D for a Jacobian ("reuse"), if None.
        progress: called after each round (`Round`) or step (`Progress`).

    Returns:
        The calibration; `.verdict` says whether it can be believed.

    Raises:
        ValueError: data, prior and likelihood do not fit together, or the budget is too small.
        FitError: the simulator failed too often.

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
    how = method if method != "auto" else ("reuse" if space.dim <= FEW else "direct")
    check = min(max(100, budget // 20), budget // 4)
    chart = Chart(space)
    jacobian_cost = gradient_cost if gradient_cost is not None else max(GRADIENT_COST, 1 + space.dim)
    source = Source(lambda x, s: outputs(space.to_theta(chart.to_z(x)), s), value, chart, gradient, jacobian_cost)
    report: dict[str, Any] = {
        "method": how, "gradient": gradient, "budget": budget, "seed": seed, "loss_weight": loss_weight,
        "versions": {name: importlib.metadata.version(name) for name in ("torch", "zuko", "pyro-ppl")},
    }  # fmt: skip
    if how == "reuse":
        found = reuse(source, ReuseConfig(budget=budget - check, seed=seed, loss_weight=loss_weight), progress)
        fitted = _flow_for(flow, source, found, loss_weight, seed)
        report |= _words_of(found)
        runs: Runs | None = found.runs
        scale: Tensor | None = found.scale
    else:
        fitted, told = _direct(space, source, outputs, flow, budget - check, seed, loss_weight, gradient_cost, progress)
        report |= told
        runs = scale = None
    report["simulations"] += check
    report |= _check(source, fitted, runs, scale, check, seed, loss_weight, report["weight"])
    report |= {"flow": fitted.name, "seconds": time.perf_counter() - started}
    return Calibration(space, fitted, data, runs, scale, report, source if runs is not None else None)


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


def _flow_for(name: str, source: Source, found: Reuse, loss_weight: float, seed: int) -> Flow:
    """The flow asked for, at the draws; "auto" takes the Gaussian if it covers what the kept runs say."""
    z = source.chart.to_z(found.x)
    z = z[torch.isfinite(z).all(1)]
    if name == "auto":
        gaussian, _ = fit_flow(make_flow("gaussian", source.chart.dim, seed=seed), z, seed=seed)
        if _coverage(gaussian, source, found, loss_weight, seed) >= ENOUGH:
            return gaussian
        name = "nsf"
    hidden = 32 if source.chart.dim <= 6 else 64
    flow = make_flow(name, source.chart.dim, seed=seed, direction="density", hidden=hidden)
    return fit_flow(flow, z, seed=seed, steps=500)[0]


def _coverage(flow: Flow, source: Source, found: Reuse, loss_weight: float, seed: int) -> float:
    """Effective share of a flow's draws under the posterior of the local model."""
    chart = source.chart
    with torch.no_grad():
        z, log_q = flow.sample_with_log_prob(
            flow.noise(2000, torch.Generator().manual_seed(derive_seed(seed, 0, "cover")))
        )
        x = chart.to_x(z)
        target = posterior(source, LocalModel(found.runs, found.scale), found.weight * loss_weight)
        ratio = target(x) - chart.log_slope(x) - log_q
    weight = torch.softmax(torch.where(torch.isfinite(ratio), ratio, -1e300), 0)
    return float(1 / (weight**2).sum()) / len(weight)


def _words_of(found: Reuse) -> dict[str, Any]:
    return {
        "weight": found.weight, "simulations": found.simulations, "calls": found.calls, "dropped": found.dropped,
        "stopped_because": found.stopped_because, "rounds": [asdict(r) for r in found.rounds],
    }  # fmt: skip


def _direct(
    space: ParameterSpace,
    source: Source,
    outputs: Callable[[Mapping[str, Tensor], int], Tensor],
    name: str,
    budget: int,
    seed: int,
    loss_weight: float,
    gradient_cost: int | None,
    progress: Callable[[Any], None] | None,
) -> tuple[Flow, dict[str, Any]]:
    """New simulations for every update of the flow."""
    cost = 1 if source.gradient == "score" else (gradient_cost if gradient_cost is not None else GRADIENT_COST)
    steps = budget // (cost * PARTICLES)
    if steps < 30:
        raise ValueError(
            f"a budget of {budget} simulations gives {steps} steps, expected at least {30 * cost * PARTICLES}."
        )
    problem = Problem.from_space(space, lambda theta, s, path: _value(source, outputs, theta, s, path))
    start = make_flow("gaussian" if name == "auto" else name, space.dim, seed=seed)
    config = FitConfig(
        seed=seed, particles=PARTICLES, gradient=source.gradient, max_steps=steps, loss_weight=loss_weight
    )
    result = fit(problem, start, config, progress=progress)
    return result.flow, {
        "weight": 1.0, "simulations": result.simulations * cost, "calls": result.simulations, "dropped": result.dropped,
        "stopped_because": result.stopped_because, "rounds": [], "elbo": result.elbo,
    }  # fmt: skip


def _value(
    source: Source,
    outputs: Callable[[Mapping[str, Tensor], int], Tensor],
    theta: Mapping[str, Tensor],
    seed: int,
    path: Gradient,
) -> Tensor:
    if path == "forward":
        raise ValueError(
            "gradient='forward' with method='direct' needs outputs with attached Jacobians: use reverse or score here."
        )
    return source.log_likelihood(outputs(theta, seed))


def _check(
    source: Source,
    flow: Flow,
    runs: Runs | None,
    scale: Tensor | None,
    draws: int,
    seed: int,
    loss_weight: float,
    weight: float,
) -> dict[str, Any]:
    """Simulate at draws of the flow; k-hat of the flow, and what the local model says of simulations it has not seen.

    With a local model k-hat is taken on thousands of its values, which cost nothing, and the simulations judge the model:
    k-hat of a hundred simulated draws is too noisy to tell good from poor.
    """
    generator = torch.Generator().manual_seed(derive_seed(seed, 0, "check"))
    chart = source.chart
    with torch.no_grad():
        z, log_q = flow.sample_with_log_prob(flow.noise(draws, generator))
        x = chart.to_x(z)
        value = source.value(source.simulate(x, derive_seed(seed, 0, "check-simulate")))
    log_joint = loss_weight * value - 0.5 * (z**2).sum(-1)
    told: dict[str, Any] = {"k_hat": None, "effective_share": 0.0, "model_error": None, "check_draws": draws}
    if int(torch.isfinite(log_joint).sum()) < 25:
        return told | {
            "verdict": "fewer than 25 draws of the flow have a likelihood: the flow is off; raise the budget"
        }
    weights = importance(log_joint, log_q)
    if runs is None:
        return told | _judged(weights)
    model = LocalModel(runs, scale)
    with torch.no_grad():
        predicted = source.value(model(x))
        z, log_q = flow.sample_with_log_prob(flow.noise(JUDGED, generator))
        x = chart.to_x(z)
        cheap = posterior(source, model, loss_weight)(x) - chart.log_slope(x)
    error = np.abs(loss_weight * np.asarray(predicted - value, dtype=float))
    share = np.exp(weights.log_weights)
    good = np.isfinite(error) & (share > 0)
    told["model_error"] = float((error[good] * share[good]).sum() / share[good].sum())
    told |= _judged(importance(cheap, log_q) if int(torch.isfinite(cheap).sum()) >= 25 else weights)
    text = f"{told['verdict']}; corrected draws rest on runs that predict unseen log likelihoods to {told['model_error']:.2g} nats"
    if weight < 1.0:
        text += f"; the budget ended with the likelihood at {weight:.2g} of its weight, so the posterior is too wide: raise it"
    return told | {"verdict": text}


def _judged(weights: Importance) -> dict[str, Any]:
    k_hat = judge_k_hat(weights.k_hat, weights.draws)
    finite = weights.k_hat if np.isfinite(weights.k_hat) else None  # minus infinity: all weights equal
    share = weights.effective / weights.draws
    text = f"{k_hat.text}; {share:.0%} of its draws count"
    return {"k_hat": finite, "k_hat_word": k_hat.word, "effective_share": share, "verdict": text}


__all__ = ["Calibration", "Round", "calibrate"]
