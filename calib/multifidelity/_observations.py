"""Counts and log-normal observations around expected outputs, of any number of data streams."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.distributions import LogNormal

from calib._short_repr import short_repr
from calib._space import ParameterSpace
from calib.multifidelity._compiled_likelihood import CompiledLikelihood, compile_likelihood
from calib.multifidelity._densities import log_counts, log_levels
from calib.multifidelity._emulator import Emulator
from calib.multifidelity._shared_error import SharedError


@dataclass(frozen=True, eq=False)
class Stream:
    """Observations of one kind.

    Attributes:
        outputs: range of the simulator's outputs, one for each observation that there could be, the place counting fastest.
        data: `[time, place]` what was observed; NaN where nothing was, or where the likelihood is to leave it out.
        family: "counts", negative binomial with the variance `overdispersion * mean + relative_sd^2 * mean^2`, or "log-normal", whose
            logarithm has the standard deviation relative_sd.
        relative_sd: name of the parameter; its prior is log-normal.
        overdispersion: name of the NB1 overdispersion, at least 1; None for 1. All streams share one.
    """

    outputs: slice
    data: Tensor
    family: Literal["counts", "log-normal"]
    relative_sd: str
    overdispersion: str | None = None


@dataclass(frozen=True, eq=False)
class StreamObservations:
    """Observations of several streams one after the other: counts, then log-normal ones.

    Attributes:
        at: `[1 + R]` where the overdispersion and the R relative standard deviations stand in z.
        loc, width: `[1 + R]` of their log-normal priors; both 0 for an overdispersion of 1.
        which: `[F]` where each stands among the outputs.
        data: `[F]` what was observed.
        counts: how many of them are counts.
        by: `[R, F]` 1 for the relative standard deviation of an observation, else 0.
        overdispersed: `[counts]` which counts are.
        floor: smallest mean that is told from zero.
        streams: in the order given, each with its two places in `at`.
    """

    __repr__ = short_repr

    at: Tensor
    loc: Tensor
    width: Tensor
    which: Tensor
    data: Tensor
    counts: int
    by: Tensor
    overdispersed: Tensor
    floor: float
    streams: tuple[tuple[Stream, tuple[int, int]], ...]

    @property
    def integrates_error(self) -> bool:
        """A relative variance of the outputs adds to that of the observations."""
        return True

    def log_likelihood(self, z: Tensor, mean: Tensor, variance: Tensor | None = None) -> Tensor:
        """See `Observations`."""
        scale = self.scales(z.index_select(-1, self.at))
        relative = scale[:, 1:] ** 2 @ self.by
        if variance is not None:
            relative = relative + variance
        # NaN stays NaN: a failed simulation must not pass for a small one
        mean = torch.where(mean < self.floor, self.floor + 0 * mean, mean)
        parts = [self.counts, len(self.data) - self.counts]
        (count, level), (of_count, of_level), (counted, measured) = (
            x.split(parts, -1) for x in (mean, relative, self.data)
        )
        cluster = torch.where(self.overdispersed, scale[:, :1].clamp_min(1.0), 1.0)
        return log_counts(counted, count, cluster, of_count) + log_levels(measured, level, of_level)

    def information(self, z: Tensor, mean: Tensor, jacobian: Tensor, variance: Tensor | None = None) -> Tensor:
        """See `Observations`: as of normal variables with the same mean and variance."""
        mean, rows = mean.clamp_min(self.floor), jacobian.movedim(-1, 0)
        parts = [
            self._information_of(
                stream, places, z, _block(stream, mean), _block(stream, rows),
                None if variance is None else _block(stream, variance),
            )
            for stream, places in self.streams
        ]  # fmt: skip
        return torch.stack(parts).sum(0)

    def _information_of(
        self, stream: Stream, places: tuple[int, int], z: Tensor, mean: Tensor, rows: Tensor, variance: Tensor | None
    ) -> Tensor:
        """Of one stream, with `mean [P, T, K]`, derivatives `rows [D, P, T, K]` and `variance [P, T, K]`: `[P, D, D]`."""
        place = torch.tensor(places, device=z.device)
        at, few = self.at[place], z.index_select(-1, self.at[place])

        def log_variance(point: Tensor) -> Tensor:
            sd, over = (self.loc[place] + self.width[place] * point).exp()[..., None, None].unbind(1)
            relative = sd**2 if variance is None else sd**2 + variance
            if stream.family == "log-normal":
                return (relative * mean**2).log()
            cluster = over.clamp_min(1.0) if stream.overdispersion else torch.ones_like(over)
            return (cluster * mean + relative * mean**2).log()

        chosen = torch.isfinite(stream.data).to(mean)
        weight = chosen / log_variance(few).exp()
        out = torch.einsum("dptk,ptk,eptk->pde", rows, weight, rows)
        # the coordinates that shape the variance: information (d log variance)^2 / 2
        basis = torch.eye(2, dtype=z.dtype, device=z.device)
        slopes = torch.stack([torch.func.jvp(log_variance, (few,), (e.expand_as(few),))[1] for e in basis])
        block = 0.5 * torch.einsum("aptk,tk,bptk->pab", slopes, chosen, slopes)
        out[:, at[:, None], at] += block
        return out

    def weight(self, z: Tensor, mean: Tensor) -> Tensor:
        """See `Observations`."""
        scale = self.scales(z.index_select(-1, self.at))
        over = torch.where(self.overdispersed, scale[:, :1].clamp_min(1.0), 1.0)
        over = torch.nn.functional.pad(over, (0, len(self.data) - self.counts))  # none of log-normal observations
        relative = scale[:, 1:] ** 2 @ self.by
        weight = mean**2 / (over * mean + relative * mean**2)
        # the square of a mean that an emulator extrapolates leaves the range of numbers before the weight does
        limit = 1.0 / (over / mean.clamp_min(torch.finfo(mean.dtype).tiny) + relative)
        return torch.where(torch.isfinite(weight), weight, limit)

    def compiled(self, emulator: Emulator, errors: SharedError | None) -> CompiledStreams | None:
        """See `Observations`; there is one for an emulator with a quadratic term."""
        if emulator.quadratic is None:
            return None
        likelihood = compile_likelihood(
            emulator, errors, self.data, self.counts, self.by, self.overdispersed, self.floor
        )
        return CompiledStreams(self, likelihood)

    def scales(self, few: Tensor) -> Tensor:
        """Overdispersion and relative standard deviations at their coordinates, `[P, 1 + R]`."""
        return (self.loc + self.width * few).exp()


@dataclass(frozen=True, eq=False)
class CompiledStreams:
    """Log likelihood of stream observations by an emulator with a quadratic term, compiled.

    Attributes:
        observations: the data. likelihood: of them, given their dispersion.
    """

    observations: StreamObservations
    likelihood: CompiledLikelihood

    def __call__(self, z: Tensor, drawn: Tensor) -> Tensor:
        """See `Compiled`."""
        scale = self.observations.scales(z.index_select(-1, self.observations.at))
        return self.likelihood(z, drawn, scale)

    def value_and_gradients(self, z: Tensor, drawn: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """See `Compiled`."""
        own = self.observations
        scale = own.scales(z.detach().index_select(-1, own.at))
        value, to_z, to_errors, to_scale = self.likelihood.value_and_gradients(z, drawn, scale)
        return value, to_z.index_add(-1, own.at, to_scale * scale * own.width), to_errors


def observe(space: ParameterSpace, streams: Sequence[Stream], *, floor: float) -> StreamObservations:
    """Gather data streams.

    Args:
        space: the parameters, among them those that observations scatter by.
        streams: the data.
        floor: smallest expected output that is told from zero.

    Raises:
        ValueError: the streams name two overdispersions, or a prior is not log-normal.
    """
    by = tuple(dict.fromkeys(s.relative_sd for s in sorted(streams, key=_family)))
    over = {stream.overdispersion for stream in streams} - {None}
    if len(over) > 1:
        raise ValueError(f"the streams name the overdispersions {', '.join(sorted(map(str, over)))}, expected one.")
    names = (*map(str, over), *by)
    loc, width = _log_normal(space.subset(names))
    at = torch.tensor([space.slice_of(name).start for name in names])
    if not over:  # 1, whatever the first coordinate is
        at, loc, width = (torch.cat([x.new_zeros(1), x]) for x in (at, loc, width))
    kept = tuple((s, (1 + by.index(s.relative_sd), 0)) for s in streams)
    rows = sorted(kept, key=lambda pair: _family(pair[0]))
    series = [s.data.flatten() for s, _ in rows]
    masks = [torch.isfinite(x) for x in series]
    data = torch.cat([x[mask] for x, mask in zip(series, masks, strict=True)])
    which = torch.cat([s.outputs.start + mask.nonzero()[:, 0] for (s, _), mask in zip(rows, masks, strict=True)])
    number = [int(mask.sum()) for mask in masks]
    counts = sum(n for n, (s, _) in zip(number, rows, strict=True) if s.family == "counts")
    place = torch.cat([torch.full((n,), at_sd - 1) for n, (_, (at_sd, _)) in zip(number, rows, strict=True)])
    scatter = torch.nn.functional.one_hot(place, len(by)).mT.to(data)
    overdispersed = torch.cat(
        [torch.full((n,), s.overdispersion is not None) for n, (s, _) in zip(number, rows, strict=True)]
    )
    return StreamObservations(at, loc, width, which, data, counts, scatter, overdispersed[:counts], floor, kept)


def _block(stream: Stream, x: Tensor) -> Tensor:
    """`[..., time, place]` of `x [..., M]`."""
    return x[..., stream.outputs].unflatten(-1, stream.data.shape)


def _family(stream: Stream) -> bool:
    """Counts come first."""
    return stream.family != "counts"


def _log_normal(space: ParameterSpace) -> tuple[Tensor, Tensor]:
    """`[parameter]` location and width of priors, each log-normal."""
    loc, width = list[Tensor](), list[Tensor]()
    for p in space.parameters:
        if not isinstance(p.prior, LogNormal):
            raise ValueError(
                f"the prior of {p.name!r}, by which observations scatter, is {p.map.family}; make it log-normal."
            )
        loc.append(p.prior.loc)
        width.append(p.prior.scale)
    return torch.stack(loc).double(), torch.stack(width).double()
