"""The likelihood by a local mean: the laws of the model for the figures seen alone, without running the model.

Fits and chains on a local mean ask for it many thousands of times. The Pyro model remains the definition: tests hold this equal to it.
"""

from __future__ import annotations

from dataclasses import dataclass

import pyro.distributions as dist
import torch
from torch import Tensor

from calib import ParameterSpace
from calib._common_error import CommonError
from calib._emulated import EmulatedLikelihood, emulated_likelihood
from calib._laws import log_counts, log_levels
from calib._local_mean import LocalMean
from epi.data import Data, Layout
from epi.errors import StudyError
from epi.model.distributions import SMALLEST_MEAN, floored
from epi.study import BetaBinomial


@dataclass(frozen=True, eq=False)
class Seen:
    """The figures seen, side by side: counts, then levels.

    Attributes:
        at: where the size of outbreaks and then the parameters that figures scatter by stand in z.
        loc, width: `[1 + parameter]` of their log-normal priors.
        which: `[F]` where each stands among the expected figures (`Layout.flat`).
        figures: `[F]` what was seen.
        counts: how many of them are counts.
        scatter: `[parameter, F]` 1 where a figure scatters by a parameter, else 0.
        clustered: `[counts]` which come in outbreaks.
    """

    at: Tensor
    loc: Tensor
    width: Tensor
    which: Tensor
    figures: Tensor
    counts: int
    scatter: Tensor
    clustered: Tensor

    def log_likelihood(self, z: Tensor, mean: Tensor, error: Tensor | None = None) -> Tensor:
        """`[P]` log likelihood at `z [P, D]`.

        Args:
            z: `[P, D]`.
            mean: `[P, F]` the expected figures.
            error: `[P, F]` their relative variance; None where they are exact.
        """
        scale = self._scale(z)
        relative = scale[:, 1:] ** 2 @ self.scatter
        if error is not None:
            relative = relative + error
        parts = [self.counts, len(self.figures) - self.counts]
        (count, level), (of_count, of_level), (counted, measured) = (
            x.split(parts, -1) for x in (floored(mean), relative, self.figures)
        )
        cluster = torch.where(self.clustered, scale[:, :1].clamp_min(1.0), 1.0)
        return log_counts(counted, count, cluster, of_count) + log_levels(measured, level, of_level)

    def emulated(self, local: LocalMean, errors: CommonError | None) -> Emulated:
        """`log_likelihood` by a bent local mean of the figures seen, compiled.

        Args:
            local: of the figures seen.
            errors: that the figures share; None where what is not known of the mean counts as independent noise.
        """
        likelihood = emulated_likelihood(
            local, errors, self.figures, self.counts, self.scatter, self.clustered, SMALLEST_MEAN
        )
        return Emulated(self, likelihood)

    def _scale(self, z: Tensor) -> Tensor:
        """`[P, 1 + parameter]` size of outbreaks and the parameters that figures scatter by."""
        return (self.loc + self.width * z.index_select(-1, self.at)).exp()


@dataclass(frozen=True, eq=False)
class Emulated:
    """Log likelihood of the figures seen by a bent local mean, compiled.

    Attributes:
        seen: the figures. likelihood: of them, given the parameters that they scatter by.
    """

    seen: Seen
    likelihood: EmulatedLikelihood

    def __call__(self, z: Tensor, drawn: Tensor) -> Tensor:
        """`[P]` at `z [P, D]` and errors `drawn [P, K]` (K = 0 without any), differentiable once."""
        return self.likelihood(z, drawn, self.seen._scale(z))

    def with_slopes(self, z: Tensor, drawn: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """`[P]` and its derivatives `[P, D]` and `[P, K]`, without a graph."""
        seen, scale = self.seen, self.seen._scale(z.detach())
        value, to_z, to_errors, to_scale = self.likelihood.with_slopes(z, drawn, scale)
        return value, to_z.index_add(-1, seen.at, to_scale * scale * seen.width), to_errors


def make_seen(space: ParameterSpace, data: Data, layout: Layout) -> Seen:
    """Gather the observations that the likelihood uses."""
    study, streams = layout.study, {s.name: s for s in layout.study.observed}
    offset = {name: where.start for name, where in layout.slices.items()}
    for name in data.signals:
        if isinstance(streams[name].family, BetaBinomial):
            raise StudyError(
                f"Stream {name!r} is beta-binomial, which fits on an emulator do not have yet; leave it out of the likelihood with --signals."
            )
    signals = sorted(data.signals, key=lambda name: not streams[name].counts)
    seen = {name: data.seen[name].flatten().nonzero()[:, 0] for name in signals}
    of = {name: study.dispersion(name) or "" for name in signals}
    dispersions = tuple(dict.fromkeys(of.values()))
    by = [torch.full((len(seen[name]),), dispersions.index(of[name])) for name in signals]
    outbreaks = [torch.full((len(seen[name]),), streams[name].clustered) for name in signals]
    over = dict.fromkeys(study.overdispersion(name) for name in signals if streams[name].clustered)
    if len(over) > 1:
        raise StudyError(
            f"Streams {', '.join(signals)} have the overdispersions {', '.join(map(str, over))}, and fits on an emulator take one for all; "
            "share one Parameter among them."
        )
    counts = sum(len(seen[name]) for name in signals if streams[name].counts)
    figures = torch.cat([data.counts[name].flatten()[seen[name]] for name in signals])
    # without outbreaks any dispersion may stand in its place: nothing is clustered, so that it has no effect
    first = next(iter(over), None) or next(
        (o for s in study.observed if (o := study.overdispersion(s.name))), dispersions[0]
    )
    names = (first, *dispersions)
    return Seen(
        torch.tensor([space.slice_of(name).start for name in names]),
        *_log_normal(space, names),
        torch.cat([offset[name] + seen[name] for name in signals]),
        figures,
        counts,
        torch.nn.functional.one_hot(torch.cat(by), len(dispersions)).mT.to(figures),
        torch.cat(outbreaks)[:counts],
    )


def _log_normal(space: ParameterSpace, names: tuple[str, ...]) -> tuple[Tensor, Tensor]:
    """`[parameter]` location and width of priors, each log-normal."""
    loc, width = list[Tensor](), list[Tensor]()
    priors = {p.name: p for p in space.parameters}
    for name in names:
        p = priors[name]
        if not isinstance(p.prior, dist.LogNormal):
            raise ValueError(
                f"the prior of {p.name!r}, by which figures scatter, is {p.map.family}; make it log-normal."
            )
        loc.append(p.prior.loc)
        width.append(p.prior.scale)
    return torch.stack(loc).double(), torch.stack(width).double()
