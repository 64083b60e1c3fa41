"""Problems of one to three parameters whose posterior a grid gives."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.distributions import (
    Binomial,
    Cauchy,
    Distribution,
    HalfNormal,
    Independent,
    LogNormal,
    NegativeBinomial,
    Normal,
    Poisson,
    StudentT,
    Uniform,
)

from experiments.calibration_gallery._problem import Case, Problem, Reference
from experiments.calibration_gallery._quadrature import moments

Theta = Mapping[str, Tensor]


def _by_grid(
    simulator: Callable[[Theta, int], Tensor],
    prior: Mapping[str, Distribution],
    data: Any,
    likelihood: Callable[[Tensor], Distribution],
    bounds: Sequence[tuple[float, float]],
    exact: Callable[[Theta], Tensor] | None = None,
    **more: Any,
) -> Case:
    """A case whose reference is a grid over its own simulator and likelihood (`exact` where the simulator fails on some draws)."""
    names, observed = list(prior), torch.as_tensor(data, dtype=torch.float64)

    def log_joint(points: Tensor) -> Tensor:
        theta = {n: points[:, i] for i, n in enumerate(names)}
        out = exact(theta) if exact else simulator(theta, 0)
        with torch.no_grad():
            value = likelihood(out.double()).log_prob(observed)
            return value + sum(prior[n].log_prob(theta[n]) for n in names)

    mean, sd = moments(log_joint, bounds)
    reference = Reference(
        {n: np.asarray(m) for n, m in zip(names, mean, strict=True)},
        {n: np.asarray(s) for n, s in zip(names, sd, strict=True)},
        "grid",
    )
    return Case({"model": simulator, "prior": prior, "data": observed, "likelihood": likelihood, **more}, reference)


DAYS = torch.arange(1.0, 21.0, dtype=torch.float64)


def _curve(theta: Theta, seed: int = 0) -> Tensor:
    """Logistic growth of cumulated cases, twenty days."""
    return theta["size"][:, None] * torch.sigmoid(theta["growth"][:, None] * (DAYS - 10))


def logistic_growth() -> Case:
    """A growth curve seen through Poisson counts."""
    truth = _curve({"growth": torch.tensor([0.4]), "size": torch.tensor([60.0])})[0]
    data = torch.poisson(truth, generator=torch.Generator().manual_seed(1))
    prior = {"growth": LogNormal(-1.0, 0.5), "size": LogNormal(4.0, 1.0)}
    return _by_grid(
        _curve, prior, data, lambda m: Independent(Poisson(m.clamp_min(1e-9)), 1), [(0.05, 2.0), (20.0, 150.0)]
    )


def overdispersed_counts() -> Case:
    """The same with negative binomial counts of unknown size: dispersion is a parameter among the outputs."""
    truth = _curve({"growth": torch.tensor([0.4]), "size": torch.tensor([60.0])})[0].numpy()
    data = np.random.default_rng(2).negative_binomial(6, 6 / (6 + truth))

    def simulate(theta: Theta, seed: int) -> Tensor:
        return torch.cat([_curve(theta), theta["dispersion"][:, None]], -1)

    def likelihood(out: Tensor) -> Distribution:
        mean, size = out[..., :-1].clamp_min(1e-9), out[..., -1:].clamp_min(1e-6)
        return Independent(NegativeBinomial(size, logits=mean.log() - size.log()), 1)

    prior = {"growth": LogNormal(-1.0, 0.5), "size": LogNormal(4.0, 1.0), "dispersion": LogNormal(1.5, 0.8)}
    return _by_grid(simulate, prior, data, likelihood, [(0.1, 1.5), (15.0, 200.0), (0.3, 80.0)])


def unknown_noise() -> Case:
    """A straight line with unknown noise (three parameters)."""
    x = torch.linspace(-1, 1, 30, dtype=torch.float64)
    y = 1 + 2 * x.numpy() + 0.3 * np.random.default_rng(3).standard_normal(30)

    def simulate(theta: Theta, seed: int) -> Tensor:
        return torch.cat([theta["a"][:, None] + theta["b"][:, None] * x, theta["s"][:, None]], -1)

    prior = {"a": Normal(0.0, 3.0), "b": Normal(0.0, 3.0), "s": LogNormal(-1.0, 0.5)}
    return _by_grid(
        simulate, prior, y, lambda out: Independent(Normal(out[..., :-1], out[..., -1:].clamp_min(1e-6)), 1),
        [(0.4, 1.6), (1.2, 2.8), (0.12, 0.8)],
    )  # fmt: skip


def log_likelihood_as_output() -> Case:
    """The same line, the model returning its log likelihood."""
    case = unknown_noise()
    a = case.arguments

    def simulate(theta: Theta, seed: int) -> Tensor:
        value: Tensor = a["likelihood"](a["model"](theta, seed)).log_prob(a["data"])
        return value

    return Case({"model": simulate, "prior": a["prior"], "data": None, "likelihood": None}, case.reference)


def two_modes() -> Case:
    """Only the square of a parameter is seen."""
    return _by_grid(
        lambda t, seed: (t["x"] ** 2)[:, None], {"x": Normal(0.0, 2.0)}, [2.0],
        lambda out: Independent(Normal(out, 0.3), 1), [(-6.0, 6.0)],
    )  # fmt: skip


def ring() -> Case:
    """Two parameters of which the distance from the origin is seen."""
    return _by_grid(
        lambda t, seed: (t["x"] ** 2 + t["y"] ** 2).sqrt()[:, None], {"x": Normal(0.0, 1.0), "y": Normal(0.0, 1.0)}, [1.5],
        lambda out: Independent(Normal(out, 0.15), 1), [(-3.0, 3.0), (-3.0, 3.0)],
    )  # fmt: skip


def banana() -> Case:
    """A curved ridge."""
    return _by_grid(
        lambda t, seed: torch.stack([t["x"], t["y"] - t["x"] ** 2], -1), {"x": Normal(0.0, 2.0), "y": Normal(0.0, 4.0)}, [0.0, 1.0],
        lambda out: Independent(Normal(out, torch.tensor([1.0, 0.3])), 1), [(-5.0, 5.0), (-4.0, 18.0)],
    )  # fmt: skip


def uniform_at_bound() -> Case:
    """A uniform prior whose bound cuts the posterior."""
    return _by_grid(
        lambda t, seed: t["share"][:, None].expand(-1, 4), {"share": Uniform(0.0, 1.0)}, [1.05, 0.98, 1.1, 1.0],
        lambda out: Independent(Normal(out, 0.2), 1), [(0.0, 1.0)],
    )  # fmt: skip


def heavy_tailed_prior() -> Case:
    """A Cauchy prior far from the data."""
    return _by_grid(
        lambda t, seed: t["mu"][:, None].expand(-1, 3), {"mu": Cauchy(0.0, 1.0)}, [9.0, 11.0, 10.5],
        lambda out: Independent(Normal(out, 2.0), 1), [(-20.0, 40.0)],
    )  # fmt: skip


def heavy_tailed_likelihood() -> Case:
    """Student's t with an outlier."""
    return _by_grid(
        lambda t, seed: t["mu"][:, None].expand(-1, 6), {"mu": Normal(0.0, 5.0)}, [1.1, 0.8, 1.4, 0.9, 1.2, 14.0],
        lambda out: Independent(StudentT(2.0, out, 0.5), 1), [(-10.0, 20.0)],
    )  # fmt: skip


def fails_on_some() -> Case:
    """A simulator that gives NaN for a third of the prior's draws, at the posterior's edge."""

    def exact(theta: Theta) -> Tensor:
        out = torch.stack([theta["a"] * theta["b"], theta["a"] + theta["b"]], -1)
        return torch.where((theta["a"] + theta["b"] < 2.6)[:, None], out, torch.nan)

    def simulate(theta: Theta, seed: int) -> Tensor:
        return exact(theta)

    prior = {"a": LogNormal(0.0, 0.4), "b": LogNormal(0.0, 0.4)}

    def likelihood(out: Tensor) -> Distribution:
        return Independent(Normal(out, torch.tensor([0.4, 0.4]), validate_args=False), 1)

    return _by_grid(simulate, prior, [1.2, 2.4], likelihood, [(0.1, 2.6), (0.1, 2.6)])


def raises_on_some() -> Case:
    """A numpy simulator of one draw that raises where a parameter is large."""

    def simulate(theta: Theta, seed: int) -> Tensor:
        rate = np.asarray(theta["rate"].detach())
        if (rate > 6).any():
            raise FloatingPointError("the solver left its range")
        return torch.as_tensor(np.exp(-rate[:, None] * np.linspace(0.1, 1, 8)))

    def exact(theta: Theta) -> Tensor:
        return torch.exp(-theta["rate"][:, None] * torch.linspace(0.1, 1, 8, dtype=torch.float64))

    data = np.exp(-2.0 * np.linspace(0.1, 1, 8)) + 0.05 * np.random.default_rng(4).standard_normal(8)
    return _by_grid(
        simulate, {"rate": LogNormal(0.5, 0.7)}, data, lambda out: Independent(Normal(out, 0.05), 1), [(0.05, 8.0)],
        exact=exact, gradient="score",
    )  # fmt: skip


def integer_outputs() -> Case:
    """Integer outputs and data that are not whole: no rounding of the data to the outputs."""

    def simulate(theta: Theta, seed: int) -> Tensor:
        return torch.round(theta["n"])[:, None].expand(-1, 5).to(torch.int64)

    data = [2.9, 3.3, 2.6, 3.1, 2.9]
    return _by_grid(
        simulate, {"n": Uniform(0.0, 10.0)}, data, lambda out: Independent(Normal(out.double(), 1.0), 1), [(0.0, 10.0)],
        gradient="score",
    )  # fmt: skip


def sir_survey() -> Case:
    """An SIR model (Euler steps) and a survey of 500 people a day."""

    def sir(theta: Theta, seed: int) -> Tensor:
        s = torch.full_like(theta["contact"], 0.999)
        i, days = 1 - s, []
        for _ in range(30):
            new = s * (1 - torch.exp(-theta["contact"] * i))
            s, i = s - new, i + new - theta["recovery"] * i
            days.append(i)
        return torch.stack(days, -1).clamp(1e-9, 1 - 1e-9)

    truth = sir({"contact": torch.tensor([0.6]), "recovery": torch.tensor([0.2])}, 0)[0].double().numpy()
    data = np.random.default_rng(5).binomial(500, truth)
    prior = {"contact": LogNormal(-0.7, 0.5), "recovery": LogNormal(-1.6, 0.3)}
    return _by_grid(sir, prior, data, lambda p: Independent(Binomial(500, p), 1), [(0.3, 1.0), (0.1, 0.4)])


def wide_prior() -> Case:
    """A prior ten thousand times wider than the posterior."""
    return _by_grid(
        lambda t, seed: torch.stack([t["x"], t["x"] * 2], -1), {"x": Normal(0.0, 1000.0)}, [3.0, 6.1],
        lambda out: Independent(Normal(out, 0.2), 1), [(2.0, 4.0)],
    )  # fmt: skip


def half_normal_scale() -> Case:
    """A scale that the data put near zero."""
    y = [0.05, -0.1, 0.02, 0.08]
    return _by_grid(
        lambda t, seed: t["sd"][:, None].expand(-1, 4), {"sd": HalfNormal(1.0)}, y,
        lambda out: Independent(Normal(0.0, out.clamp_min(1e-6)), 1), [(0.001, 3.0)],
    )  # fmt: skip


EXACT = ("emulated-smc", "vi")
PROBLEMS = (
    Problem("logistic_growth", logistic_growth, ("counts",), 1000, EXACT),
    Problem("overdispersed_counts", overdispersed_counts, ("counts",), 2000, EXACT),
    Problem("unknown_noise", unknown_noise, (), 1000, EXACT),
    Problem("log_likelihood_as_output", log_likelihood_as_output, ("log likelihood",), 1000, EXACT),
    Problem("two_modes", two_modes, ("two modes",), 1000, EXACT),
    Problem("ring", ring, ("two modes",), 2000, EXACT),
    Problem("banana", banana, ("curved",), 2000, EXACT),
    Problem("uniform_at_bound", uniform_at_bound, ("bounded",), 1000, EXACT),
    Problem("heavy_tailed_prior", heavy_tailed_prior, ("heavy tails",), 1000, EXACT),
    Problem("heavy_tailed_likelihood", heavy_tailed_likelihood, ("heavy tails",), 1000, EXACT),
    Problem("fails_on_some", fails_on_some, ("failures",), 2000, EXACT),
    Problem("raises_on_some", raises_on_some, ("failures",), 1000, ("emulated-smc",)),
    Problem("integer_outputs", integer_outputs, ("discrete outputs",), 1000, ("emulated-smc",)),
    Problem("sir_survey", sir_survey, ("counts",), 1000, EXACT),
    Problem("wide_prior", wide_prior, ("badly scaled",), 1000, EXACT),
    Problem("half_normal_scale", half_normal_scale, ("bounded",), 1000, EXACT),
)
