"""The likelihood by a local mean: the laws of the model for the figures seen alone, without running the model.

Fits and chains on a local mean ask for it many thousands of times. The Pyro model remains the definition: tests hold this equal to it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from calib import ParameterSpace
from calib._counts import log_counts
from experiments.nz_calibration._data import Data
from experiments.nz_calibration._model import floored, law_of_levels
from experiments.nz_calibration._observation import PLACES
from experiments.nz_calibration._signals import SIGNALS


@dataclass(frozen=True, eq=False)
class Seen:
    """The figures seen, side by side: counts, then levels.

    Attributes:
        space: the parameters that the figures scatter by.
        at: where they stand in z.
        which: `[F]` where each stands among the expected figures (`Expected.flat`).
        figures: `[F]` what was seen.
        counts: how many of them are counts.
        dispersions: names of the parameters that the figures scatter by.
        scatter: `[dispersion, F]` 1 where a figure scatters by a parameter, else 0.
        clustered: `[counts]` which come in outbreaks.
    """

    space: ParameterSpace
    at: Tensor
    which: Tensor
    figures: Tensor
    counts: int
    dispersions: tuple[str, ...]
    scatter: Tensor
    clustered: Tensor

    def log_likelihood(
        self, z: Tensor, mean: Tensor, unsure: Tensor | None = None, noise: Tensor | None = None
    ) -> Tensor:
        """`[P]` log likelihood at `z [P, D]`.

        Args:
            z: `[P, D]`.
            mean: `[P, F]` the expected figures.
            unsure: `[P]`, and
            noise: `[F]`, whose product is the relative variance of the expected figures; None where they are exact.
        """
        theta = self.space.to_theta(z.index_select(-1, self.at))
        relative = torch.stack([theta[name] for name in self.dispersions], -1) ** 2 @ self.scatter
        if unsure is not None and noise is not None:
            relative = relative + unsure[:, None] * noise
        mean, parts = floored(mean), [self.counts, len(self.figures) - self.counts]
        (count, level), (of_count, of_level), (counted, measured) = (
            x.split(parts, -1) for x in (mean, relative, self.figures)
        )
        cluster = torch.where(self.clustered, theta["cluster_size"].clamp_min(1.0)[:, None], 1.0)
        return log_counts(counted, count, cluster, of_count) + law_of_levels(level, of_level).log_prob(measured).sum(-1)


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
    names = (*dispersions, "cluster_size")
    return Seen(
        space.subset(names),
        torch.tensor([space.slice_of(name).start for name in names]),
        torch.cat([offset[name] + seen[name] for name in signals]),
        figures,
        counts,
        dispersions,
        torch.nn.functional.one_hot(torch.cat(by), len(dispersions)).mT.to(figures),
        torch.cat(outbreaks)[:counts],
    )
