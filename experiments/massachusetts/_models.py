"""The forecasting models: an epidemic with blocks of transmission before it, a plain random walk, and the hubs' baseline."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.distributions import Distribution, Independent, NegativeBinomial, Normal

from calib import HUB_LEVELS, baseline_quantiles
from calib.composition import (
    Block,
    Composed,
    Family,
    FunctionPosterior,
    compose,
    fit_function,
    gaussian_process,
    gru,
    linear,
    mlp,
    neural_cde,
    random_walk,
    region_effect,
)
from experiments.massachusetts._covariates import CLOSED_WEEK, covariates
from experiments.massachusetts._daily import Days
from experiments.massachusetts._data import HORIZON, History
from experiments.massachusetts._seirm import Seirm

DRAWS = 400
"""Draws of each posterior."""
TESTS_SCARCE = 7
"""Weeks from `START` in which tests were scarce and became many: to 4 April."""
SMALLEST = 1e-4
"""Expected count that is told from zero."""


@dataclass(frozen=True, eq=False)
class Predicted:
    """A forecast.

    Attributes:
        daily: `[draw, county, day]` deaths on each of the 28 days.
        evidence: log evidence of the data fitted, nats; None where there is none.
        settings: what the evidence chose.
        runs: simulations made.
    """

    daily: NDArray[np.float64]
    evidence: float | None = None
    settings: Mapping[str, float] = field(default_factory=dict)
    runs: int = 0


Numbers = Mapping[str, float]


def counts(mean: Tensor, overdispersion: Tensor, relative_sd: Tensor) -> NegativeBinomial:
    """Negative binomial with the variance `overdispersion * mean + (relative_sd * mean)^2`."""
    mean = mean.clamp_min(SMALLEST)
    size = mean / (overdispersion - 1 + relative_sd**2 * mean)
    return NegativeBinomial(size, logits=(mean / size).log(), validate_args=False)


@dataclass(frozen=True, eq=False)
class Counted:
    """Weekly counts of streams one after the other, as a likelihood of expected counts.

    Attributes:
        data: `[M]`; NaN where missing.
        overdispersion, relative_sd: `[M]`.
    """

    data: Tensor
    overdispersion: Tensor
    relative_sd: Tensor

    @staticmethod
    def of(history: History, streams: tuple[str, ...], numbers: Numbers) -> Counted:
        """Streams in order, each `[week, county]` flat."""
        data = torch.as_tensor(np.concatenate([history.weekly(s).ravel() for s in streams]))
        size = len(data) // len(streams)

        def each(name: str) -> Tensor:
            return torch.cat([torch.full((size,), numbers[f"{s}_{name}"], dtype=torch.float64) for s in streams])

        return Counted(data, each("overdispersion"), each("sd"))

    def __call__(self, outputs: Tensor) -> Distribution:
        """The distribution of the counts."""
        return Independent(counts(outputs, self.overdispersion, self.relative_sd), 1)

    def information(self, outputs: Tensor) -> Tensor:
        """Fisher information of the counts about each expected count: one over the variance."""
        mean = outputs.clamp_min(SMALLEST)
        known = 1 / (self.overdispersion * mean + (self.relative_sd * mean) ** 2)
        return torch.where(self.data.isnan() | (outputs <= SMALLEST), 0.0, known)


Transmission = Callable[[Numbers], Family]


@dataclass(frozen=True, eq=False)
class EpidemicModel:
    """The mean-field epidemic with a family of functions as transmission.

    Attributes:
        transmission: family at given numbers.
        numbers: standard deviations and overdispersions that the family and the likelihood take.
        grid: values among which the evidence chooses, a number at a time.
        streams: fitted to.
        uses_covariates: whether the family is a function of them.
        numbers_of: model whose choice of numbers is taken over; empty for an own choice.
    """

    transmission: Transmission
    numbers: Numbers
    grid: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    streams: tuple[str, ...] = ("deaths", "cases")
    uses_covariates: bool = False
    numbers_of: str = ""

    def composed(self, history: History, numbers: Numbers) -> tuple[Composed, Seirm]:
        """The epidemic over the weeks known with its blocks, which reach to the end of the forecast."""
        regions, knots = len(history.counties), history.weeks + HORIZON
        epidemic, days = Seirm.of(history.people, knots), history.days
        given, names = covariates(history, knots) if self.uses_covariates else (None, ())
        blocks = [
            Block("seed", (regions, 1), region_effect(1.0)),
            Block("transmission", (regions, knots), self.transmission(numbers), given, names),
        ]
        prior: dict[str, Distribution] = {
            "first": Normal(torch.tensor(1.0).double(), torch.tensor(0.2).double()),
            "closed": Normal(torch.tensor(-0.1).double(), torch.tensor(0.15).double()),
            "seed_level": Normal(torch.tensor(0.0).double(), torch.tensor(1.5).double()),
            "log_fatality": Normal(torch.tensor(0.0).double(), torch.tensor(0.4).double()),
        }
        if "cases" in self.streams:
            blocks.append(
                Block(
                    "ascertainment",
                    (regions, knots),
                    random_walk(numbers["testing_walk"], start=2, stop=TESTS_SCARCE)
                    + random_walk(numbers["ascertainment_walk"], start=TESTS_SCARCE)
                    + random_walk(0.3 * numbers["ascertainment_walk"], over="each", start=2)
                    + region_effect(0.3),
                )
            )
            prior["reported"] = Normal(torch.tensor(-2.5).double(), torch.tensor(0.7).double())

        def simulate(theta: Mapping[str, Tensor], seed: int) -> Tensor:
            full = {**theta, "fatality": theta["log_fatality"].exp()}
            incidence = epidemic.incidence(full, days)
            streams = {"deaths": epidemic.deaths, "cases": epidemic.cases}
            expected = [streams[s](full, incidence).unflatten(1, (-1, 7)).sum(2).flatten(1) for s in self.streams]
            return torch.cat(expected, 1)

        return compose(simulate, prior, blocks), epidemic

    def fit(self, history: History, numbers: Numbers, start: Tensor | None = None) -> FunctionPosterior:
        """The posterior at given numbers."""
        composed, _ = self.composed(history, numbers)
        observed = Counted.of(history, self.streams, numbers)
        return fit_function(
            composed, observed.data, observed, information=observed.information, steps=30, tolerance=0.02, start=start
        )

    def forecast(self, history: History, seed: int, numbers: Numbers | None = None) -> Predicted:
        """Fit, let the evidence choose numbers unless they are given, and draw deaths of the next weeks."""
        numbers, found, runs = choose(
            self.fit, history, numbers or self.numbers, {} if numbers is not None else self.grid
        )
        composed, epidemic = self.composed(history, numbers)
        generator = torch.Generator().manual_seed(seed)
        theta = composed.theta_of(found.draws(DRAWS, generator))
        with torch.no_grad():
            theta["fatality"] = theta["log_fatality"].exp()
            expected = epidemic.deaths(theta, epidemic.incidence(theta, history.days + 7 * HORIZON))
        weekly = expected[:, history.days :].unflatten(1, (-1, 7)).sum(2)
        return Predicted(
            in_days(weekly.numpy(), history, numbers["deaths_sd"], seed), found.log_evidence, dict(numbers), runs
        )


def choose(
    fit: Callable[..., FunctionPosterior], history: History, numbers: Numbers, grid: Mapping[str, tuple[float, ...]]
) -> tuple[Numbers, FunctionPosterior, int]:
    """Numbers of most evidence, changed one at a time over their grid, and the fit there."""
    best = fit(history, numbers)
    runs = best.runs
    for name, values in grid.items():
        for value in values:
            if value == numbers[name]:
                continue
            trial = {**numbers, name: value}
            found = fit(history, trial, start=best.z)
            runs += found.runs
            if found.log_evidence > best.log_evidence:
                best, numbers = found, trial
    return numbers, best, runs


def in_days(weekly: NDArray[np.float64], history: History, sd: float, seed: int) -> NDArray[np.float64]:
    """Daily deaths `[draw, county, day]` at expected ones of each week `[draw, week, county]` that scatter by a relative sd."""
    generator = np.random.default_rng(seed)
    scatter = generator.gamma(1 / sd**2, sd**2, weekly.shape)
    return Days.learn(history).draw(weekly * scatter, generator)


@dataclass(frozen=True, eq=False)
class WalkModel:
    """Log weekly deaths of each county as a random walk, with no epidemic behind."""

    numbers: Numbers
    grid: Mapping[str, tuple[float, ...]] = field(default_factory=dict)

    def fit(self, history: History, numbers: Numbers, start: Tensor | None = None) -> FunctionPosterior:
        """The posterior at given numbers."""
        regions, knots = len(history.counties), history.weeks + HORIZON
        family = region_effect(2.0) + random_walk(numbers["walk"], over="each", start=1)
        composed = compose(
            lambda theta, seed: theta["level"][..., : history.weeks].clamp_max(12.0).exp().mT.flatten(1),
            None,
            Block("level", (regions, knots), family),
        )
        observed = Counted.of(history, ("deaths",), numbers)
        return fit_function(
            composed, observed.data, observed, information=observed.information, steps=60, tolerance=0.02, start=start
        )

    def forecast(self, history: History, seed: int) -> Predicted:
        """See `EpidemicModel.forecast`."""
        numbers, found, runs = choose(self.fit, history, self.numbers, self.grid)
        draws = found.sample(DRAWS, torch.Generator().manual_seed(seed))["level"][..., history.weeks :]
        weekly = draws.clamp_max(9.0).exp().mT.numpy()
        return Predicted(in_days(weekly, history, numbers["deaths_sd"], seed), found.log_evidence, dict(numbers), runs)


@dataclass(frozen=True)
class BaselineModel:
    """The forecast hubs' baseline of weekly deaths; days by the profile of weekdays."""

    def weekly(self, history: History, seed: int) -> NDArray[np.float64]:
        """`[week, county, level]` quantiles of weekly deaths."""
        known = np.nan_to_num(history.weekly("deaths"))
        first = int(np.argmax(known.sum(1) > 0))
        return baseline_quantiles(known[max(0, first - 1) :], HORIZON, np.random.default_rng(seed))

    def forecast(self, history: History, seed: int) -> Predicted:
        """Weekly totals drawn from the quantiles, split over the days."""
        quantiles, generator = self.weekly(history, seed), np.random.default_rng(seed)
        levels = np.array(HUB_LEVELS)
        at = generator.random((8 * DRAWS, *quantiles.shape[:2]))
        flat, chance = quantiles.reshape(-1, len(levels)), at.reshape(len(at), -1)
        totals = np.stack([np.interp(chance[:, i], levels, flat[i]) for i in range(len(flat))], 1)
        totals = np.rint(totals.reshape(at.shape)).astype(int)
        daily = generator.multinomial(totals, Days.learn(history).profile)  # [draw, week, county, weekday]
        return Predicted(daily.transpose(0, 2, 1, 3).reshape(len(daily), quantiles.shape[1], -1).astype(float))


Model = EpidemicModel | WalkModel | BaselineModel

NUMBERS = {
    "deaths_overdispersion": 1.5, "deaths_sd": 0.2, "cases_overdispersion": 4.0, "cases_sd": 0.3,
    "walk": 0.1, "own_walk": 0.06, "own_level": 0.15, "ascertainment_walk": 0.15, "testing_walk": 0.6,
}  # fmt: skip
GRID = {
    "deaths_sd": (0.1, 0.2, 0.35),
    "cases_sd": (0.15, 0.3, 0.5),
    "walk": (0.05, 0.1, 0.15),
    "own_walk": (0.03, 0.06, 0.12),
}
REVERSION = 0.1
"""Rate at which a step of log transmission is forgotten, per week."""
NETWORK_SD = 0.3
"""Standard deviation of a network's output, log transmission."""


def walks(numbers: Numbers) -> Family:
    """One walk for all counties, one of its own for each, and a level of its own."""
    common = random_walk(numbers["walk"], start=CLOSED_WEEK, reversion=REVERSION)
    return (
        common
        + random_walk(numbers["own_walk"], over="each", start=CLOSED_WEEK, reversion=REVERSION)
        + region_effect(numbers["own_level"])
    )


def level(numbers: Numbers) -> Family:
    """A level of its own for each county."""
    return region_effect(numbers["own_level"])


def smooth(numbers: Numbers) -> Family:
    """Gaussian processes instead of walks, as wide as walks are after six weeks."""
    common = gaussian_process(2.4 * numbers["walk"], length=4.0)
    return common + gaussian_process(2.4 * numbers["own_walk"], length=4.0, over="each") + level(numbers)


def _like_main(transmission: Transmission, *, covariates: bool = True) -> EpidemicModel:
    return EpidemicModel(transmission, NUMBERS, uses_covariates=covariates, numbers_of="main")


_MAIN = EpidemicModel(walks, NUMBERS, GRID)
_SCATTER = {k: GRID[k] for k in ("deaths_sd", "cases_sd")}
_WALK = {"deaths_overdispersion": 1.5, "deaths_sd": 0.2, "walk": 0.3}
MODELS: dict[str, Model] = {
    "main": _MAIN,
    "hub_baseline": BaselineModel(),
    "random_walk": WalkModel(_WALK, {"deaths_sd": (0.1, 0.2, 0.35), "walk": (0.15, 0.3, 0.6)}),
    "seirm": EpidemicModel(level, NUMBERS, _SCATTER),
    "deaths_only": replace(_MAIN, streams=("deaths",), grid={}, numbers_of="main"),
    "gaussian_process": _like_main(smooth, covariates=False),
    "linear": _like_main(lambda n: walks(n) + linear(NETWORK_SD)),
    "mlp": _like_main(lambda n: walks(n) + mlp(8, sd=NETWORK_SD)),
    "gru": _like_main(lambda n: walks(n) + gru(6, sd=NETWORK_SD)),
    "neural_cde": _like_main(lambda n: walks(n) + neural_cde(4, sd=NETWORK_SD)),
    "gru_alone": _like_main(lambda n: level(n) + gru(6)),
}
"""By name; `main` is that of the documents, the agent-based one is `experiments.massachusetts._agents`."""
