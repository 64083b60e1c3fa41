"""Exact posteriors of the chain binomials, by particle filters in two independent ways.

First way, everywhere: importance sampling with an estimated likelihood, from a t distribution that three rounds of draws, or
chains, have brought to the posterior. Second way: a grid where there are two parameters, else particle Metropolis chains. All
estimates of the likelihood are unbiased, so that all are exact up to Monte Carlo error.

`python -m experiments.calibration_gallery._references` writes `references/chain_binomials.csv`, problem by problem.

References:
    Andrieu, C. & Roberts, G. (2009). The pseudo-marginal approach for efficient Monte Carlo computations. Ann. Statist. 37.
    Tran, M.-N. et al. (2013). Importance sampling squared for Bayesian inference in latent variable models.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from scipy.stats import multivariate_t

from calib import Parameter, ParameterSpace
from experiments.calibration_gallery._chain_binomials import DATA_SETS, PROBLEMS, Array, ChainBinomial, data_set
from experiments.calibration_gallery._particle_filter import log_likelihood

FILE = Path(__file__).parent / "references" / "chain_binomials.csv"
BLOCK = 200_000  # particles at once
DEGREES = 5  # of freedom of the proposals
CHAINS, STEPS, WARM_UP = 24, 260, 80


@dataclass(frozen=True)
class Exact:
    """A data set's log posterior, up to a constant, estimated by a particle filter.

    Attributes:
        model: the epidemic.
        reports: `[T * K]`.
    """

    model: ChainBinomial
    reports: Array

    @property
    def space(self) -> ParameterSpace:
        """Parameters and priors."""
        return ParameterSpace(tuple(Parameter(name, prior) for name, prior in self.model.priors.items()))

    def theta(self, z: Array) -> dict[str, Array]:
        """Parameters `[P]` by name at standard normal coordinates `[P, D]`."""
        return {name: value.numpy() for name, value in self.space.to_theta(torch.as_tensor(z)).items()}

    def log_posterior(self, z: Array, particles: int, random: np.random.Generator) -> Array:
        """Log posterior density in z, `[P]`, up to a constant."""
        theta, size = self.theta(z), max(1, BLOCK // particles)
        parts = [
            log_likelihood(
                self.model, self.reports, {n: v[at : at + size] for n, v in theta.items()}, particles, random
            )
            for at in range(0, len(z), size)
        ]
        return np.concatenate(parts) - 0.5 * (z**2).sum(1)


def by_importance(
    exact: Exact, random: np.random.Generator, draws: int = 2000, particles: int = 400, start: Array | None = None
) -> tuple[Array, Array]:
    """Draws `[S, D]` in z and their normalised weights `[S]`.

    Three rounds bring a t distribution from the prior to the posterior; or it starts at draws `[S, D]` near the posterior,
    which decide what is proposed and nothing else.
    """
    dim = exact.space.dim
    z = random.standard_normal((1500, dim)) if start is None else start
    log_q = -0.5 * (z**2).sum(1)
    value = exact.log_posterior(z, 100, random) if start is None else log_q
    for last in (False, False, False, True) if start is None else (True,):
        centre, covariance = _moments(z, _tempered(value - log_q, 6 * dim + 20))
        proposal = multivariate_t(centre, covariance, df=DEGREES, seed=random)
        z = proposal.rvs(draws if last else 600).reshape(-1, dim)
        log_q, value = proposal.logpdf(z), exact.log_posterior(z, particles if last else particles // 3, random)
    ratio = value - log_q
    weight = np.exp(ratio - ratio.max())
    return z, weight / weight.sum()


def _tempered(ratio: Array, least: float) -> Array:
    """Weights to the largest power up to 1 that leaves `least` effective draws."""
    low, high = 0.0, 1.0
    for step in range(50):
        power = 1.0 if step == 0 else 0.5 * (low + high)
        weight = np.exp(power * (ratio - ratio.max()))
        enough = weight.sum() ** 2 / (weight**2).sum() >= least
        low, high = (power, high) if enough else (low, power)
        if low == 1.0:
            break
    return weight / weight.sum()


def _moments(z: Array, weight: Array) -> tuple[Array, Array]:
    centre = weight @ z
    away = z - centre
    return centre, 1.3 * (away.T * weight) @ away + 1e-6 * np.eye(z.shape[1])


def by_grid(
    exact: Exact, centre: Array, sd: Array, random: np.random.Generator, points: int = 33, particles: int = 300
) -> tuple[Array, Array]:
    """Grid points `[S, 2]` in z within five sds of a rough centre, and their normalised weights."""
    axes = [np.linspace(m - 5 * s, m + 5 * s, points) for m, s in zip(centre, sd, strict=True)]
    z = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 2)
    value = exact.log_posterior(z, particles, random)
    weight = np.exp(value - value.max())
    return z, weight / weight.sum()


def by_chains(exact: Exact, random: np.random.Generator, particles: int = 250) -> tuple[Array, Array]:
    """Draws of particle Metropolis chains `[S, D]` in z, equally weighted.

    The chains start at draws of the prior weighted by a tempered likelihood; the covariance of their steps is that of all
    chains while they warm up, and fixed after.
    """
    dim = exact.space.dim
    z = random.standard_normal((1500, dim))
    weight = _tempered(exact.log_posterior(z, 100, random) + 0.5 * (z**2).sum(1), CHAINS / 2)
    z = z[random.choice(len(z), CHAINS, p=weight)] + 0.05 * random.standard_normal((CHAINS, dim))
    value = exact.log_posterior(z, particles, random)
    kept = []
    history: list[Array] = []
    for step in range(STEPS):
        if step < WARM_UP:
            recent = np.concatenate(history[-30:] or [z])
            factor = np.linalg.cholesky(np.cov(recent.T) + 1e-3 * np.eye(dim)) * 1.8 / np.sqrt(dim)
        trial = z + random.standard_normal((CHAINS, dim)) @ factor.T
        height = exact.log_posterior(trial, particles, random)
        yes = np.log(random.random(CHAINS)) < height - value
        z, value = np.where(yes[:, None], trial, z), np.where(yes, height, value)
        history.append(z)
        if step >= WARM_UP:
            kept.append(z)
    draws = np.concatenate(kept)
    return draws, np.full(len(draws), 1 / len(draws))


def summarise(exact: Exact, z: Array, weight: Array) -> dict[str, tuple[float, float]]:
    """Mean and sd of each parameter in its own units."""
    out = {}
    for name, value in exact.theta(z).items():
        mean = float(weight @ value)
        out[name] = (mean, float(np.sqrt(weight @ (value - mean) ** 2)))
    return out


def reference(problem: str, number: int) -> pd.DataFrame:
    """One row a parameter: mean and sd in both ways, and the effective number of draws of the first."""
    exact = Exact(PROBLEMS[problem], data_set(problem, number).numpy())
    random = np.random.default_rng([number, 23])
    if exact.space.dim == 2:
        z, weight = by_importance(exact, random)
        centre, covariance = _moments(z, weight)
        second = summarise(exact, *by_grid(exact, centre, np.sqrt(covariance.diagonal()), random))
    else:
        chains = by_chains(exact, random)
        second = summarise(exact, *chains)
        z, weight = by_importance(exact, random, 1200, 600, start=chains[0][::20])
    first = summarise(exact, z, weight)
    effective = float(1 / (weight**2).sum())
    rows = [
        {
            "problem": problem, "number": number, "parameter": name, "mean": first[name][0], "sd": first[name][1],
            "second_mean": second[name][0], "second_sd": second[name][1], "effective": round(effective),
        }
        for name in first
    ]  # fmt: skip
    return pd.DataFrame(rows)


def load_references() -> pd.DataFrame:
    """The committed table, one row a parameter."""
    return pd.read_csv(FILE)


def main() -> None:
    """Compute what the table lacks."""
    FILE.parent.mkdir(exist_ok=True)
    table = load_references() if FILE.exists() else pd.DataFrame({"problem": [], "number": []})
    for problem, count in DATA_SETS.items():
        for number in range(1, count + 1):
            if ((table["problem"] == problem) & (table["number"] == number)).any():
                continue
            rows = reference(problem, number)
            print(rows.to_string(index=False), flush=True)
            table = pd.concat([table, rows], ignore_index=True)
            table.to_csv(FILE, index=False, float_format="%.6g")


if __name__ == "__main__":
    main()
