"""Chain-binomial epidemics in coupled towns: stochastic simulators whose posteriors a particle filter gives.

Every day each susceptible of town k is infected with probability 1 - exp(-force_k), force_k = beta_k ((1 - c) I_k / N_k + c
times the mean of I_j / N_j over the other towns), and each infectious person recovers with probability 1 - exp(-gamma).
New reports are Poisson with mean rho times new infections, plus a few by error.

References:
    Abbey, H. (1952). An examination of the Reed-Frost theory of epidemics. Human Biology 24.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Beta, Distribution, Independent, LogNormal, Poisson

Array = np.ndarray


@dataclass(frozen=True)
class ChainBinomial:
    """An epidemic in K towns.

    Attributes:
        people: of each town, `[K]`.
        infected: at the start, of each town, `[K]`.
        days: number of days, T.
        background: expected reports by error, per town and day.
        report: share of infections reported; None if it is a parameter `rho`.
        priors: of the parameters by name, among beta (or beta1 ... betaK), gamma, coupling, rho.
        truth: parameters of the data sets.
    """

    people: tuple[int, ...]
    infected: tuple[int, ...]
    days: int
    background: float
    report: float | None
    priors: dict[str, Distribution]
    truth: dict[str, float]

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the D parameters."""
        return tuple(self.priors)

    def start(self, count: int) -> tuple[Array, Array]:
        """Susceptible and infectious people of `count` epidemics, each `[count, K]`."""
        infected = np.tile(np.array(self.infected), (count, 1))
        return np.tile(np.array(self.people), (count, 1)) - infected, infected

    def step(
        self, state: tuple[Array, Array], theta: Mapping[str, Array], random: np.random.Generator
    ) -> tuple[tuple[Array, Array], Array]:
        """One day: the next state and new infections `[P, K]`, for parameters `[P]`."""
        susceptible, infectious = state
        beta = self._beta(theta)
        share = infectious / np.array(self.people)
        if len(self.people) > 1:
            others = (share.sum(1, keepdims=True) - share) / (len(self.people) - 1)
            coupling = np.minimum(theta["coupling"], 1.0)[:, None]
            share = (1 - coupling) * share + coupling * others
        new = random.binomial(susceptible, -np.expm1(-beta * share))
        left = random.binomial(infectious, -np.expm1(-theta["gamma"])[:, None])
        return (susceptible - new, infectious + new - left), new

    def _beta(self, theta: Mapping[str, Array]) -> Array:
        if len(self.people) == 1:
            return theta["beta"][:, None]
        return np.stack([theta[f"beta{k + 1}"] for k in range(len(self.people))], 1)

    def expected(self, new: Array, theta: Mapping[str, Array]) -> Array:
        """Expected reports `[P, K]` of new infections."""
        share = theta["rho"][:, None] if self.report is None else self.report
        return share * new + self.background

    def simulate(self, theta: Mapping[str, Tensor], seed: int) -> Tensor:
        """Expected reports by day and town, `[P, T * K]`, as `calib.calibrate` wants a simulator."""
        values = {name: value.detach().numpy().astype(float) for name, value in theta.items()}
        random = np.random.default_rng(seed)
        state = self.start(len(values["gamma"]))
        days = []
        for _ in range(self.days):
            state, new = self.step(state, values, random)
            days.append(self.expected(new, values))
        return torch.as_tensor(np.concatenate(days, 1))

    def data(self, number: int, least: int) -> Tensor:
        """Data set `number` at the truth: reports `[T * K]`, the first with at least `least` of them in all."""
        random = np.random.default_rng([number, 17])
        theta = {name: torch.tensor([value], dtype=torch.float64) for name, value in self.truth.items()}
        while True:
            reports = random.poisson(self.simulate(theta, int(random.integers(2**31))).numpy()[0])
            if reports.sum() >= least:
                return torch.as_tensor(reports, dtype=torch.float64)


def reports_given(outputs: Tensor) -> Distribution:
    """Distribution of the reports given expected reports `[P, T * K]`."""
    return Independent(Poisson(outputs), 1)


def _log_normal(median: float, sd: float) -> LogNormal:
    centre = torch.tensor(median, dtype=torch.float64).log()
    return LogNormal(centre, torch.tensor(sd, dtype=torch.float64), validate_args=False)


def _beta_prior(a: float, b: float) -> Beta:
    return Beta(torch.tensor(a, dtype=torch.float64), torch.tensor(b, dtype=torch.float64))


PROBLEMS: dict[str, ChainBinomial] = {
    "sir500": ChainBinomial(
        (500,), (10,), 40, 0.2, 0.3,
        {"beta": _log_normal(0.4, 0.6), "gamma": _log_normal(0.2, 0.6)},
        {"beta": 0.5, "gamma": 0.2},
    ),
    "near_threshold": ChainBinomial(
        (500,), (3,), 60, 0.2, 0.4,
        {"beta": _log_normal(0.3, 0.5), "gamma": _log_normal(0.2, 0.5)},
        {"beta": 0.26, "gamma": 0.2},
    ),
    "three_towns": ChainBinomial(
        (1000, 500, 500), (10, 0, 0), 40, 0.2, None,
        {
            "beta1": _log_normal(0.4, 0.5), "beta2": _log_normal(0.4, 0.5), "beta3": _log_normal(0.4, 0.5),
            "gamma": _log_normal(0.2, 0.4), "coupling": _log_normal(0.05, 0.7), "rho": _beta_prior(4.0, 4.0),
        },
        {"beta1": 0.5, "beta2": 0.45, "beta3": 0.6, "gamma": 0.2, "coupling": 0.05, "rho": 0.5},
    ),
    "sir2000": ChainBinomial(
        (2000,), (10,), 40, 1e-3, 0.3,
        {"beta": _log_normal(0.4, 0.6), "gamma": _log_normal(0.2, 0.6)},
        {"beta": 0.5, "gamma": 0.2},
    ),
}  # fmt: skip
DATA_SETS = {"sir500": 4, "near_threshold": 4, "sir2000": 1, "three_towns": 1}
LEAST_REPORTS = 20  # of a data set: an epidemic that died out at once says little


def data_set(problem: str, number: int) -> Tensor:
    """Reports `[T * K]` of data set 1, 2, ... of a problem."""
    return PROBLEMS[problem].data(number, LEAST_REPORTS)
