"""`python -m calib.benchmark_diagnostics`: what each diagnostic says of an exact posterior and of broken ones.

theta ~ N(0, I) in three dimensions, x = A theta + noise, so the posterior is a Gaussian known in closed form, with a correlation of
-0.9 between the first two parameters. The broken posteriors change one thing.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

MATRIX = np.array([[1.0, 1.0, 0.0], [1.0, -1.0, 0.0], [0.0, 0.0, 1.0]])
NOISE = np.array([0.3, 1.8, 0.7])
NAMES = ("a", "b", "c")
COVARIANCE = np.linalg.inv(np.eye(3) + (MATRIX.T / NOISE**2) @ MATRIX)
GAIN = COVARIANCE @ (MATRIX.T / NOISE**2)


@dataclass(frozen=True)
class Posterior:
    """A Gaussian claimed as the posterior of x: mean `shift + share * exact mean`, covariance as given."""

    covariance: Array
    shift: Array
    share: float = 1.0

    def mean(self, x: Array) -> Array:
        """`[*batch, 3]` at `x [*batch, 3]`."""
        return np.asarray(self.share * x @ GAIN.T + self.shift)

    def sample(self, x: Array, count: int, rng: np.random.Generator) -> Array:
        """`[*batch, count, 3]` at `x [*batch, 3]`."""
        factor = np.linalg.cholesky(self.covariance)
        return np.asarray(self.mean(x)[..., None, :] + rng.standard_normal((*x.shape[:-1], count, 3)) @ factor.T)

    def log_prob(self, theta: Array, x: Array) -> Array:
        """`[*batch]` at `theta [*batch, 3]`, up to a constant."""
        away = theta - self.mean(x)
        return np.asarray(-0.5 * (away * np.linalg.solve(self.covariance, away[..., None])[..., 0]).sum(-1))


def _correlation_flipped() -> Array:
    flipped = COVARIANCE.copy()
    flipped[0, 1] = flipped[1, 0] = -COVARIANCE[0, 1]
    return flipped


NONE = np.zeros(3)
POSTERIORS: dict[str, Posterior] = {
    "exact": Posterior(COVARIANCE, NONE),
    "over-confident": Posterior(0.6**2 * COVARIANCE, NONE),
    "biased": Posterior(COVARIANCE, 0.5 * np.sqrt(COVARIANCE.diagonal())),
    "correlation lost": Posterior(np.diag(COVARIANCE.diagonal()), NONE),
    "correlation flipped": Posterior(_correlation_flipped(), NONE),
    "too wide": Posterior(1.6**2 * COVARIANCE, NONE),
    "the prior": Posterior(np.eye(3), NONE, 0.0),
}
"""The exact posterior and six that are not."""


def simulate(theta: Array, rng: np.random.Generator) -> Array:
    """Data `[*batch, 3]` of parameters `[*batch, 3]`."""
    return np.asarray(theta @ MATRIX.T + NOISE * rng.standard_normal(theta.shape))


def arrays(posterior: Posterior, *, count: int = 300, draws: int = 99, seed: int = 0) -> dict[str, Array]:
    """Everything `calib.diagnostics.check` can use, for one claimed posterior.

    Args:
        posterior: what is claimed.
        count: simulated data sets N.
        draws: of each posterior S.
        seed: of everything.
    """
    rng = np.random.default_rng([seed, 20261121])
    theta = rng.standard_normal((count, 3))
    x = simulate(theta, rng)
    samples = posterior.sample(x, draws, rng)
    observed = simulate(np.array([0.5, -0.8, 0.3]), rng)
    q = posterior.sample(observed, 1000, rng)
    exact = POSTERIORS["exact"]
    dense = -0.5 * np.linalg.slogdet(posterior.covariance)[1]
    return {
        "observed": observed,
        "prior_predictive": simulate(rng.standard_normal((400, 3)), rng),
        "posterior_predictive": simulate(q, rng),
        "thetas": theta,
        "xs": x,
        "samples": samples,
        "prior_samples": rng.standard_normal((1000, 3)),
        "log_prob_thetas": posterior.log_prob(theta, x),
        "log_prob_samples": posterior.log_prob(samples, x[:, None]),
        "posterior": q,
        "log_joint": exact.log_prob(q, observed) - 0.5 * np.linalg.slogdet(COVARIANCE)[1],
        "log_q": posterior.log_prob(q, observed) + dense,
    }


def table(
    seeds: Sequence[int] = (0, 1, 2, 3, 4), count: int = 300, names: Sequence[str] = tuple(POSTERIORS)
) -> dict[str, Mapping[str, str]]:
    """Verdicts of every diagnostic on every posterior: how often each word came, over seeds."""
    from calib.diagnostics import check

    out: dict[str, Mapping[str, str]] = {}
    for name in names:
        pages = [check(**arrays(POSTERIORS[name], count=count, seed=s), names=NAMES, seed=s) for s in seeds]
        grades = {v.name: [page[v.name].word for page in pages] for v in pages[0].verdicts}
        out[name] = {
            d: "/".join(str(sum(w == word for w in found)) for word in ("pass", "warn", "fail"))
            for d, found in grades.items()
        }
    return out


def main() -> None:
    """Print the table in Markdown."""
    parser = argparse.ArgumentParser(prog="python -m calib.benchmark_diagnostics", description=main.__doc__)
    parser.add_argument("--seeds", type=int, default=5, help="how many")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument("--only", choices=POSTERIORS, nargs="+", default=list(POSTERIORS), help="posteriors")
    given = parser.parse_args()
    found = table(range(given.first, given.first + given.seeds), names=given.only)
    columns = list(next(iter(found.values())))
    print(f"pass/warn/fail of {given.seeds} seeds, 300 data sets of 99 draws\n")
    print(f"| posterior | {' | '.join(columns)} |\n|{' --- |' * (len(columns) + 1)}")
    for name, row in found.items():
        print(f"| {name} | {' | '.join(row[c] for c in columns)} |")


if __name__ == "__main__":
    main()
