"""The mean outputs of a noisy simulator near a point, from runs and their Jacobians.

A small agent-based model scatters around its expectation far more than the real system does. Comparing one run with the
data lets that chance into the likelihood, where it can only widen the fitted dispersion. What belongs there is the
expectation over random streams: here estimated by carrying every run of a pool, with its own Jacobian, to the point asked
for and averaging. Outputs are positive and grow multiplicatively, so runs are carried on the log scale, and along the coordinates
in which the logs are straightest (the chart). What is left of curvature is learnt from more runs around (`calib._bend`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from calib._bend import Bend
from calib._bend_fit import learn_bend

Chart = Callable[[Tensor], Tensor]
"""Coordinates `eta [*batch, E]` of `z [*batch, D]`, E <= D, through which alone the outputs hang on z.

With a method `with_back` a compiled likelihood needs no graph of it (`calib._slopes`)."""

LARGEST_STRAY = 1.5  # relative strays are cut here: first order means nothing beyond
LONGEST = 2.0  # largest change of a log output over which a run is carried


@dataclass(frozen=True, eq=False)
class LocalMean:
    """`log E[output](z) = log_mean + slope x + bend(x)`, `x = eta(z) - centre`.

    Attributes:
        centre: `[E]`. log_mean: `[M]`. slope: `[M, E]`. chart: z to eta.
        stray: `[S, M]` how far each of the S carried runs that the mean rests on lies from it, relative to it.
        bend: what straight lines miss, or None.
    """

    centre: Tensor
    log_mean: Tensor
    slope: Tensor
    stray: Tensor
    chart: Chart
    bend: Bend | None = None

    @property
    def runs(self) -> int:
        """Number of runs S that the mean rests on."""
        return len(self.stray)

    @property
    def unit(self) -> Tensor:
        """`[S, M]` strays with the variance of one run's."""
        return self.stray * (self.runs / (self.runs - 1)) ** 0.5 if self.bend is None else self.bend.unit

    @property
    def relative_error(self) -> Tensor:
        """`[M]` standard error of the mean relative to it, typical of the runs."""
        return self.stray.std(0) / self.runs**0.5 if self.bend is None else self.bend.typical_error

    def relative_error_at(self, z: Tensor) -> Tensor:
        """The same at `z [*batch, D]`, `[*batch, M]`."""
        if self.bend is None:
            return self.relative_error.expand(*z.shape[:-1], -1)
        return self.bend.error(self.chart(z) - self.centre)

    def of(self, which: Tensor) -> LocalMean:
        """The same for some outputs, a mask or an index into M."""
        bend = None if self.bend is None else self.bend.of(which)
        return LocalMean(self.centre, self.log_mean[which], self.slope[which], self.stray[:, which], self.chart, bend)

    def with_error(self, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Mean outputs `[P, M]` at `z [P, D]` and their relative variance, as two factors `[P]` and `[M]`, in one pass.

        The second factor is the variance of one run's stray, the first that of the mean over it.
        """
        x = self.chart(z) - self.centre
        line = self.log_mean + x @ self.slope.mT
        if self.bend is None:
            return line.exp(), torch.full_like(x[..., 0], 1 / self.runs), self.stray.var(0)
        return (line + self.bend(x)).exp(), self.bend.unsure(x), self.bend.noise

    def __call__(self, z: Tensor) -> Tensor:
        """Mean outputs `[*batch, M]` at `z [*batch, D]`."""
        x = self.chart(z) - self.centre
        line = self.log_mean + x @ self.slope.mT
        return torch.exp(line if self.bend is None else line + self.bend(x))

    def log_slope(self, z: Tensor) -> Tensor:
        """Derivatives of the log means in z, `[*batch, M, D]`."""
        slope = self.slope if self.bend is None else self.slope + self.bend.slope(self.chart(z) - self.centre)
        return slope @ chart_slope(self.chart, z)

    def jacobian(self, z: Tensor) -> Tensor:
        """Derivatives of the means in z, `[*batch, M, D]`."""
        return self(z)[..., None] * self.log_slope(z)


def identity(z: Tensor) -> Tensor:
    """The chart that leaves z as it is."""
    return z


def chart_slope(chart: Chart, z: Tensor) -> Tensor:
    """`d eta / d z`, `[*batch, E, D]`."""
    if chart is identity:
        return torch.eye(z.shape[-1]).to(z).expand(*z.shape[:-1], -1, -1)
    flat = z.detach().reshape(-1, z.shape[-1])
    slope: Tensor = torch.func.vmap(torch.func.jacfwd(chart))(flat)
    return slope.reshape(*z.shape[:-1], *slope.shape[1:])


def to_chart(chart: Chart, z: Tensor, jacobian: Tensor) -> Tensor:
    """Derivatives in eta, `[S, M, E]`, from those in z, `[S, M, D]`, at `z [S, D]`.

    With A = d eta / d z of full row rank and J_z = J_eta A, J_eta = J_z A' (A A')^-1, exactly.
    """
    if chart is identity:
        return jacobian
    slope = chart_slope(chart, z)
    return torch.linalg.solve(slope @ slope.mT, slope @ jacobian.mT).mT


def local_mean(
    z: Tensor,
    outputs: Tensor,
    jacobian: Tensor,
    *,
    floor: float,
    chart: Chart = identity,
    values: tuple[Tensor, Tensor] | None = None,
    bent: bool = False,
    slopes: tuple[Tensor, Tensor, Tensor] | None = None,
    wanted: Tensor | None = None,
    passes: int = 3,
) -> LocalMean:
    """Estimate the mean outputs around the mean of `z`.

    Slopes are ratios of sums (summed Jacobians over summed outputs), so that runs in which an output is nearly zero do not
    drown the others.

    Runs without Jacobians are cheap. Where they can be had of a larger system, which strays less and is saturated by chance less,
    they set the level of the mean, and the runs with Jacobians its slopes alone.

    Args:
        z: `[S, D]`, where the runs were made.
        outputs: `[S, M]`, not negative.
        jacobian: `[S, M, D]`, derivatives of the expected outputs.
        floor: outputs are treated as at least this.
        chart: coordinates in which log outputs are taken as straight lines.
        values: `[V, D]` and `[V, M]`, runs that set the level; None for the runs with Jacobians themselves.
        bent: learn from these runs what straight lines miss; they should lie as the posterior does. They are regressed on the log scale,
            and the mean of the exponentials of what they stray puts the level back at the mean (smearing, Duan 1983, JASA 78:605).
        slopes: `[N, D]`, `[N, M]` and `[N, M, D]`, as z, outputs and jacobian, of runs that lie as the posterior does: where these are
            given, a bent mean takes its lines from them, and learns its curvature from them too.
        wanted: `[M]` mask of the outputs that a bent mean bends; None for all.
        passes: refinements of slope and mean by one another.

    Returns:
        The local mean.

    Raises:
        ValueError: fewer than two runs, or an entry is not finite.
    """
    level = values if values is not None and len(values[0]) else (z, outputs)
    if min(len(z), len(level[0])) < 2:
        raise ValueError(
            f"{min(len(z), len(level[0]))} run was given for a local mean; at least 2 are needed to tell mean from chance."
        )
    lines = slopes if bent and slopes is not None else (z, outputs, jacobian)
    if not all(torch.isfinite(x).all() for x in (*lines, level[1])):
        raise ValueError("outputs or Jacobians of the pool are not finite; leave out the runs that failed.")
    eta, value, derivative = chart(lines[0]), lines[1].clamp_min(floor), to_chart(chart, lines[0], lines[2])
    at, reached = chart(level[0]), level[1].clamp_min(floor)
    centre = at.mean(0) if bent else eta.mean(0)
    weight = torch.ones_like(value)
    for _ in range(passes):
        total = (weight * value).sum(0)
        slope = torch.einsum("sm,sme->me", weight, derivative) / total[:, None]
        weight = _carry(eta, centre, slope)
    if bent:
        rest = reached.log() - (at - centre) @ slope.mT
        known = None if slopes is None else (eta - centre, derivative / value[..., None] - slope)
        bend = learn_bend(at - centre, rest - rest.mean(0), slope, known, wanted)
        smear = bend.unit.clamp(-LARGEST_STRAY, LARGEST_STRAY).exp().mean(0).log()
        return LocalMean(centre, rest.mean(0) + smear, slope, torch.expm1(bend.stray), chart, bend)
    carried = _carry(at, centre, slope) * reached
    mean = carried.mean(0)
    return LocalMean(centre, mean.log(), slope, carried / mean - 1, chart)


def _carry(eta: Tensor, centre: Tensor, slope: Tensor) -> Tensor:
    return torch.exp((-(eta - centre) @ slope.mT).clamp(-LONGEST, LONGEST))
