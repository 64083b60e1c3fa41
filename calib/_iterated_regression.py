"""Posterior of a stochastic simulator by regression of parameters on noisy simulated data, in rounds around the posterior.

Regression-adjusted approximate Bayesian computation. Each round draws parameters from a wide mixture around the current
posterior, simulates, and draws noisy data from the likelihood; learns a summary (`_learned_summary`); and regresses the
parameters on it, locally around the observed data. The residuals, moved to the observed summary, are the posterior. All runs
of all rounds count, weighted by prior density over that of the mixture of all rounds. The noise of the simulator is
integrated out by the regression itself: no likelihood is averaged.

Bias: the posterior is that given the learned summary, wider than the exact one by what the summary loses, and linear within
the local window. With few runs for the number of parameters the summary is poor. Cost: the budget, and seconds of fitting.

References:
    Beaumont, M., Zhang, W. & Balding, D. (2002). Approximate Bayesian computation in population genetics. Genetics 162.
    Blum, M. & Francois, O. (2010). Non-linear regression models for approximate Bayesian computation. Stat. Comput. 20.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from calib._anneal import systematic
from calib._config import BudgetError, FitError
from calib._deadline import NEVER, Deadline
from calib._learned_summary import Features, differences
from calib._mixture import Mixture, fit_mixture
from calib._noise import derive_seed

MEMBERS = (
    3  # networks of the last round, whose mean is taken: one alone moves means by a fifth of an sd from start to start
)
COPIES = 8  # noisy data of each run
WIDER = 2.0  # times the posterior's covariance, of the draws of the next round
LEAST_RUNS = 40  # finite runs without which nothing is regressed
WINDOW = 0.4  # effective share of the runs in the local window
Simulate = Callable[[Tensor, int], Tensor]
DrawData = Callable[[Tensor, torch.Generator], Tensor]


@dataclass(frozen=True, eq=False)
class NoisyRuns:
    """Runs of all rounds that gave finite outputs.

    Attributes:
        z: `[N, D]`.
        outputs: `[N, M]`.
        log_proposal: log density of the mixture of all rounds, `[N]`.
        dropped: runs that were not finite.
        proposals: number of runs of each round, and what they were drawn from; None is the prior.
    """

    z: Tensor
    outputs: Tensor
    log_proposal: Tensor
    dropped: int
    proposals: tuple[tuple[int, Mixture | None], ...]

    @property
    def tried(self) -> int:
        """Runs made."""
        return sum(count for count, _ in self.proposals)

    @property
    def weight(self) -> Tensor:
        """Prior over mixture density, normalised, `[N]`."""
        return torch.softmax(log_prior(self.z) - self.log_proposal, 0)


@dataclass(frozen=True, eq=False)
class Adjusted:
    """Weighted draws of the posterior.

    Attributes:
        z: `[S, D]`.
        weight: normalised, `[S]`.
        effective: effective number of runs within the window.
        distance: of the observed summary from the middle of the window, in sds of the summaries there.
    """

    z: Tensor = field(repr=False)
    weight: Tensor = field(repr=False)
    effective: float
    distance: float

    @property
    def mean(self) -> Tensor:
        """`[D]`."""
        return self.weight @ self.z

    @property
    def sd(self) -> Tensor:
        """`[D]`."""
        return (self.weight @ (self.z - self.mean) ** 2).sqrt()

    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        """Draws `[count, D]`, equally weighted."""
        return self.z[systematic(self.weight, count, generator)]


Estimate = Callable[[NoisyRuns, Tensor, torch.Generator], Adjusted]


def rounds_for(dim: int, budget: int) -> int:
    """Three rounds; five beyond three parameters from 5,000 runs on."""
    return 5 if dim > 3 and budget >= 5000 else 3


def iterated_regression(
    simulate: Simulate,
    draw_data: DrawData,
    data: Tensor,
    dim: int,
    budget: int,
    seed: int,
    *,
    network: bool = True,
    progress: Callable[[Adjusted], None] | None = None,
    earlier: NoisyRuns | None = None,
    deadline: Deadline = NEVER,
) -> tuple[NoisyRuns, Adjusted]:
    """Simulate in rounds and regress.

    Args:
        simulate: `(z [P, D], seed) -> outputs [P, M]`, with noise of its own for every row.
        draw_data: `(outputs [P, M], generator) -> noisy data [P, K]`.
        data: what was observed, `[K]`.
        dim: number of parameters D, standard normal under the prior.
        budget: runs.
        seed: of everything random.
        network: whether the summary has a network, or is linear.
        progress: called with the draws after each round.
        earlier: runs of a former call, which count as well; new ones start around what they say.
        deadline: after which no round begins.

    Returns:
        The runs, and draws of the posterior.

    Raises:
        FitError: fewer than 40 runs were finite.
    """
    planned = budget + (0 if earlier is None else earlier.tried)

    def estimate(runs: NoisyRuns, learning: Tensor, generator: torch.Generator) -> Adjusted:
        members = MEMBERS if network and runs.tried >= planned else 1
        return adjust(runs, draw_data, data, learning, generator, network=network, members=members)

    return in_rounds(simulate, estimate, dim, budget, seed, progress, earlier, deadline)


def in_rounds(
    simulate: Simulate,
    estimate: Estimate,
    dim: int,
    budget: int,
    seed: int,
    progress: Callable[[Adjusted], None] | None = None,
    earlier: NoisyRuns | None = None,
    deadline: Deadline = NEVER,
) -> tuple[NoisyRuns, Adjusted]:
    """Simulate at draws of the prior, then round by round at draws of a wide mixture around what all runs say.

    Args:
        simulate: as in `iterated_regression`.
        estimate: `(runs, weights for learning, generator)` to draws of the posterior. The weights turn the mixture of all
            rounds into the last round's proposal.
        dim: number of parameters D.
        budget: runs.
        seed: of everything random.
        progress: called with the draws after each round.
        earlier: as in `iterated_regression`; with them the budget may be 0.
        deadline: as in `iterated_regression`.

    Returns:
        The runs, and the last draws.

    Raises:
        FitError: fewer than 40 runs were finite.
        BudgetError: fewer than 40 were made.
    """
    generator = torch.Generator().manual_seed(derive_seed(seed, 0, "rounds"))
    number, made_before = rounds_for(dim, budget), 0
    proposals: list[tuple[int, Mixture | None]] = []
    found: Adjusted | None = None
    z, outputs, tried = torch.zeros(0, dim, dtype=torch.float64), torch.zeros(0, 0, dtype=torch.float64), 0
    if earlier is not None:
        runs, z, outputs, proposals = earlier, earlier.z, earlier.outputs, list(earlier.proposals)
        number, tried, made_before = min(budget, number - 1), earlier.tried, earlier.tried
        toward = log_last(proposals, z) - earlier.log_proposal
        found = estimate(earlier, torch.softmax(toward, 0), generator)
    for turn in range(number):
        if found is not None and deadline.passed():
            break
        count = (budget + made_before - tried) // (number - turn)
        mixture = None if found is None else widen(fit_around(found, generator))
        fresh = (
            torch.randn(count, dim, generator=generator, dtype=torch.float64)
            if mixture is None
            else mixture.sample(count, generator)
        )
        proposals.append((count, mixture))
        with torch.no_grad():
            made = simulate(fresh, derive_seed(seed, turn, "rounds-simulate")).double()
        good = torch.isfinite(made).all(1)
        z = torch.cat([z, fresh[good]])
        outputs = torch.cat([outputs.reshape(-1, made.shape[1]), made[good]])
        tried += count
        if len(z) < LEAST_RUNS:
            need = LEAST_RUNS * number
            if len(z) == tried:
                raise BudgetError(budget, need, f"for {number} rounds of {LEAST_RUNS}")
            likely = f", or raise the budget by the factor {LEAST_RUNS / len(z):.1f}" if len(z) else ""
            raise FitError(
                f"{len(z)} of {tried} simulations were finite, expected at least {LEAST_RUNS} by round {turn + 1} of {number}: "
                f"check the simulator and the priors{likely}."
            )
        runs = NoisyRuns(z, outputs, log_mixture(proposals, z), tried - len(z), tuple(proposals))
        toward = log_last(proposals, z) - runs.log_proposal
        found = estimate(runs, torch.softmax(toward, 0), generator)
        if progress is not None:
            progress(found)
    assert found is not None  # there are earlier runs, or at least three rounds
    return runs, found


def adjust(
    runs: NoisyRuns,
    draw_data: DrawData,
    data: Tensor,
    learning: Tensor,
    generator: torch.Generator,
    *,
    network: bool = True,
    members: int = 1,
) -> Adjusted:
    """Learn a summary of noisy data of the runs, regress the parameters on it, move the residuals to the data.

    Args:
        runs: `[N]` of them.
        draw_data: noisy data of outputs.
        data: `[K]`.
        learning: weights of the runs in learning the summary, normalised, `[N]`.
        generator: of noisy data, folds and batches.
        network: as in `iterated_regression`.
        members: summaries that are learnt and averaged; folds, starts and batches of a network are each one's own.

    Returns:
        The draws, one for each run and noise copy within the window.
    """
    noisy = torch.stack([draw_data(runs.outputs, generator).double() for _ in range(COPIES)], 1)
    features = Features.of(noisy[:, 0], data.double())
    inputs, data_features = features(noisy), features(data.double())
    apart = torch.stack(
        [differences(inputs, data_features, runs.z, learning, generator, network) for _ in range(members)]
    ).mean(0)
    weight = runs.weight[:, None].expand(-1, COPIES) / COPIES
    return _local(runs.z, apart, weight)


def _local(z: Tensor, apart: Tensor, weight: Tensor) -> Adjusted:
    """Local linear regression of z `[N, D]` on differences from the observed summary `[N, C, D]`."""
    copies, dim = apart.shape[1:]
    inverse = torch.linalg.pinv(_covariance(apart.reshape(-1, dim), weight.flatten()))
    distance = torch.einsum("ncd,de,nce->nc", apart, inverse, apart).clamp_min(0.0).sqrt()
    wanted = max(WINDOW / float((weight.sum(1) ** 2).sum()), 20.0 + 8.0 * dim)
    kernel = weight
    effective = 1 / float((weight.sum(1) ** 2).sum())
    low, high = 0.0, float(distance.max()) * 1.01 + 1e-12
    for _ in range(40):
        middle = 0.5 * (low + high)
        trial = weight * (1 - (distance / middle) ** 2).clamp_min(0.0)
        by_run = trial.sum(1)
        size = float(by_run.sum() ** 2 / (by_run**2).sum().clamp_min(1e-300))
        if size >= wanted:
            high, kernel, effective = middle, trial, size
        else:
            low = middle
    kernel = (kernel / kernel.sum()).flatten()
    flat, target = apart.reshape(-1, dim), z.repeat_interleave(copies, 0)
    inside = kernel > 0
    flat, target, kernel = flat[inside], target[inside], kernel[inside]
    design = torch.cat([torch.ones_like(flat[:, :1]), flat], 1)
    coefficients = _least_squares(design, target, kernel)
    residual = target - design @ coefficients
    # the spread of the residuals may change over the window as well (Blum & Francois 2010)
    change = _least_squares(design, (residual**2 + 1e-12).log(), kernel)
    factor = (-0.5 * flat @ change[1:]).clamp(-0.7, 0.7).exp()
    draws = coefficients[0] + residual * factor
    centre = kernel @ flat
    sd = (kernel @ (flat - centre) ** 2).sqrt().clamp_min(1e-12)
    return Adjusted(draws, kernel, effective, float((centre / sd).abs().max()))


def _least_squares(design: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    gram = (design * weight[:, None]).T @ design
    small = 1e-8 * gram.diagonal().mean() * torch.eye(len(gram)).to(gram)
    return torch.linalg.solve(gram + small, (design * weight[:, None]).T @ target)


def _covariance(x: Tensor, weight: Tensor) -> Tensor:
    share = weight / weight.sum()
    away = x - share @ x
    return (away * share[:, None]).T @ away + 1e-12 * torch.eye(x.shape[1]).to(x)


def fit_around(adjusted: Adjusted, generator: torch.Generator) -> Mixture:
    """A mixture of Gaussians through the draws, of as few components as the effective number bears."""
    dim = adjusted.z.shape[1]
    components = int(max(1, min(8, adjusted.effective // (20 * (dim + 1)))))
    return fit_mixture(adjusted.sample(2000, generator), generator, components)


def widen(mixture: Mixture, by: float = WIDER) -> Mixture:
    """Covariances times `by`."""
    return Mixture(mixture.share, mixture.centre, mixture.factor * math.sqrt(by))


def log_mixture(proposals: list[tuple[int, Mixture | None]], z: Tensor) -> Tensor:
    """Log density of all rounds at z, each by its number of runs; None is the prior."""
    total = sum(count for count, _ in proposals)
    parts = [
        math.log(count / total) + (log_prior(z) if mixture is None else mixture.log_prob(z))
        for count, mixture in proposals
    ]
    return torch.stack(parts).logsumexp(0)


def log_last(proposals: list[tuple[int, Mixture | None]], z: Tensor) -> Tensor:
    """Log density of the last round at z."""
    mixture = proposals[-1][1]
    return log_prior(z) if mixture is None else mixture.log_prob(z)


def log_prior(z: Tensor) -> Tensor:
    return -0.5 * (z**2).sum(1) - 0.5 * z.shape[1] * math.log(2 * math.pi)
