"""Problems whose posterior has a closed form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.distributions import (
    Beta,
    Binomial,
    Dirichlet,
    Gamma,
    Independent,
    Multinomial,
    MultivariateNormal,
    Normal,
    Poisson,
)

from experiments.calibration_gallery._problem import Array, Case, Problem, Reference

Theta = Mapping[str, Tensor]


def _reference(how: str, **moments: tuple[Any, Any]) -> Reference:
    as_array = lambda x: np.asarray(x, float)  # noqa: E731
    return Reference(
        {k: as_array(m) for k, (m, _) in moments.items()}, {k: as_array(s) for k, (_, s) in moments.items()}, how
    )


def _case(simulator: Any, prior: Any, data: Any, likelihood: Any, reference: Reference, **more: Any) -> Case:
    return Case({"model": simulator, "prior": prior, "data": data, "likelihood": likelihood, **more}, reference)


def _linear(design: Array, data: Array, noise: float, prior_sd: Array) -> tuple[Array, Array]:
    """Mean and sd of the coefficients of a linear model with a normal prior around 0."""
    precision = design.T @ design / noise**2 + np.diag(prior_sd**-2.0)
    covariance = np.linalg.inv(precision)
    return covariance @ design.T @ data / noise**2, np.sqrt(np.diag(covariance))


def normal_mean() -> Case:
    """Mean of eight normal data with known sd."""
    y = torch.tensor([1.2, 0.4, 2.0, 1.1, -0.3, 0.9, 1.6, 0.5], dtype=torch.float64)
    mean, sd = _linear(np.ones((8, 1)), y.numpy(), 0.8, np.array([2.0]))
    return _case(
        lambda t, seed: t["mu"][:, None].expand(-1, 8), {"mu": Normal(0.0, 2.0)}, y,
        lambda out: Independent(Normal(out, 0.8), 1), _reference("conjugate", mu=(mean[0], sd[0])),
    )  # fmt: skip


def one_datum() -> Case:
    """A single observation: the posterior is half prior."""
    return _case(
        lambda t, seed: t["mu"][:, None], {"mu": Normal(0.0, 1.0)}, torch.tensor([2.0]),
        lambda out: Independent(Normal(out, 1.0), 1), _reference("conjugate", mu=(1.0, 0.5**0.5)),
    )  # fmt: skip


def poisson_rate() -> Case:
    """Gamma prior, Poisson counts."""
    y = torch.tensor([3.0, 7.0, 4.0, 6.0, 2.0])
    a, b = 2.0 + float(y.sum()), 0.5 + 5
    return _case(
        lambda t, seed: t["rate"][:, None].expand(-1, 5), {"rate": Gamma(2.0, 0.5)}, y,
        lambda out: Independent(Poisson(out), 1), _reference("conjugate", rate=(a / b, a**0.5 / b)),
    )  # fmt: skip


def no_cases() -> Case:
    """All counts are zero: the posterior leans on its bound."""
    return _case(
        lambda t, seed: t["rate"][:, None].expand(-1, 6), {"rate": Gamma(1.0, 0.5)}, torch.zeros(6),
        lambda out: Independent(Poisson(out), 1), _reference("conjugate", rate=(1 / 6.5, 1 / 6.5)),
    )  # fmt: skip


def beta_binomial() -> Case:
    """A share near its bound."""
    a, b = 1.0 + 19, 1.0 + 1
    sd = (a * b / ((a + b) ** 2 * (a + b + 1))) ** 0.5
    return _case(
        lambda t, seed: t["share"][:, None], {"share": Beta(1.0, 1.0)}, torch.tensor([19.0]),
        lambda out: Independent(Binomial(20, out), 1), _reference("conjugate", share=(a / (a + b), sd)),
    )  # fmt: skip


def dirichlet() -> Case:
    """Four shares that sum to one."""
    counts, alpha = torch.tensor([12.0, 3.0, 0.0, 25.0]), torch.ones(4)
    post = (alpha + counts).numpy()
    total = post.sum()
    sd = np.sqrt(post * (total - post) / (total**2 * (total + 1)))
    return _case(
        lambda t, seed: t["share"], {"share": Dirichlet(alpha)}, counts,
        lambda out: Multinomial(40, probs=out), _reference("conjugate", share=(post / total, sd)),
    )  # fmt: skip


def regression_known_noise() -> Case:
    """A straight line with known noise."""
    x = np.linspace(-1, 1, 30)
    y = 1 + 2 * x + 0.3 * np.random.default_rng(5).standard_normal(30)
    design = np.stack([np.ones(30), x], 1)
    mean, sd = _linear(design, y, 0.3, np.array([3.0, 3.0]))
    at = torch.as_tensor(x)
    return _case(
        lambda t, seed: t["a"][:, None] + t["b"][:, None] * at, {"a": Normal(0.0, 3.0), "b": Normal(0.0, 3.0)}, y,
        lambda out: Independent(Normal(out, 0.3), 1), _reference("conjugate", a=(mean[0], sd[0]), b=(mean[1], sd[1])),
    )  # fmt: skip


def badly_scaled() -> Case:
    """Two parameters of sizes 1e-6 and 1e6."""
    x = np.linspace(0, 1, 20)
    design = np.stack([np.full(20, 1e6), 1e-6 * x], 1)
    truth = np.array([2e-6, 3e6])
    y = design @ truth + 0.5 * np.random.default_rng(6).standard_normal(20)
    mean, sd = _linear(design, y, 0.5, np.array([1e-5, 1e7]))
    at = torch.as_tensor(design)
    return _case(
        lambda t, seed: t["small"][:, None] * at[:, 0] + t["large"][:, None] * at[:, 1],
        {"small": Normal(0.0, 1e-5), "large": Normal(0.0, 1e7)}, y, lambda out: Independent(Normal(out, 0.5), 1),
        _reference("conjugate", small=(mean[0], sd[0]), large=(mean[1], sd[1])),
    )  # fmt: skip


def strongly_correlated() -> Case:
    """Only the sum of two parameters is known well (correlation -0.9998)."""
    design = np.array([[1.0, 1.0]] * 10)
    y = 3 + 0.05 * np.random.default_rng(7).standard_normal(10)
    mean, sd = _linear(design, y, 0.05, np.array([1.0, 1.0]))
    return _case(
        lambda t, seed: (t["a"] + t["b"])[:, None].expand(-1, 10), {"a": Normal(0.0, 1.0), "b": Normal(0.0, 1.0)}, y,
        lambda out: Independent(Normal(out, 0.05), 1), _reference("conjugate", a=(mean[0], sd[0]), b=(mean[1], sd[1])),
    )  # fmt: skip


def not_informed() -> Case:
    """A parameter that the data do not move keeps its prior."""
    return _case(
        lambda t, seed: t["seen"][:, None].expand(-1, 5), {"seen": Normal(0.0, 1.0), "free": Normal(2.0, 0.7)},
        torch.full((5,), 0.4), lambda out: Independent(Normal(out, 0.5), 1),
        _reference("conjugate", noise_sd=(0.4 * 20 / 21, 21**-0.5), free=(2.0, 0.7)),
    )  # fmt: skip


def twenty_parameters() -> Case:
    """A linear model of twenty coefficients in forty data."""
    rng = np.random.default_rng(8)
    design = rng.standard_normal((40, 20)) / 20**0.5
    y = design @ rng.standard_normal(20) + 0.3 * rng.standard_normal(40)
    mean, sd = _linear(design, y, 0.3, np.ones(20))
    at = torch.as_tensor(design)
    return _case(
        lambda t, seed: t["b"].double() @ at.mT, {"b": Independent(Normal(torch.zeros(20), torch.ones(20)), 1)}, y,
        lambda out: Independent(Normal(out, 0.3), 1), _reference("conjugate", b=(mean, sd)),
    )  # fmt: skip


def missing_cells() -> Case:
    """A third of the data is missing (NaN)."""
    x = np.linspace(-1, 1, 30)
    y = 0.5 - x + 0.2 * np.random.default_rng(9).standard_normal(30)
    y[::3] = np.nan
    here = np.isfinite(y)
    mean, sd = _linear(np.stack([np.ones(30), x], 1)[here], y[here], 0.2, np.array([2.0, 2.0]))
    at = torch.as_tensor(x)
    return _case(
        lambda t, seed: t["a"][:, None] + t["b"][:, None] * at, {"a": Normal(0.0, 2.0), "b": Normal(0.0, 2.0)}, y,
        lambda out: Independent(Normal(out, 0.2), 1), _reference("conjugate", a=(mean[0], sd[0]), b=(mean[1], sd[1])),
    )  # fmt: skip


def noise_inside() -> Case:
    """A simulator that scatters: its own normal noise adds to that of the observation (closed form)."""
    y = np.array([1.0, 1.8, 0.7, 1.4, 1.1, 1.6])
    own, noise_sd = 0.6, 0.3
    mean, sd = _linear(np.ones((6, 1)), y, (own**2 + noise_sd**2) ** 0.5, np.array([2.0]))

    def simulate(theta: Theta, seed: int) -> Tensor:
        mu = theta["mu"].detach()
        noise = torch.randn(len(mu), 6, generator=torch.Generator().manual_seed(seed), dtype=mu.dtype)
        return mu[:, None] + own * noise

    return _case(
        simulate, {"mu": Normal(0.0, 2.0)}, y, lambda out: Independent(Normal(out, noise_sd), 1),
        _reference("conjugate", mu=(mean[0], sd[0])), gradient="score",
    )  # fmt: skip


def noise_in_ten_outputs() -> Case:
    """As `noise_inside`, a slope and a level in ten outputs of a simulator without derivatives."""
    x = np.linspace(0, 2, 10)
    y = 0.4 + 0.9 * x + 0.5 * np.random.default_rng(11).standard_normal(10)
    own, noise_sd = 0.4, 0.3
    mean, sd = _linear(np.stack([np.ones(10), x], 1), y, (own**2 + noise_sd**2) ** 0.5, np.array([1.0, 1.0]))
    at = torch.as_tensor(x)

    def simulate(theta: Theta, seed: int) -> Tensor:
        a, b = (theta[k].detach().double() for k in ("a", "b"))
        noise = torch.randn(len(a), 10, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        return a[:, None] + b[:, None] * at + own * noise

    return _case(
        simulate, {"a": Normal(0.0, 1.0), "b": Normal(0.0, 1.0)}, y, lambda out: Independent(Normal(out, noise_sd), 1),
        _reference("conjugate", a=(mean[0], sd[0]), b=(mean[1], sd[1])), gradient="score",
    )  # fmt: skip


def correlated_data() -> Case:
    """Data whose errors are correlated: a likelihood that is one event."""
    n = 12
    lag = np.abs(np.subtract.outer(np.arange(n), np.arange(n)))
    covariance = 0.25 * 0.7**lag
    x = np.stack([np.ones(n), np.linspace(-1, 1, n)], 1)
    y = x @ [0.3, 1.1] + np.linalg.cholesky(covariance) @ np.random.default_rng(12).standard_normal(n)
    root = np.linalg.cholesky(np.linalg.inv(covariance)).T
    mean, sd = _linear(root @ x, root @ y, 1.0, np.array([2.0, 2.0]))
    at, cov = torch.as_tensor(x), torch.as_tensor(covariance)
    return _case(
        lambda t, seed: torch.stack([t["a"], t["b"]], -1).double() @ at.mT,
        {"a": Normal(0.0, 2.0), "b": Normal(0.0, 2.0)}, y, lambda out: MultivariateNormal(out, cov),
        _reference("conjugate", a=(mean[0], sd[0]), b=(mean[1], sd[1])),
    )  # fmt: skip


EXACT = ("emulated-smc", "vi")
PROBLEMS = (
    Problem("normal_mean", normal_mean, budget=500, methods=EXACT),
    Problem("one_datum", one_datum, budget=500, methods=EXACT),
    Problem("poisson_rate", poisson_rate, ("counts",), 500, EXACT),
    Problem("no_cases", no_cases, ("bounded", "counts"), 500, EXACT),
    Problem("beta_binomial", beta_binomial, ("bounded", "counts"), 500, EXACT),
    Problem("dirichlet", dirichlet, ("bounded", "dependent"), 1000, EXACT),
    Problem("regression_known_noise", regression_known_noise, (), 500, EXACT),
    Problem("badly_scaled", badly_scaled, ("badly scaled",), 500, EXACT),
    Problem("strongly_correlated", strongly_correlated, ("correlated",), 1000, EXACT),
    Problem("not_informed", not_informed, ("not informed",), 500, EXACT),
    Problem("twenty_parameters", twenty_parameters, ("many parameters",), 4000, ("linearised-vi", "vi")),
    Problem("missing_cells", missing_cells, ("missing data",), 500, EXACT),
    Problem("noise_inside", noise_inside, ("stochastic",), 2000),
    Problem("noise_in_ten_outputs", noise_in_ten_outputs, ("stochastic",), 4000),
    Problem("correlated_data", correlated_data, (), 500, EXACT),
)
