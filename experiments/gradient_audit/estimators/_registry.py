"""The estimators by name, and how each gives gradients of single runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

import sim
from experiments.gradient_audit.estimators import _categorical, _triples
from experiments.gradient_audit.worlds import World
from sim import EstimatorOptions

__all__ = ["ESTIMATORS", "Estimator", "Sample", "outcomes", "sample", "zeros"]

STEP = 0.1
"""Half-width of the single differences, in the log of a rate."""


@dataclass(frozen=True)
class Sample:
    """Gradients of single runs.

    Attributes:
        gradient: `[runs, O, Q]` of each outcome in each parameter.
        outcome: `[runs, O]`.
    """

    gradient: NDArray[np.float64]
    outcome: NDArray[np.float64]


OneBatch = Callable[[World, int, Tensor, str], Sample]
"""`world, seed, streams, device` to the gradients of as many runs as there are streams."""
Forward = Callable[[World, int, Tensor, str], None]
"""The same runs without a gradient."""


@dataclass(frozen=True)
class Estimator:
    """One way to find the gradient.

    Attributes:
        draw: gradients of a batch of runs.
        forward: the same runs without a gradient, by the same implementation; what the cost is measured in.
        share: of a world's `runs` that are drawn; expensive estimators draw few, down to `fewest`.
        fewest: runs in any world.
        cells: agents x days x runs that go at once at most.
        knows_reinfection: whether it runs where people are infected again.
        everywhere: whether it runs in every world, or where worlds ask for comparisons alone.
    """

    draw: OneBatch
    forward: Forward
    share: float = 1.0
    fewest: int = 20
    cells: float = 4e7
    knows_reinfection: bool = True
    everywhere: bool = False

    def runs(self, world: World) -> int:
        """How many runs it draws in a world."""
        return min(world.runs, max(self.fewest, round(self.share * world.runs)))

    def batch(self, world: World) -> int:
        """How many runs go at once."""
        return int(min(5_000, max(1, self.cells / (world.people.agents * world.days))))


def sample(world: World, estimator: str, seed: int, runs: int, device: str = "cpu") -> Sample:
    """Gradients of `runs` runs, each with a random stream of its own.

    Args:
        world: what is simulated.
        estimator: one of `ESTIMATORS`.
        seed: of the random numbers.
        runs: how many.
        device: of the epidemics.
    """
    chosen = ESTIMATORS[estimator]
    size = chosen.batch(world)
    parts = [
        chosen.draw(world, seed, torch.arange(first, min(first + size, runs)), device) for first in range(0, runs, size)
    ]
    return Sample(np.concatenate([x.gradient for x in parts]), np.concatenate([x.outcome for x in parts]))


def zeros(world: World, runs: int, device: str) -> Tensor:
    """`[runs, Q]` the point where gradients are taken; double precision, single on a GPU."""
    kind = torch.float64 if torch.device(device).type == "cpu" else torch.float32
    return torch.zeros(runs, len(world.parameters), dtype=kind, device=device)


def outcomes(world: World, incidence: Tensor) -> Tensor:
    """`[P, O]` outcomes of `[P, T, G]` new infections, in double precision."""
    return torch.einsum("ptg,otg->po", incidence.double(), world.weights(incidence.double()))


def _by_reverse(
    estimator: str, options: EstimatorOptions, world: World, seed: int, streams: Tensor, device: str
) -> Sample:
    """One epidemic, and one reverse pass an outcome."""
    theta = zeros(world, len(streams), device).requires_grad_()
    x = sim.epidemic(world.people, world.rates(theta), seed, streams=streams, estimator=estimator, options=options)
    return _reverse(world, theta, x)


def _by_category(world: World, seed: int, streams: Tensor, device: str) -> Sample:
    theta = zeros(world, len(streams), device).requires_grad_()
    return _reverse(world, theta, _categorical.incidence(world, theta, seed, int(streams[0])))


def _reverse(world: World, theta: Tensor, incidence: Tensor) -> Sample:
    outcome = outcomes(world, incidence)
    rows = [torch.autograd.grad(outcome[:, o].sum(), theta, retain_graph=True)[0] for o in range(outcome.shape[1])]
    return Sample(_numbers(torch.stack(rows, 1)), _numbers(outcome))


def _by_triples(world: World, seed: int, streams: Tensor, device: str) -> Sample:
    return Sample(*_triples.sampled_alternatives(world, seed, streams))


def _by_differences(world: World, seed: int, streams: Tensor, device: str) -> Sample:
    """Central differences with common random numbers: two runs a parameter."""
    P, Q = len(streams), len(world.parameters)
    theta = zeros(world, 2 * Q * P, device).reshape(2, Q, P, Q)
    for q in range(Q):
        theta[0, q, :, q], theta[1, q, :, q] = STEP, -STEP
    with torch.no_grad():
        x = sim.epidemic(world.people, world.rates(theta.reshape(-1, Q)), seed, streams=streams.repeat(2 * Q))
        up, down = outcomes(world, x).reshape(2, Q, P, -1)
    return Sample(_numbers((up - down).permute(1, 2, 0) / (2 * STEP)), _numbers((up + down).mean(0) / 2))


def _run_kernels(world: World, seed: int, streams: Tensor, device: str) -> None:
    with torch.no_grad():
        sim.epidemic(world.people, world.rates(zeros(world, len(streams), device)), seed, streams=streams)


def _run_tensors(world: World, seed: int, streams: Tensor, device: str) -> None:
    rates = world.rates(zeros(world, len(streams), device))
    with torch.no_grad():
        sim.epidemic(world.people, rates, seed, streams=streams, backend="reference")


def _run_plain(world: World, seed: int, streams: Tensor, device: str) -> None:
    with torch.no_grad():
        _categorical.incidence(world, zeros(world, len(streams), device), seed, int(streams[0]))


def _numbers(x: Tensor) -> NDArray[np.float64]:
    numbers: NDArray[np.float64] = x.detach().double().cpu().numpy()
    return numbers


def _tape_free(estimator: str) -> Estimator:
    return Estimator(partial(_by_reverse, estimator, EstimatorOptions()), _run_kernels, everywhere=True)


def _taped(estimator: str, options: EstimatorOptions) -> Estimator:
    draw = partial(_by_reverse, estimator, options)
    return Estimator(draw, _run_tensors, share=0.05, fewest=50, cells=1e6, knows_reinfection=False)


ESTIMATORS: dict[str, Estimator] = {
    "removals": _tape_free("removals"),
    "local-score": _tape_free("local-score"),
    "differences": Estimator(_by_differences, _run_kernels, share=0.2, cells=2e6),
    "stochastic-triples": Estimator(_by_triples, _run_plain, share=0.1, fewest=100, cells=3e5),
    "score-function": _taped("score-function", EstimatorOptions(baseline=4)),
    "straight-through": _taped("straight-through", EstimatorOptions()),
    "gumbel-hard": _taped("gumbel-softmax", EstimatorOptions(temperature=0.5)),
    "gumbel-soft": _taped("gumbel-softmax", EstimatorOptions(temperature=0.5, hard=False)),
    "categorical": Estimator(_by_category, _run_plain, share=0.02, fewest=20, cells=1e6),
}
"""`categorical`: each infection a draw of one of two kinds by `draw_index`."""
