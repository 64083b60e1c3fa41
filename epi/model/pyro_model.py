"""The Pyro model of a study: named priors, one simulation, weekly observations around it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pyro
from torch import Tensor

from epi.data import Data
from epi.model.distributions import observation_distribution
from epi.model.parameters import sample_parameters
from epi.study import Study

__all__ = ["Simulate", "model"]

Simulate = Callable[[Mapping[str, Tensor]], dict[str, Tensor]]


def model(
    study: Study,
    simulate: Simulate,
    data: Data | None = None,
    error: Mapping[str, Tensor] | None = None,
    tested: Mapping[str, Tensor] | None = None,
) -> None:
    """A study as a Pyro model.

    Every site is an event without plates, so that a particle axis may lead: `Predictive`, `pyro.do`, conditioning and chirho's
    handlers apply. Without data the observations of all streams and weeks are sampled; with data those in the likelihood enter it.

    Args:
        study: parameters and streams.
        simulate: parameters `{site: [*batch, ...]}` to expected observations by stream; holds population, seed and gradient path.
        data: observations, or None.
        error: relative standard error `[W, places]` of the expectations by stream, where they are estimates; None if exact.
        tested: number tested by stream, where there is no data.
    """
    theta = sample_parameters(study)
    expected = simulate(theta)
    pyro.deterministic(study.infections, expected[study.infections], event_dim=2)
    numbers = data.tested if data is not None and data.tested else (tested or {})
    for s in study.observed:
        mean = expected[s.name]
        fn = observation_distribution(s, mean, theta, None if error is None else error[s.name], numbers.get(s.name))
        if data is None:
            pyro.sample(s.name, fn.to_event(2))
        else:
            known = data.counts[s.name].nan_to_num(1.0)
            pyro.sample(s.name, fn.mask(data.in_likelihood[s.name]).to_event(2), obs=known)
