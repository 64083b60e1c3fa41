"""The likelihood by a local mean: the laws of the model for the figures seen alone, without running the model.

Fits and chains on a local mean ask for it many thousands of times. The Pyro model remains the definition: tests hold this equal to it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pyro.distributions as dist
import torch
from torch import Tensor

from calib import ParameterSpace
from calib._common_error import CommonError
from calib._emulated import emulated_likelihood
from calib._laws import log_counts, log_levels
from calib._local_mean import LocalMean
from calib._maps import NormalMap, normal_map
from experiments.nz_calibration._data import Data
from experiments.nz_calibration._model import SMALLEST_MEAN, floored
from experiments.nz_calibration._observation import PLACES
from experiments.nz_calibration._signals import SIGNALS


@dataclass(frozen=True, eq=False)
class Seen:
    """The figures seen, side by side: counts, then levels.

    Attributes:
        at: where the size of outbreaks and then the parameters that figures scatter by stand in z.
        prior: of these parameters.
        which: `[F]` where each stands among the expected figures (`Expected.flat`).
        figures: `[F]` what was seen.
        counts: how many of them are counts.
        scatter: `[parameter, F]` 1 where a figure scatters by a parameter, else 0.
        clustered: `[counts]` which come in outbreaks.
    """

    at: Tensor
    prior: NormalMap
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

    def emulated(self, local: LocalMean, errors: CommonError | None) -> Callable[[Tensor, Tensor], Tensor]:
        """`log_likelihood` by a bent local mean of the figures seen, compiled.

        Args:
            local: of the figures seen.
            errors: that the figures share; None where what is not known of the mean counts as independent noise.

        Returns:
            `z [P, D]` and errors `[P, K]` (K = 0 without any) to the log likelihood `[P]`, differentiable once.
        """
        likelihood = emulated_likelihood(
            local, errors, self.figures, self.counts, self.scatter, self.clustered, SMALLEST_MEAN
        )
        return lambda z, drawn: likelihood(z, drawn, self._scale(z))

    def _scale(self, z: Tensor) -> Tensor:
        """`[P, 1 + parameter]` size of outbreaks and the parameters that figures scatter by."""
        return self.prior.forward(z.index_select(-1, self.at))


def make_seen(space: ParameterSpace, data: Data) -> Seen:
    """Gather the figures that the likelihood sees."""
    weeks, start, offset = len(data.fitted), 0, dict[str, int]()
    for name, places in PLACES.items():
        offset[name], start = start, start + weeks * len(places)
    signals = sorted(data.signals, key=lambda name: SIGNALS[name].law != "count")
    seen = {name: data.seen[name].flatten().nonzero()[:, 0] for name in signals}
    dispersions = tuple(dict.fromkeys(SIGNALS[name].dispersion for name in signals))
    by = [torch.full((len(seen[name]),), dispersions.index(SIGNALS[name].dispersion)) for name in signals]
    outbreaks = [torch.full((len(seen[name]),), SIGNALS[name].clustered) for name in signals]
    counts = sum(len(seen[name]) for name in signals if SIGNALS[name].law == "count")
    figures = torch.cat([data.counts[name].flatten()[seen[name]] for name in signals])
    names = ("cluster_size", *dispersions)
    return Seen(
        torch.tensor([space.slice_of(name).start for name in names]),
        _together(space.subset(names)),
        torch.cat([offset[name] + seen[name] for name in signals]),
        figures,
        counts,
        torch.nn.functional.one_hot(torch.cat(by), len(dispersions)).mT.to(figures),
        torch.cat(outbreaks)[:counts],
    )


def _together(space: ParameterSpace) -> NormalMap:
    """The map of several log-normal priors as one, of `[..., parameter]`."""
    loc, scale = list[Tensor](), list[Tensor]()
    for p in space.parameters:
        if not isinstance(p.prior, dist.LogNormal):
            raise ValueError(
                f"the prior of {p.name!r}, by which figures scatter, is {p.map.family}; make it log-normal."
            )
        loc.append(p.prior.loc)
        scale.append(p.prior.scale)
    return normal_map("scatter", dist.LogNormal(torch.stack(loc), torch.stack(scale)))
