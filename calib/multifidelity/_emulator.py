"""An emulator of the mean outputs of a stochastic simulator near a point, from runs and their Jacobians.

A small agent-based model scatters around its expectation far more than the real system does. Comparing one run with the
data lets that chance into the likelihood, where it can only raise the fitted dispersion. What belongs there is the
expectation over random-number streams: here estimated by carrying every run of a pool, with its own Jacobian, to the point asked
for and averaging. Positive outputs that grow multiplicatively are carried on the log scale, others as they are, and along features
in which they are straightest. What is left of curvature is a quadratic term, fitted to more runs around (`_quadratic`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from calib._short_repr import short_repr
from calib.multifidelity._quadratic import QuadraticTerm
from calib.multifidelity._quadratic_fit import fit_quadratic

FeatureMap = Callable[[Tensor], Tensor]
"""Features `[*batch, E]` of `z [*batch, D]`, E <= D, through which alone the outputs depend on z.

With a method `with_back` a compiled likelihood needs no graph of it (`calib._slopes`)."""
Link = Literal["log", "identity"]
"""Scale on which outputs are straight in the features: logarithms of positive outputs, or the outputs themselves."""

MAX_RESIDUAL = 1.5  # relative residuals are cut here: first order means nothing beyond
MAX_CARRY = 2.0  # largest change of a log output over which a run is carried


@dataclass(frozen=True, eq=False)
class Runs:
    """What an emulator is fitted to.

    Attributes:
        z: `[S, D]`, outputs: `[S, M]`, jacobian: `[S, M, D]`: runs with Jacobians, of which the slopes come; so does the intercept where
            there are no values.
        values: `[V, D]` and `[V, M]`, runs without Jacobians, which set the intercept and, with `quadratic`, the curvature.
        slopes: `[N, D]`, `[N, M]` and `[N, M, D]`, as z, outputs and jacobian, of runs that lie as the posterior does: where these are
            given, an emulator with a quadratic term takes its slopes from them, and learns its curvature from them too.
        quadratic: whether to fit a quadratic term; the values should then lie as the posterior does.
    """

    __repr__ = short_repr

    z: Tensor
    outputs: Tensor
    jacobian: Tensor
    values: tuple[Tensor, Tensor] | None = None
    slopes: tuple[Tensor, Tensor, Tensor] | None = None
    quadratic: bool = False


@dataclass(frozen=True, eq=False)
class Emulator:
    """`link(E[output](z)) = intercept + slope x + quadratic(x)`, `x = feature_map(z) - centre`.

    Attributes:
        centre: `[E]`. intercept: `[M]`. slope: `[M, E]`. feature_map: z to features.
        residual: `[S, M]` how far each of the S carried runs that the mean rests on lies from it; relative to it with the log link.
        quadratic: what straight lines miss, or None.
        link: scale on which outputs are straight.
    """

    __repr__ = short_repr

    centre: Tensor
    intercept: Tensor
    slope: Tensor
    residual: Tensor
    feature_map: FeatureMap
    quadratic: QuadraticTerm | None = None
    link: Link = "log"

    @property
    def runs(self) -> int:
        """Number of runs S that the mean rests on."""
        return len(self.residual)

    @property
    def scaled_residual(self) -> Tensor:
        """`[S, M]` residuals with the variance of one run's."""
        if self.quadratic is None:
            return self.residual * (self.runs / (self.runs - 1)) ** 0.5
        return self.quadratic.scaled_residual

    @property
    def standard_error(self) -> Tensor:
        """`[M]` standard error of the mean, typical of the runs; relative to it with the log link."""
        return self.residual.std(0) / self.runs**0.5 if self.quadratic is None else self.quadratic.typical_error

    def standard_error_at(self, z: Tensor) -> Tensor:
        """The same at `z [*batch, D]`, `[*batch, M]`."""
        if self.quadratic is None:
            return self.standard_error.expand(*z.shape[:-1], -1)
        return self.quadratic.error(self.feature_map(z) - self.centre)

    def of(self, which: Tensor) -> Emulator:
        """The same for some outputs, a mask or an index into M."""
        quadratic = None if self.quadratic is None else self.quadratic.of(which)
        some = (self.intercept[which], self.slope[which], self.residual[:, which])
        return Emulator(self.centre, *some, self.feature_map, quadratic, self.link)

    def predict(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Mean outputs `[P, M]` at `z [P, D]` and the variance `[P, M]` of that mean; relative to its square with the log link."""
        mean, predictive, noise = self.predict_factors(z)
        return mean, predictive[:, None] * noise

    def predict_factors(self, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """`predict`, the variance as two factors `[P]` and `[M]`, in one pass.

        The second factor is the variance of one run's residual, the first that of the mean over it.
        """
        x = self.feature_map(z) - self.centre
        line = self.intercept + x @ self.slope.mT
        if self.quadratic is None:
            return self._output(line), torch.full_like(x[..., 0], 1 / self.runs), self.residual.var(0)
        return self._output(line + self.quadratic(x)), self.quadratic.predictive(x), self.quadratic.noise

    def __call__(self, z: Tensor) -> Tensor:
        """Mean outputs `[*batch, M]` at `z [*batch, D]`."""
        x = self.feature_map(z) - self.centre
        line = self.intercept + x @ self.slope.mT
        return self._output(line if self.quadratic is None else line + self.quadratic(x))

    def link_slope(self, z: Tensor) -> Tensor:
        """Derivatives of the linked means in z, `[*batch, M, D]`."""
        slope = self.slope
        if self.quadratic is not None:
            slope = self.slope + self.quadratic.slope(self.feature_map(z) - self.centre)
        return slope @ feature_jacobian(self.feature_map, z)

    def jacobian(self, z: Tensor) -> Tensor:
        """Derivatives of the means in z, `[*batch, M, D]`."""
        return self(z)[..., None] * self.link_slope(z) if self.link == "log" else self.link_slope(z)

    def _output(self, linked: Tensor) -> Tensor:
        return linked.exp() if self.link == "log" else linked


def identity(z: Tensor) -> Tensor:
    """The feature map that leaves z as it is."""
    return z


def feature_jacobian(feature_map: FeatureMap, z: Tensor) -> Tensor:
    """`d feature / d z`, `[*batch, E, D]`."""
    if feature_map is identity:
        return torch.eye(z.shape[-1]).to(z).expand(*z.shape[:-1], -1, -1)
    flat = z.detach().reshape(-1, z.shape[-1])
    slope: Tensor = torch.func.vmap(torch.func.jacfwd(feature_map))(flat)
    return slope.reshape(*z.shape[:-1], *slope.shape[1:])


def to_features(feature_map: FeatureMap, z: Tensor, jacobian: Tensor) -> Tensor:
    """Derivatives in the features, `[S, M, E]`, from those in z, `[S, M, D]`, at `z [S, D]`.

    With A = d feature / d z of full row rank and J_z = J_f A, J_f = J_z A' (A A')^-1, exactly.
    """
    if feature_map is identity:
        return jacobian
    slope = feature_jacobian(feature_map, z)
    return torch.linalg.solve(slope @ slope.mT, slope @ jacobian.mT).mT


@dataclass(frozen=True)
class EmulatorSettings:
    """How an emulator is fitted.

    Attributes:
        floor: with the log link outputs are treated as at least this.
        feature_map: features in which linked outputs are taken as straight lines.
        link: scale on which they are straight.
        wanted: `[M]` mask of the outputs whose curvature is fitted; None for all.
        smear: with the log link, whether the intercept is that of the mean of runs (True) or of their median.
        passes: refinements of slope and mean by one another.
    """

    __repr__ = short_repr

    floor: float = 0.0
    feature_map: FeatureMap = field(default=identity)
    link: Link = "log"
    wanted: Tensor | None = None
    smear: bool = True
    passes: int = 3

    def fit(self, runs: Runs) -> Emulator:
        """Estimate the mean outputs around the mean of the runs.

        With the log link slopes are ratios of sums (summed Jacobians over summed outputs), so that runs in which an output is nearly zero do
        not drown the others. With a quadratic term runs are regressed on the log scale, and the mean of the exponentials of their residuals
        puts the intercept back at the mean (smearing), unless their median is wanted.

        Raises:
            ValueError: fewer than two runs, or an entry is not finite.

        References:
            Duan, N. (1983). Smearing estimate: a nonparametric retransformation method. JASA 78.
        """
        level = runs.values if runs.values is not None and len(runs.values[0]) else (runs.z, runs.outputs)
        if min(len(runs.z), len(level[0])) < 2:
            raise ValueError(
                f"{min(len(runs.z), len(level[0]))} run was given to fit an emulator; at least 2 are needed to tell mean from chance."
            )
        some = runs.slopes if runs.quadratic and runs.slopes is not None else (runs.z, runs.outputs, runs.jacobian)
        if not all(torch.isfinite(x).all() for x in (*some, level[1])):
            raise ValueError("outputs or Jacobians of the pool are not finite; leave out the runs that failed.")
        features = self.feature_map(some[0])
        derivative, at = to_features(self.feature_map, some[0], some[2]), self.feature_map(level[0])
        centre = at.mean(0) if runs.quadratic else features.mean(0)
        if self.link == "identity":
            slope, relative, reached = derivative.mean(0), derivative, level[1]
        else:
            value, reached = some[1].clamp_min(self.floor), level[1].clamp_min(self.floor)
            slope, relative = self._log_slope(features, centre, value, derivative), derivative / value[..., None]
        linked = reached.log() if self.link == "log" else reached
        if runs.quadratic:
            rest = linked - (at - centre) @ slope.mT
            known = None if runs.slopes is None else (features - centre, relative - slope)
            return self._bent(centre, slope, at - centre, rest, known)
        if self.link == "identity" or not self.smear:
            carried = linked - (at - centre) @ slope.mT
            return Emulator(
                centre, carried.mean(0), slope, carried - carried.mean(0), self.feature_map, None, self.link
            )
        carried = _carry(at, centre, slope) * reached
        mean = carried.mean(0)
        return Emulator(centre, mean.log(), slope, carried / mean - 1, self.feature_map)

    def _log_slope(self, features: Tensor, centre: Tensor, value: Tensor, derivative: Tensor) -> Tensor:
        weight = torch.ones_like(value)
        for _ in range(self.passes):
            total = (weight * value).sum(0)
            slope = torch.einsum("sm,sme->me", weight, derivative) / total[:, None]
            weight = _carry(features, centre, slope)
        return slope

    def _bent(
        self, centre: Tensor, slope: Tensor, x: Tensor, rest: Tensor, known: tuple[Tensor, Tensor] | None
    ) -> Emulator:
        """With the quadratic term of what the lines leave, `rest [V, M]` at `x [V, E]`."""
        term = fit_quadratic(x, rest - rest.mean(0), slope, known, self.wanted)
        if self.link == "identity" or not self.smear:
            return Emulator(centre, rest.mean(0), slope, term.residual, self.feature_map, term, self.link)
        smear = term.scaled_residual.clamp(-MAX_RESIDUAL, MAX_RESIDUAL).exp().mean(0).log()
        return Emulator(centre, rest.mean(0) + smear, slope, torch.expm1(term.residual), self.feature_map, term)


def _carry(features: Tensor, centre: Tensor, slope: Tensor) -> Tensor:
    return torch.exp((-(features - centre) @ slope.mT).clamp(-MAX_CARRY, MAX_CARRY))
