"""Test functions whose Sobol indices are known in closed form, with noise as a simulator has it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import pi

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

Array = NDArray[np.float64]


@dataclass(frozen=True)
class TestFunction:
    """A function of z ~ N(0, I) with known indices.

    Attributes:
        name: in words. names: of the inputs.
        value: `[draw, D]` to `[draw]`. gradient: to `[draw, D]`.
        first, total: `[D]` Sobol indices. nu: `[D]`, `E[(df/dz)^2]`. share: `[D]` where it has a closed form.
        variance: of the function.
        noise: standard deviation of chance added to values, as a share of the function's own; gradients get it too.
        salib: SALib's distribution and bounds of an input.
    """

    __test__ = False  # no test class

    name: str
    names: tuple[str, ...]
    value: Callable[[Array], Array]
    gradient: Callable[[Array], Array]
    first: Array
    total: Array
    nu: Array
    variance: float
    share: Array | None = None
    noise: float = 0.1
    salib: tuple[str, tuple[float, float]] = ("norm", (0.0, 1.0))
    from_z: Callable[[Array], Array] = lambda z: z

    @property
    def dim(self) -> int:
        """Number of inputs."""
        return len(self.names)

    def values(self, z: Array, replicate: int, streams: NDArray[np.int64]) -> Array:
        """Values with chance: equal streams of one replicate share it."""
        sd = self.noise * self.variance**0.5
        return self.value(z) + sd * _chance(streams, 1, replicate)[:, 0]

    def gradients(self, z: Array, replicate: int, streams: NDArray[np.int64]) -> tuple[Array, Array]:
        """Values and gradients with chance."""
        sd = 3 * self.noise * self.nu.mean() ** 0.5
        return self.values(z, replicate, streams), self.gradient(z) + sd * _chance(streams, self.dim, replicate, 1)


def _chance(streams: NDArray[np.int64], width: int, *keys: int) -> Array:
    """`[run, width]` normal numbers; equal streams get equal rows."""
    rng = np.random.default_rng([int(k) for k in keys])
    return rng.standard_normal((int(streams.max()) + 1, width))[streams]


def ishigami() -> TestFunction:
    """`sin x1 + 7 sin^2 x2 + 0.1 x3^4 sin x1`, x uniform on (-pi, pi) (Ishigami and Homma 1990)."""
    a, b = 7.0, 0.1
    v1, v2, v13 = 0.5 * (1 + b * pi**4 / 5) ** 2, a**2 / 8, b**2 * pi**8 * (1 / 18 - 1 / 50)
    total = v1 + v2 + v13
    names = ("x1", "x2", "x3")

    def x(z: Array) -> Array:
        return np.asarray(2 * pi * norm.cdf(z) - pi)

    def value(z: Array) -> Array:
        x1, x2, x3 = x(z).T
        return np.asarray(np.sin(x1) * (1 + b * x3**4) + a * np.sin(x2) ** 2)

    def gradient(z: Array) -> Array:
        x1, x2, x3 = x(z).T
        by_x = np.stack([np.cos(x1) * (1 + b * x3**4), a * np.sin(2 * x2), 4 * b * x3**3 * np.sin(x1)], 1)
        return np.asarray(by_x * 2 * pi * norm.pdf(z))

    # nu in z by quadrature: one-dimensional integrals over the interval
    u = (np.arange(200_000) + 0.5) / 200_000
    at, slope = 2 * pi * u - pi, (2 * pi * norm.pdf(norm.ppf(u))) ** 2
    growth, sine = np.mean((1 + b * at**4) ** 2), 0.5
    nu = np.array(
        [
            np.mean(slope * np.cos(at) ** 2) * growth,
            np.mean(slope * (a * np.sin(2 * at)) ** 2),
            np.mean(slope * (4 * b * at**3) ** 2) * sine,
        ]
    )
    return TestFunction(
        "Ishigami", names, value, gradient, np.array([v1, v2, 0]) / total, np.array([v1 + v13, v2, v13]) / total, nu, total,
        salib=("unif", (-pi, pi)), from_z=x,
    )  # fmt: skip


def sobol_g(a: tuple[float, ...] = (0.0, 1.0, 4.5, 9.0, 99.0, 99.0, 99.0, 99.0)) -> TestFunction:
    """`prod (|4 x_i - 2| + a_i) / (1 + a_i)`, x uniform on (0, 1) (Saltelli and Sobol 1995)."""
    size = np.array(a)
    part = 1 / (3 * (1 + size) ** 2)
    whole = float(np.prod(1 + part) - 1)

    def factors(z: Array) -> Array:
        return np.asarray((np.abs(4 * norm.cdf(z) - 2) + size) / (1 + size))

    def gradient(z: Array) -> Array:
        f = factors(z)
        slope = 4 * np.sign(norm.cdf(z) - 0.5) * norm.pdf(z) / (1 + size)
        return np.asarray(f.prod(1, keepdims=True) / f * slope)

    u = (np.arange(200_000) + 0.5) / 200_000
    steep = np.mean((4 * norm.pdf(norm.ppf(u))) ** 2)
    nu = steep / (1 + size) ** 2 * np.prod(1 + part) / (1 + part)
    total = part * np.prod(1 + part) / (1 + part) / whole
    names = tuple(f"x{i + 1}" for i in range(len(a)))
    return TestFunction(
        "Sobol g", names, lambda z: np.asarray(factors(z).prod(1)), gradient, part / whole, total, nu, whole,
        salib=("unif", (0.0, 1.0)), from_z=lambda z: np.asarray(norm.cdf(z)),
    )  # fmt: skip


def additive_normal(slopes: tuple[float, ...] = (3.0, 2.0, 1.0, 0.5, 0.0)) -> TestFunction:
    """`sum a_i x_i`, x standard normal: shares, indices and bounds are all `a_i^2 / sum a^2`."""
    a = np.array(slopes)
    share = a**2 / (a**2).sum()
    names = tuple(f"x{i + 1}" for i in range(len(a)))
    return TestFunction(
        "additive, normal", names, lambda z: np.asarray(z @ a), lambda z: np.broadcast_to(a, z.shape), share, share, a**2,
        float((a**2).sum()), share,
    )  # fmt: skip


def additive_lognormal(sizes: tuple[float, ...] = (0.9, 0.7, 0.5, 0.3, 0.1)) -> TestFunction:
    """`sum exp(s_i z_i)`: log-normal inputs, which have no Poincare constant of their own."""
    s = np.array(sizes)
    parts = np.exp(s**2) * (np.exp(s**2) - 1)
    names = tuple(f"x{i + 1}" for i in range(len(s)))
    share = parts / parts.sum()
    return TestFunction(
        "additive, log-normal", names, lambda z: np.asarray(np.exp(s * z).sum(1)), lambda z: np.asarray(s * np.exp(s * z)), share,
        share, s**2 * np.exp(2 * s**2), float(parts.sum()), share,
    )  # fmt: skip


def product_lognormal(sizes: tuple[float, ...] = (0.5, 0.4, 0.2, 0.1)) -> TestFunction:
    """`prod exp(s_i z_i)`: all interactions; the shares are those of the logarithm, `s_i^2 / sum s^2`."""
    s = np.array(sizes)
    both = (s**2).sum()
    whole = float(np.exp(both) * (np.exp(both) - 1))
    first = np.exp(both) * (np.exp(s**2) - 1) / whole
    total = np.exp(both) * np.exp(both - s**2) * (np.exp(s**2) - 1) / whole
    names = tuple(f"x{i + 1}" for i in range(len(s)))
    return TestFunction(
        "product of log-normals", names, lambda z: np.asarray(np.exp(z @ s)), lambda z: np.asarray(s * np.exp(z @ s)[:, None]), first,
        total, s**2 * np.exp(2 * both), whole, s**2 / both,
    )  # fmt: skip


def all_functions() -> tuple[TestFunction, ...]:
    """Every test function."""
    return ishigami(), sobol_g(), additive_normal(), additive_lognormal(), product_lognormal()
