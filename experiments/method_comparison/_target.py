"""The fitted observations as one vector, as the competitors see them: what the likelihood of the study sees, simulated with its scatter."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from epi.data.observations import Data
from epi.model import observation_distribution
from epi.outputs.run_files import RunFiles
from epi.study import Study

NARROWEST = 0.1
"""Smallest standard deviation of a logarithm by which observations are divided: deaths of children are 0 in nearly all runs."""


@dataclass(frozen=True, eq=False)
class Target:
    """Logarithms of the K observations seen, over how widely the prior predictive spreads them.

    Attributes:
        study: declares the streams.
        data: of the fitted weeks.
        middle, spread: `[K]` mean and standard deviation of the logarithms over the prior predictive of the run.
    """

    study: Study
    data: Data
    middle: Tensor
    sd: Tensor

    @property
    def observed(self) -> Tensor:
        """`[K]` the real data."""
        return self._standard(self._vector(self.data.counts))

    def drawn(self, theta: Mapping[str, Tensor], expected: Mapping[str, Tensor], seed: int) -> Tensor:
        """Observations drawn around the expected ones of runs, `[P, K]`; NaN where a run failed.

        Args:
            theta: parameters of the runs, `{site: [P, *event]}`.
            expected: their expected observations of the fitted weeks.
            seed: of the scatter.
        """
        fine = torch.stack([torch.isfinite(x).flatten(1).all(1) for x in expected.values()]).all(0)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed % 2**63)
            drawn = {}
            for name in self.data.streams:
                mean = torch.where(fine[:, None, None], expected[name], 1.0)
                tested = self.data.tested.get(name)
                drawn[name] = observation_distribution(self.study.stream(name), mean, theta, tested=tested).sample()
        return torch.where(fine[:, None], self._standard(self._vector(drawn)), torch.nan)

    def _vector(self, observations: Mapping[str, Tensor]) -> Tensor:
        return logarithms(observations, self.data, self.study)

    def _standard(self, x: Tensor) -> Tensor:
        return (x - self.middle) / self.sd


def logarithms(observations: Mapping[str, Tensor], data: Data, study: Study) -> Tensor:
    """`[*batch, K]` of `{stream: [*batch, W, places]}`: log(1 + count) and log(level) of the observations seen."""
    parts = []
    for name in data.streams:
        x = observations[name][..., data.in_likelihood[name]]
        parts.append(torch.log1p(x) if study.stream(name).counts else x.clamp_min(1e-12).log())
    return torch.cat(parts, -1)


def target_of(files: RunFiles, weeks: int) -> Target:
    """The observations that a run was fitted to.

    Args:
        files: of the run.
        weeks: up to the forecast date.
    """
    data = data_of(files).until(weeks)
    prior = {name: torch.tensor(files.predicted(name, "prior_predictive"))[:, :weeks] for name in data.streams}
    x = logarithms(prior, data, files.study)
    return Target(files.study, data, x.mean(0), x.std(0).clamp_min(NARROWEST))


def data_of(files: RunFiles) -> Data:
    """The observations of all weeks that a run knew, and which of them it was fitted to."""
    counts = {name: torch.tensor(files.observed(name)) for name in (s.name for s in files.study.observed)}
    in_likelihood = {name: torch.tensor(files.in_likelihood(name)) for name in (s.name for s in files.study.observed)}
    return Data(counts, in_likelihood, torch.tensor(files.fitted))
