"""A study as a problem of `calib.multifidelity`."""

from __future__ import annotations

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
from epi.data import Data, Layout
from epi.inference.surveys import Survey, SurveyObservations
from epi.model import Simulator
from epi.model.distributions import SMALLEST_MEAN
from epi.study import BetaBinomial

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
        return simulator.layout.flat(bound(simulator.space.to_theta(z)))

    def jacobian(z: Tensor, seed: int, fidelity: Fidelity, first: int = 0) -> tuple[Tensor, Tensor]:
        return simulators[fidelity.name].jacobian(z, seed, torch.arange(first, first + len(z)))

    return Problem(
        values.space,
        observations_of(values.space, data, values.layout),
        simulate,
        fidelities,
        jacobian,
        feature_map,
        floor=SMALLEST_MEAN,
        compared_from=LARGE,
        wanted=compared(data, values.layout),
        people_per_agent=people_per_agent(values, values.weeks),
        hierarchy=hierarchy,
        fingerprint=fingerprint,
    )


def observations_of(space: ParameterSpace, data: Data, layout: Layout) -> StreamObservations | SurveyObservations:
    """The observations that the likelihood takes in, each with its place among the expected counts (`Layout.flat`)."""
    study, streams, surveys = layout.study, [], []
    parameters = {p.name: p for p in space.parameters}
    for name in data.streams:
        own, series = study.stream(name), data.counts[name]
        relative_sd = study.dispersion(name)
        if isinstance(own.family, BetaBinomial):
            in_likelihood = data.in_likelihood[name].flatten()
            surveys.append(
                Survey(
                    own,
                    layout.slices[name].start + in_likelihood.nonzero()[:, 0],
                    series.flatten()[in_likelihood],
                    data.tested[name].flatten()[in_likelihood],
                    None if relative_sd is None else space.slice_of(relative_sd).start,
                    None if relative_sd is None else parameters[relative_sd],
                )
            )
            continue
        assert relative_sd is not None
        streams.append(
            Stream(
                layout.slices[name],
                torch.where(data.in_likelihood[name], series, torch.nan),
                "counts" if own.counts else "log-normal",
                relative_sd,
                study.overdispersion(name),
            )
        )
    found = observe(space, streams, floor=SMALLEST_MEAN) if streams else None
    return SurveyObservations(found, surveys) if surveys or found is None else found


def compared(data: Data, layout: Layout) -> Tensor:
    """`[M]` which expected counts are compared with data: the weeks that the likelihood takes in, without infections."""
    none = {name: torch.zeros(layout.weeks, len(p), dtype=torch.float64) for name, p in layout.places.items()}
    return layout.flat(none | {name: x.double() for name, x in data.in_likelihood.items()}) > 0


def people_per_agent(simulator: Simulator, weeks: int) -> Tensor:
    """`[M]` people an agent stands for, for each expected count: of its region, or of the whole country."""
    people = torch.as_tensor(simulator.population.people_per_agent, dtype=torch.float64)
    size = torch.as_tensor(simulator.population.region_size, dtype=torch.float64)
    country = (people * size).sum() / size.sum()
    share = people * size
    region, study = simulator.study.region, simulator.study
    by_axis = {region.axis: people}
    if region.areas:
        places = [[region.names.index(name) for name in names] for names in region.areas.values()]
        by_axis[region.area_axis] = torch.stack([share[at].sum() / size[at].sum() for at in places])
    layout = simulator.layout.until(weeks)
    rows = {s.name: by_axis.get(s.by, country.expand(len(layout.places[s.name]))) for s in study.streams}
    return layout.flat({name: row.expand(weeks, -1) for name, row in rows.items()})
