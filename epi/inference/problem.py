"""A study as a problem of `calib.multifidelity`."""

from __future__ import annotations

from dataclasses import fields

import torch
from torch import Tensor

from calib import ParameterSpace
from calib.multifidelity import FeatureMap as FeatureMap
from calib.multifidelity import (
    Fidelity,
    Problem,
    Stream,
    StreamObservations,
    observe,
)
from epi.data.load import DISTRICTS
from epi.data.observations import Data
from epi.model.model import SMALLEST_MEAN, Simulator
from epi.model.observation import PLACES, Expected
from epi.study.streams import AREAS, SIGNALS

LARGE = 5.0
"""Expected counts from which on fresh runs are compared with the emulator."""
VALUE_BATCH = 2  # runs of the larger population at once: one a core


def make_problem(
    simulators: dict[str, Simulator],
    data: Data,
    feature_map: FeatureMap,
    hierarchy: list[tuple[int, int, int, float]],
    fingerprint: str,
) -> Problem:
    """The likelihood of the fitted weeks with simulators of one or more fidelities.

    Args:
        simulators: by role, "values", "start" and "slopes", over the fitted weeks; one simulator may stand for several.
        data: the observations of these weeks.
        feature_map: features in which log expected counts are nearly straight.
        hierarchy: effects with a spread of their own.
        fingerprint: of the study.
    """
    values = simulators["values"]
    cheapest = min(simulator.population.agents for simulator in simulators.values())
    roles: dict[int, list[str]] = {}
    for role, simulator in simulators.items():
        roles.setdefault(id(simulator), []).append(role)
    fidelities = tuple(
        Fidelity(own[0], tuple(own), simulators[own[0]].population.agents / cheapest, VALUE_BATCH)  # type: ignore[arg-type]
        for own in roles.values()
    )

    def simulate(z: Tensor, seed: int, fidelity: Fidelity, first: int = 0) -> Tensor:
        simulator = simulators[fidelity.name]
        bound = simulator.bind(seed, torch.arange(first, first + len(z)))
        return bound(simulator.space.to_theta(z)).flat()

    def jacobian(z: Tensor, seed: int, fidelity: Fidelity, first: int = 0) -> tuple[Tensor, Tensor]:
        return simulators[fidelity.name].jacobian(z, seed, torch.arange(first, first + len(z)))

    return Problem(
        values.space,
        observations_of(values.space, data),
        simulate,
        fidelities,
        jacobian,
        feature_map,
        floor=SMALLEST_MEAN,
        compared_from=LARGE,
        wanted=compared(data),
        people_per_agent=people_per_agent(values, values.weeks),
        hierarchy=hierarchy,
        fingerprint=fingerprint,
    )


def observations_of(space: ParameterSpace, data: Data) -> StreamObservations:
    """The observations that the likelihood takes in, each with its place among the expected counts (`Expected.flat`)."""
    weeks, start, offset = len(data.fitted), 0, dict[str, int]()
    for name, places in PLACES.items():
        offset[name], start = start, start + weeks * len(places)
    streams = []
    for name in data.signals:
        own, series = SIGNALS[name], data.counts[name]
        streams.append(
            Stream(
                slice(offset[name], offset[name] + series.numel()),
                torch.where(data.seen[name], series, torch.nan),
                "counts" if own.law == "count" else "log-normal",
                own.dispersion,
                "cluster_size" if own.clustered else None,
            )
        )
    return observe(space, streams, floor=SMALLEST_MEAN)


def compared(data: Data) -> Tensor:
    """`[M]` which expected counts are compared with data: the weeks that the likelihood takes in, without infections."""
    infections = torch.zeros(len(data.fitted), len(PLACES["infections_district"]))
    return Expected(**{name: x.double() for name, x in data.seen.items()}, infections_district=infections).flat() > 0


def people_per_agent(simulator: Simulator, weeks: int) -> Tensor:
    """`[M]` people an agent stands for, for each expected count: of its district, or of the whole country."""
    people = torch.as_tensor(simulator.population.people_per_agent, dtype=torch.float64)
    size = torch.as_tensor(simulator.population.region_size, dtype=torch.float64)
    country = (people * size).sum() / size.sum()
    share = people * size
    areas = torch.stack([share[list(at)].sum() / size[list(at)].sum() for at in _area_districts()])
    by_axis = {"district": people, "area": areas}
    rows = (by_axis.get(_axis(name), country.expand(len(places))) for name, places in PLACES.items())
    return Expected(**{f.name: row.expand(weeks, -1) for f, row in zip(fields(Expected), rows, strict=True)}).flat()


def _axis(name: str) -> str:
    return "district" if name == "infections_district" else SIGNALS[name].axis


def _area_districts() -> list[tuple[int, ...]]:
    return [tuple(DISTRICTS.index(d) for d in districts) for districts, _ in AREAS.values()]
