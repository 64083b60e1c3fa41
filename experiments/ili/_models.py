"""The forecasting models of influenza-like illness."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.distributions import Distribution, Independent, LogNormal, Normal

from calib import baseline_quantiles, quantile_table
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
    random_walk,
    region_effect,
)
from experiments.ili._data import HORIZON, WEEKS, Season

DRAWS = 4000
Numbers = Mapping[str, float]


@dataclass(frozen=True, eq=False)
class Predicted:
    """A forecast.

    Attributes:
        quantiles: `[week, level]` of the hub's levels, per cent of visits.
        evidence: log evidence, nats; None where there is none.
        runs: simulations made.
    """

    quantiles: NDArray[np.float64]
    evidence: float | None = None
    runs: int = 0


def _measured(noise: float) -> Callable[[Tensor], Distribution]:
    return lambda log_mean: Independent(Normal(log_mean, noise), 1)


def _predict(
    found: FunctionPosterior,
    log_mean: Callable[[Mapping[str, Tensor]], Tensor],
    noise: float,
    season: Season,
    seed: int,
) -> Predicted:
    """Quantiles of the next weeks, of draws `[draw, week]` of the log of the last season and noise."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        drawn = log_mean(found.sample(DRAWS, generator))[:, season.weeks : season.weeks + HORIZON]
    drawn = drawn + noise * torch.randn(drawn.shape, generator=generator, dtype=torch.float64)
    return Predicted(quantile_table(drawn.exp().numpy()), found.log_evidence, found.runs)


@dataclass(frozen=True, eq=False)
class SeasonsModel:
    """The log of illness as a function of season and week: what all seasons share, and what each differs by.

    Attributes:
        family: of all seasons together.
        numbers: standard deviations.
        searches: family of the symptom searches that is added in this season; None for none.
        pooled: whether earlier seasons are fitted too.
    """

    family: Callable[[Numbers], Family]
    numbers: Numbers
    searches: Family | None = None
    pooled: bool = True

    def fit(self, season: Season, numbers: Numbers | None = None) -> FunctionPosterior:
        """The posterior at given numbers."""
        given = numbers or self.numbers
        data = torch.as_tensor(np.log(season.all_seasons() if self.pooled else season.all_seasons()[-1:]))
        blocks = [Block("log_ill", tuple(data.shape), self.family(given))]
        if self.searches is not None:
            blocks.append(Block("searched", (1, WEEKS), self.searches, extended(season)))
        composed = compose(lambda theta, seed: self._all(theta).flatten(1), None, blocks)
        return fit_function(composed, data.flatten(), _measured(given["noise"]), steps=20)

    def forecast(self, season: Season, seed: int) -> Predicted:
        """Fit and draw the next weeks."""
        return _predict(self.fit(season), lambda theta: self._all(theta)[:, -1], self.numbers["noise"], season, seed)

    def _all(self, theta: Mapping[str, Tensor]) -> Tensor:
        value = theta["log_ill"]
        if self.searches is None:
            return value
        return torch.cat([value[:, :-1], value[:, -1:] + theta["searched"]], 1)


def extended(season: Season) -> Tensor:
    """`[week, search]` logarithms of symptom searches; beyond the forecast week each keeps the mean of its last two weeks."""
    known = np.log(season.searches + 0.05)
    ahead = np.repeat(known[-2:].mean(0, keepdims=True), WEEKS - len(known), 0)
    return torch.as_tensor(np.concatenate([known, ahead]))


@dataclass(frozen=True)
class BaselineModel:
    """The forecast hubs' baseline, of the weeks since week 40."""

    def forecast(self, season: Season, seed: int) -> Predicted:
        """Its quantiles."""
        found = baseline_quantiles(season.ill[:, None], HORIZON, np.random.default_rng(seed))
        return Predicted(found[:, 0])


LATENT, INFECTIOUS = 1.6, 2.0
"""Days (Carrat et al. 2008, Am J Epidemiol 167:775; Cori et al. 2012, Epidemics 4:138)."""
DAYS_PER_STEP = 1.0


@dataclass(frozen=True, eq=False)
class EpidemicModel:
    """A mean-field epidemic with seasonal forcing in every season; illness is a background and a share of the infected.

    Attributes:
        noise: sd of log illness.
        walk: sd of a weekly step of log transmission; 0 for none.
    """

    noise: float = 0.15
    walk: float = 0.0
    numbers: Numbers = field(default_factory=dict)

    def composed(self, season: Season) -> Composed:
        """The epidemic with its blocks."""
        count = len(season.past) + 1
        shape = (count, 1)
        blocks = [
            Block("transmission", shape, region_effect(0.1)),
            Block("susceptible", shape, region_effect(0.15)),
            Block("seed", shape, region_effect(1.0)),
            Block("background", shape, region_effect(0.25)),
        ]
        if self.walk:
            blocks.append(Block("drift", (count, WEEKS), random_walk(self.walk, over="each", start=1, reversion=0.2)))
        prior = {
            "r0": LogNormal(torch.tensor(1.45).double().log(), torch.tensor(0.1).double()),
            "amplitude": LogNormal(torch.tensor(0.1).double().log(), torch.tensor(0.4).double()),
            "level": Normal(torch.tensor(-0.45).double(), torch.tensor(0.3).double()),
            "share": Normal(torch.tensor(0.0).double(), torch.tensor(0.7).double()),
            "imported": Normal(torch.tensor(-9.5).double(), torch.tensor(1.0).double()),
        }
        return compose(lambda theta, seed: self.log_ill(theta).flatten(1), prior, blocks)

    def log_ill(self, theta: Mapping[str, Tensor]) -> Tensor:
        """Log per cent of visits `[P, season, week]`."""
        days = 7 * WEEKS
        # week 40 begins near 1 October, forcing peaks in the middle of January
        season = torch.cos(2 * torch.pi * (torch.arange(days, dtype=torch.float64) - 105) / 365.25)
        force = theta["amplitude"][:, None, None] * season + theta["r0"].log()[:, None, None] + theta["transmission"]
        if "drift" in theta:
            force = force + theta["drift"].repeat_interleave(7, -1)
        rate = force.clamp(-3.0, 2.5).exp() / INFECTIOUS
        # immune from earlier seasons: a third, more in some seasons
        susceptible = torch.sigmoid(0.7 + theta["susceptible"][..., 0])
        infectious = torch.exp(theta["imported"][:, None] + theta["seed"][..., 0]).clamp_max(0.01)
        exposed, weekly, rows = infectious * LATENT / INFECTIOUS, 0.0 * infectious, []
        for t in range(days):
            new = susceptible * -torch.expm1(-rate[..., t] * infectious)
            onset, removed = exposed / LATENT, infectious / INFECTIOUS
            susceptible = susceptible - new
            exposed, infectious = exposed + new - onset, infectious + onset - removed
            weekly = weekly + onset
            if t % 7 == 6:
                rows.append(weekly)
                weekly = 0.0 * weekly
        background = (theta["level"][:, None] + theta["background"][..., 0]).exp()
        return (background[..., None] + 100 * theta["share"].exp()[:, None, None] * torch.stack(rows, -1) * 0.5).log()

    def forecast(self, season: Season, seed: int) -> Predicted:
        """Fit all seasons and draw the next weeks of this one."""
        composed = self.composed(season)
        data = torch.as_tensor(np.log(season.all_seasons())).flatten()
        found = fit_function(composed, data, _measured(self.noise), steps=30, tolerance=0.05)
        return _predict(found, lambda theta: self.log_ill(theta)[:, -1], self.noise, season, seed)


Model = SeasonsModel | BaselineModel | EpidemicModel


def seasons(n: Numbers) -> Family:
    """A course that all seasons share, smooth and by week, and a deviation of each: level, smooth course, steps that are forgotten."""
    shared = gaussian_process(n["shared"], length=n["shared_length"]) + random_walk(
        n["rough"], reversion=n["rough_reversion"]
    )
    own = region_effect(n["own_level"]) + gaussian_process(n["own_smooth"], length=n["own_length"], over="each")
    return shared + own + random_walk(n["own_walk"], over="each", reversion=n["own_reversion"])


def walk(n: Numbers) -> Family:
    """A random walk from a level that is not known."""
    return region_effect(1.5) + random_walk(n["walk"], over="each", start=1)


SEASONS: Numbers = {
    "noise": 0.08, "shared": 0.5, "shared_length": 7.0, "rough": 0.1, "rough_reversion": 0.5, "own_level": 0.05, "own_smooth": 0.25,
    "own_length": 4.0, "own_walk": 0.08, "own_reversion": 0.1,
}  # fmt: skip
WALK: Numbers = {"walk": 0.17, "noise": 0.05}
MODELS: dict[str, Model] = {
    "main": SeasonsModel(seasons, SEASONS),
    "hub_baseline": BaselineModel(),
    "random_walk": SeasonsModel(walk, WALK, pooled=False),
    "seirm": EpidemicModel(),
    "seirm_walk": EpidemicModel(noise=0.1, walk=0.05),
    "linear": SeasonsModel(seasons, SEASONS, searches=linear(0.3)),
    "mlp": SeasonsModel(seasons, SEASONS, searches=mlp(8, sd=0.3)),
    "gru": SeasonsModel(seasons, SEASONS, searches=gru(6, sd=0.3)),
    "gru_this_season": SeasonsModel(walk, WALK, searches=gru(6, sd=0.5), pooled=False),
}
"""By name; `main` is that of the documents."""
