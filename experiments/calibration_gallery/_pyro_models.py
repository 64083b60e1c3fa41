"""Twelve ordinary Pyro models whose posteriors are known (`data/README.md` names the source).

Each is written as its user would: plates where data are independent, hierarchies as they are thought of, nothing
made for a sampler. A flat prior of the source is a normal that is at least a hundred times as wide as the posterior.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

from calib import TruncatedNormal

DATA = Path(__file__).parent / "data"
Table = dict[str, Tensor]
GARCH_FIRST_SD = 0.5
JITTER = 1e-10
STEPS_A_YEAR = 8


@dataclass(frozen=True)
class PyroProblem:
    """One model with its data.

    Attributes:
        name: in `reference.csv`.
        table: its data, a file of `data/`.
        model: called with the columns of the table.
        sites: sites, or deterministic values, in the order of the rows of `reference.csv`.
        slow: whether a calibration takes minutes.
    """

    name: str
    table: str
    model: Callable[[Table], Any]
    sites: tuple[str, ...]
    slow: bool = False

    def data(self) -> Table:
        """The columns of the table, float64."""
        with (DATA / f"{self.table}.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        return {name: torch.tensor([float(row[name]) for row in rows], dtype=torch.float64) for name in rows[0]}

    def reference(self) -> tuple[tuple[str, ...], Tensor, Tensor]:
        """Names, means `[K]` and standard deviations `[K]` of the known posterior."""
        with (DATA / "reference.csv").open(newline="") as file:
            rows = [row for row in csv.DictReader(file) if row["problem"] == self.name]
        mean, sd = (torch.tensor([float(row[key]) for row in rows], dtype=torch.float64) for key in ("mean", "sd"))
        return tuple(row["parameter"] for row in rows), mean, sd

    def columns(self, values: Mapping[str, Tensor]) -> Tensor:
        """Draws `[S, ...]` by site as `[S, K]`, in the order of the reference."""
        return torch.cat([values[name].reshape(len(values[name]), -1).double() for name in self.sites], 1)


def eight_schools(data: Table) -> None:
    """A hierarchy in its centred form, as it stands in textbooks."""
    mu = pyro.sample("mu", dist.Normal(0.0, 5.0))
    tau = pyro.sample("tau", dist.HalfCauchy(5.0))
    with pyro.plate("school", len(data["y"])):
        theta = pyro.sample("theta", dist.Normal(mu, tau))
        pyro.sample("y", dist.Normal(theta, data["sigma"]), obs=data["y"])


def kidiq(data: Table) -> None:
    """Regression with strongly correlated coefficients."""
    b1, b2 = pyro.sample("b1", dist.Normal(0.0, 1000.0)), pyro.sample("b2", dist.Normal(0.0, 100.0))
    sigma = pyro.sample("sigma", dist.HalfCauchy(2.5))
    with pyro.plate("child", len(data["mom_iq"])):
        pyro.sample("score", dist.Normal(b1 + b2 * data["mom_iq"], sigma), obs=data["kid_score"])


def earnings(data: Table) -> None:
    """Regression with an interaction."""
    predictors = torch.stack(
        [torch.ones_like(data["male"]), data["height"], data["male"], data["height"] * data["male"]], 1
    )
    _regression(predictors, data["earn"].log(), dist.Normal(0.0, 200.0), dist.HalfNormal(10.0))


def nes1980(data: Table) -> None:
    """Regression of party identification."""
    age = data["age_discrete"]
    bands = [(age == band).double() for band in (2, 3, 4)]
    rest = [data[name] for name in ("educ1", "gender", "income")]
    predictors = torch.stack([torch.ones_like(age), data["real_ideo"], data["race_adj"], *bands, *rest], 1)
    _regression(predictors, data["partyid7"], dist.Normal(0.0, 100.0), dist.HalfNormal(10.0))


def mesquite(data: Table) -> None:
    """Regression of leaf weight on measures of the bush, all as logarithms."""
    area = data["diam1"] * data["diam2"]
    volume, shape = area * data["canopy_height"], data["diam1"] / data["diam2"]
    logs = [value.log() for value in (volume, area, shape, data["total_height"])]
    predictors = torch.stack([torch.ones_like(area), *logs, data["group"]], 1)
    _regression(predictors, data["weight"].log(), dist.Normal(0.0, 100.0), dist.HalfNormal(10.0))


def linear(data: Table) -> None:
    """Regression on predictors that are far from standardised."""
    predictors = torch.stack([data[f"x{i}"] for i in range(1, 6)], 1)
    _regression(predictors, data["y"], dist.Normal(0.0, 10.0), dist.HalfNormal(10.0))


def _regression(predictors: Tensor, y: Tensor, coefficient: Any, scale: Any) -> None:
    beta = pyro.sample("beta", coefficient.expand([predictors.shape[1]]).to_event(1))
    sigma = pyro.sample("sigma", scale)
    with pyro.plate("row", len(y)):
        pyro.sample("y", dist.Normal(predictors @ beta, sigma), obs=y)


def autoregression(data: Table) -> None:
    """Autoregression of order five."""
    y, order = data["y"], 5
    lags = torch.stack([y[order - k : -k] for k in range(1, order + 1)], 1)
    alpha = pyro.sample("alpha", dist.Normal(0.0, 10.0))
    beta = pyro.sample("beta", dist.Normal(0.0, 10.0).expand([order]).to_event(1))
    sigma = pyro.sample("sigma", dist.HalfCauchy(2.5))
    with pyro.plate("time", len(y) - order):
        pyro.sample("y", dist.Normal(alpha + lags @ beta, sigma), obs=y[order:])


def garch(data: Table) -> None:
    """Volatility that depends on itself; `beta1` lies between 0 and 1 - `alpha1`."""
    y = data["y"]
    mu = pyro.sample("mu", dist.Normal(0.0, 100.0))
    alpha0 = pyro.sample("alpha0", dist.HalfNormal(100.0))
    alpha1 = pyro.sample("alpha1", dist.Uniform(0.0, 1.0))
    beta1 = pyro.sample("beta1", dist.Uniform(torch.zeros_like(alpha1), 1 - alpha1))
    pyro.factor("flat", torch.log1p(-alpha1))  # both flat over their triangle
    shocks, variances = alpha0 + alpha1 * (y - mu) ** 2, [torch.full_like(mu, GARCH_FIRST_SD**2)]
    for shock in shocks[:-1]:
        variances.append(shock + beta1 * variances[-1])
    with pyro.plate("time", len(y)):
        pyro.sample("y", dist.Normal(mu, torch.stack(variances, -1).sqrt()), obs=y)


def lynx_hare(data: Table) -> None:
    """Predator and prey; Runge-Kutta steps in the logarithms of both."""
    growth = pyro.sample("a", TruncatedNormal(1.0, 0.5, low=0.0))
    eaten = pyro.sample("b", TruncatedNormal(0.05, 0.05, low=0.0))
    decline = pyro.sample("c", TruncatedNormal(1.0, 0.5, low=0.0))
    eating = pyro.sample("d", TruncatedNormal(0.05, 0.05, low=0.0))
    start = pyro.sample("z_init", dist.LogNormal(torch.full((2,), 10.0).log(), 1.0).to_event(1))
    sigma = pyro.sample("sigma", dist.LogNormal(-1.0, 1.0).expand([2]).to_event(1))
    own, other = torch.stack([growth, -decline], -1), torch.stack([-eaten, eating], -1)
    observed = torch.stack([data["hare"], data["lynx"]], 1)
    log, step, path = start.log(), 1.0 / STEPS_A_YEAR, [start.log()]
    for _ in range(len(observed) - 1):
        for _ in range(STEPS_A_YEAR):
            k1 = own + other * log.flip(-1).exp()
            k2 = own + other * (log + step / 2 * k1).flip(-1).exp()
            k3 = own + other * (log + step / 2 * k2).flip(-1).exp()
            k4 = own + other * (log + step * k3).flip(-1).exp()
            log = log + step / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
        path.append(log)
    with pyro.plate("year", len(observed)):
        pyro.sample("pelts", dist.LogNormal(torch.stack(path, -2), sigma).to_event(1), obs=observed)


def _kernel(x: Tensor, alpha: Tensor, rho: Tensor) -> Tensor:
    return alpha**2 * torch.exp(-0.5 * ((x[:, None] - x) / rho) ** 2)


def gaussian_process(data: Table) -> None:
    """Gaussian process; `sigma` is the variance of the noise."""
    rho = pyro.sample("rho", dist.Gamma(25.0, 4.0))
    alpha = pyro.sample("alpha", dist.HalfNormal(2.0))
    sigma = pyro.sample("sigma", dist.HalfNormal(1.0))
    x = data["x"]
    covariance = _kernel(x, alpha, rho) + sigma * torch.eye(len(x), dtype=x.dtype)
    pyro.sample("y", dist.MultivariateNormal(torch.zeros_like(x), covariance), obs=data["y"])


def gaussian_process_counts(data: Table) -> None:
    """Counts around the exponential of a Gaussian process."""
    rho = pyro.sample("rho", dist.Gamma(25.0, 4.0))
    alpha = pyro.sample("alpha", dist.HalfNormal(2.0))
    x = data["x"]
    root = torch.linalg.cholesky(_kernel(x, alpha, rho) + JITTER * torch.eye(len(x), dtype=x.dtype))
    standardised = pyro.sample("standardised", dist.Normal(0.0, 1.0).expand([len(x)]).to_event(1))
    f = pyro.deterministic("f", root @ standardised, event_dim=1)
    with pyro.plate("place", len(x)):
        pyro.sample("k", dist.Poisson(f.exp()), obs=data["k"])


def mixture(data: Table) -> None:
    """Two normal components, the lower mean first."""
    share = pyro.sample("theta", dist.Beta(5.0, 5.0))
    sigma = pyro.sample("sigma", dist.HalfNormal(2.0).expand([2]).to_event(1))
    mu = pyro.sample("mu", dist.ImproperUniform(dist.constraints.ordered_vector, (), (2,)))
    pyro.sample("mu_prior", dist.Normal(0.0, 2.0).expand([2]).to_event(1), obs=mu)
    parts = dist.Categorical(torch.stack([share, 1 - share], -1))
    with pyro.plate("row", len(data["y"])):
        pyro.sample("y", dist.MixtureSameFamily(parts, dist.Normal(mu, sigma)), obs=data["y"])


PROBLEMS = (
    PyroProblem("eight_schools", "eight_schools", eight_schools, ("theta", "mu", "tau")),
    PyroProblem("kidiq", "kidiq", kidiq, ("b1", "b2", "sigma")),
    PyroProblem("earnings", "earnings", earnings, ("beta", "sigma")),
    PyroProblem("autoregression", "autoregression", autoregression, ("alpha", "beta", "sigma")),
    PyroProblem("garch", "garch", garch, ("mu", "alpha0", "alpha1", "beta1"), slow=True),
    PyroProblem("lynx_hare", "lynx_hare", lynx_hare, ("a", "b", "c", "d", "z_init", "sigma"), slow=True),
    PyroProblem("gaussian_process", "gaussian_process", gaussian_process, ("rho", "alpha", "sigma")),
    PyroProblem(
        "gaussian_process_counts", "gaussian_process", gaussian_process_counts, ("rho", "alpha", "f"), slow=True
    ),
    PyroProblem("mixture", "mixture", mixture, ("mu", "sigma", "theta")),
    PyroProblem("nes1980", "nes1980", nes1980, ("beta", "sigma")),
    PyroProblem("linear", "linear", linear, ("beta", "sigma")),
    PyroProblem("mesquite", "mesquite", mesquite, ("beta", "sigma")),
)
"""All of them; `reference.csv` has their posteriors."""
