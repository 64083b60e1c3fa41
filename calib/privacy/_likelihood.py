"""The likelihood of counts that carry known noise: what was counted is summed over."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from calib._short_repr import short_repr
from calib.multifidelity._densities import log_levels
from calib.multifidelity._observations import StreamObservations
from calib.privacy._discrete_gaussian import log_probability

REACH = 7.0
"""Standard deviations of the noise over which is summed: beyond lie 3e-12 of it."""


@dataclass(frozen=True, eq=False)
class NoisyObservations:
    """Observations of streams whose counts carry discrete Gaussian noise; an `Observations` of `calib.multifidelity`.

    With x what was counted, negative binomial, and y = x + noise what was released, `p(y) = sum over x of p(x) p(noise = y - x)`.

    Attributes:
        streams: the released counts and their streams, as if they were without noise.
        sd: `[counts]` parameter of the noise of each count.
    """

    __repr__ = short_repr

    streams: StreamObservations
    sd: Tensor

    def __post_init__(self) -> None:
        if self.sd.shape != (self.streams.counts,) or not bool((self.sd > 0).all()):
            raise ValueError(
                f"the noise has shape {tuple(self.sd.shape)}, expected a positive sd for each of {self.streams.counts} counts."
            )

    @property
    def which(self) -> Tensor:
        """See `Observations`."""
        return self.streams.which

    @property
    def integrates_error(self) -> bool:
        """See `Observations`."""
        return True

    def log_likelihood(self, z: Tensor, mean: Tensor, variance: Tensor | None = None) -> Tensor:
        """See `Observations`."""
        own = self.streams
        scale = own.scales(z.index_select(-1, own.at))
        relative = scale[:, 1:] ** 2 @ own.by
        if variance is not None:
            relative = relative + variance
        mean = torch.where(mean < own.floor, own.floor + 0 * mean, mean)
        parts = [own.counts, len(own.data) - own.counts]
        (count, level), (of_count, of_level), (observed_counts, measured) = (
            x.split(parts, -1) for x in (mean, relative, own.data)
        )
        cluster = torch.where(own.overdispersed, scale[:, :1].clamp_min(1.0), 1.0)
        total = log_levels(measured, level, of_level) if len(measured) else torch.zeros(len(z)).to(mean)
        for sd in self.sd.unique().tolist():
            at = self.sd == sd
            total = total + _log_noisy(observed_counts[at], sd, count[:, at], cluster[:, at], of_count[:, at])
        return total

    def information(self, z: Tensor, mean: Tensor, jacobian: Tensor, variance: Tensor | None = None) -> Tensor:
        """See `Observations`: as of normal variables, to whose variance that of the noise is added."""
        extra = torch.zeros_like(mean) if variance is None else variance.expand_as(mean).clone()
        at = self.which[: self.streams.counts]
        extra[:, at] += self.sd**2 / mean[:, at].clamp_min(self.streams.floor) ** 2
        return self.streams.information(z, mean, jacobian, extra)

    def weight(self, z: Tensor, mean: Tensor) -> Tensor:
        """See `Observations`."""
        noise = torch.nn.functional.pad(self.sd**2, (0, len(self.streams.data) - self.streams.counts))
        return 1 / (1 / self.streams.weight(z, mean) + noise / mean**2)

    def compiled(self, emulator: object, errors: object) -> None:
        """There is none."""
        return


def _log_noisy(observed_counts: Tensor, sd: float, mean: Tensor, cluster: Tensor, relative: Tensor) -> Tensor:
    """`[P]` of released counts `observed_counts [F]` with noise of one sd, given means, overdispersions and relative variances `[P, F]`."""
    reach = math.ceil(REACH * sd)
    first = (observed_counts - reach).clamp_min(0.0)
    x = first[:, None] + torch.arange(2 * reach + 1, dtype=observed_counts.dtype)  # [F, L]
    noise = log_probability(observed_counts[:, None] - x, sd)
    odds = cluster - 1 + relative * mean
    size = mean / odds
    log = (
        x * odds.log()[..., None]
        - (size[..., None] + x) * odds.log1p()[..., None]
        + (size[..., None] + x).lgamma()
        - size.lgamma()[..., None]
        - (x + 1).lgamma()
    )
    return (log + noise).logsumexp(-1).sum(-1)


def naive(streams: StreamObservations) -> StreamObservations:
    """The same released counts taken at their word: negative ones as zero, the noise forgotten. For comparison."""
    kept = tuple((replace(s, data=s.data.clamp_min(0.0)), places) for s, places in streams.streams)
    data = torch.cat([streams.data[: streams.counts].clamp_min(0.0), streams.data[streams.counts :]])
    return replace(streams, data=data, streams=kept)
