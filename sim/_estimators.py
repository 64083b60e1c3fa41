"""The gradient estimators of `sim.epidemic`: their names and settings, and those that are not of the primitive itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from types import ModuleType

import torch
import torch.autograd.forward_ad as fwAD
from torch import Tensor

from sim import _finite_difference, _tape
from sim._columns import columns
from sim._draws import bernoulli, score_function
from sim.population import Population
from sim.rates import Rates

__all__ = ["AUTO", "ESTIMATORS", "LOCAL_SCORE", "REMOVALS", "EstimatorOptions"]

REMOVALS, LOCAL_SCORE, AUTO = "removals", "local-score", "auto"
TAPELESS = (REMOVALS, LOCAL_SCORE, AUTO)
"""Estimators of the primitive itself; the others are registered in `ESTIMATORS`."""


@dataclass(frozen=True)
class EstimatorOptions:
    """Settings of the estimators; each reads its own. `removals`, `local-score` and `auto` have none.

    Attributes:
        temperature: `gumbel-softmax`: of the relaxation, positive.
        hard: `gumbel-softmax`: infections stay 0 or 1. If not, another epidemic is run, whose agents are infected in part.
        baseline: `score-function`: independent runs whose mean incidence is subtracted; 0 for none.
        step: `finite-difference`: half-width, as a share of a rate (of the mean of its tensor where that is larger).
        replicates: `finite-difference`: random streams averaged.
        entries: `finite-difference`: most numbers of rates that a reverse pass will vary one by one.
        segment: the three with a tape: days between checkpoints; 0 keeps the whole tape.

    Raises:
        ValueError: a setting out of range.
    """

    temperature: float = 0.5
    hard: bool = True
    baseline: int = 4
    step: float = 0.05
    replicates: int = 1
    entries: int = 256
    segment: int = 0

    def __post_init__(self) -> None:
        least = {"temperature": 0, "baseline": 0, "step": 0, "replicates": 1, "entries": 1, "segment": 0}
        for name, low in least.items():
            value, strict = getattr(self, name), name in ("temperature", "step")
            if not (value > low if strict else value >= low):
                raise ValueError(
                    f"EstimatorOptions.{name} is {value:g}, but a number {'above' if strict else 'of at least'} {low} was expected; "
                    "give one."
                )


@dataclass(frozen=True)
class Estimator:
    """One way to differentiate the expected incidence.

    Attributes:
        name: as given to `sim.epidemic`.
        bias: what its mean is.
        taped: whether memory grows with days, in plain tensors.
        incidence: `(population, rates, seed, streams, kernels, options) -> [P, T, G]`, differentiable.
    """

    name: str
    bias: str
    taped: bool
    incidence: Callable[[Population, Rates, int, Tensor, ModuleType, EstimatorOptions], Tensor]


def _pathwise(
    estimator: str,
    population: Population,
    rates: Rates,
    seed: int,
    streams: Tensor,
    kernels: ModuleType,
    options: EstimatorOptions,
) -> Tensor:
    """Every infection a differentiable draw, the days a tape."""
    draw = partial(_draw, estimator, options)
    return _tape.simulate(columns(population, rates.mixing.device), rates, seed, streams, draw, options.segment)[0]


def _score_function(
    population: Population, rates: Rates, seed: int, streams: Tensor, kernels: ModuleType, options: EstimatorOptions
) -> Tensor:
    """`x[t] (x - baseline) d log p(draws up to t)`: infections as they happened, their probability differentiated."""
    c = columns(population, rates.mixing.device)
    draw = partial(_draw, "score-function", options)
    incidence, log_probability = _tape.simulate(c, rates, seed, streams, draw, options.segment)
    baseline = torch.zeros_like(incidence)
    plain = rates.map(lambda x: x.detach())
    for k in range(options.baseline):
        baseline += kernels.run(c, plain, seed, other_stream(streams, k + 1)).incidence / options.baseline
    return score_function(incidence, log_probability[..., None], baseline)


def _draw(estimator: str, options: EstimatorOptions, p: Tensor, u: Tensor) -> Tensor:
    if estimator == "score-function":  # the tape adds up the log-probability; no path goes through the draws
        return (u < p.detach()).to(p.dtype)
    return bernoulli(p, u, estimator, options.temperature, options.hard)


def other_stream(streams: Tensor, k: int) -> Tensor:
    """Streams of their own for the k-th companion run of each particle: beyond any number a particle would be given."""
    return streams + k * (1 << 40)


def _differences(
    population: Population, rates: Rates, seed: int, streams: Tensor, kernels: ModuleType, options: EstimatorOptions
) -> Tensor:
    c = columns(population, rates.mixing.device)
    all_streams = [other_stream(streams, k) for k in range(options.replicates)]
    run = partial(_finite_difference.mean_incidence, kernels, c, seed)
    incidence: Tensor = _finite_difference.Differences.apply(
        run, all_streams, options.step, options.entries, *rates.tensors()
    )
    return incidence


ESTIMATORS: dict[str, Estimator] = {
    e.name: e
    for e in (
        Estimator(
            "straight-through",
            "infections of an uninfected agent echo in its household: off by factors where households count",
            True,
            partial(_pathwise, "straight-through"),
        ),
        Estimator(
            "gumbel-softmax",
            "the echo of straight-through, and the relaxation's own; soft draws run another epidemic",
            True,
            partial(_pathwise, "gumbel-softmax"),
        ),
        Estimator("score-function", "none; the noise grows with agents times days", True, _score_function),
        Estimator("finite-difference", "of order step^2", False, _differences),
    )
}
"""By name; those of the primitive itself (`TAPELESS`) are not among them."""


def check(estimator: str, backend: str, rates: Rates, options: EstimatorOptions) -> None:
    """Refuse an unknown estimator, and one that the backend or the rates do not go with.

    Raises:
        ValueError: see above.
    """
    names = (*TAPELESS, *ESTIMATORS)
    if estimator not in names:
        raise ValueError(f"estimator is {estimator!r}; choose one of {', '.join(names)}.")
    taped = estimator in ESTIMATORS and ESTIMATORS[estimator].taped
    if taped and backend not in ("auto", "reference"):
        raise ValueError(
            f"backend is {backend!r} but estimator {estimator!r} keeps a tape over plain tensors, which kernels do not; "
            "use backend='auto', or estimator='removals'."
        )
    if taped and rates.reinfection.shape[-1]:
        raise ValueError(
            f"rates.reinfection lets people be infected again, which the tape of estimator {estimator!r} does not know; leave it out, or "
            "use estimator='removals', 'local-score' or 'finite-difference'."
        )


def jacobian(
    population: Population,
    rates: Rates,
    tangents: Rates,
    seed: int,
    streams: Tensor,
    kernels: ModuleType,
    estimator: str,
    options: EstimatorOptions,
) -> tuple[Tensor, Tensor]:
    """As `sim.jacobian`, by one forward-mode pass a direction."""
    incidence, columns_of = rates.mixing, []
    for q in range(tangents.mixing.shape[-1]):
        with fwAD.dual_level():
            pairs = zip(rates.tensors(), tangents.tensors(), strict=True)
            dual = Rates(*(fwAD.make_dual(x.detach(), dx[..., q].contiguous()) for x, dx in pairs))
            x = ESTIMATORS[estimator].incidence(population, dual, seed, streams, kernels, options)
            incidence, tangent = fwAD.unpack_dual(x)
            columns_of.append(torch.zeros_like(incidence) if tangent is None else tangent)
    return incidence, torch.stack(columns_of, -1)
