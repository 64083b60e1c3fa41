"""Inputs far beyond the calibrated ones: a factor on each day of each venue, each archetype and day of infection, and so on."""

from __future__ import annotations

import numpy as np
import torch

from epi.errors import StudyError
from epi.model import Simulator
from epi.model.transmission import host_tables, make_rates
from epi.sensitivity.simulate import Extra
from epi.study import Study

SD = 0.1
"""Standard deviation of each log factor: an uncertainty of 10 % (chosen)."""


def venues(study: Study) -> tuple[str, ...]:
    """Rows of `Rates.transmission`, in words."""
    return ("home", *study.layers[1:])


def doses(study: Study) -> tuple[str, ...]:
    """Numbers of doses, the last and more."""
    count = len(study.dose_states)
    return (*(str(n) for n in range(count - 1)), f"{count - 1}+" if count > 1 else "0")


def iso(study: Study, day: int) -> str:
    """ISO date of a day of the simulation."""
    return study.calendar.date_of(day).isoformat()


def extra_inputs(simulator: Simulator) -> Extra:
    """Log-normal factors on the rates; entries that are zero by construction (seeding after the opening) get none."""
    study, days = simulator.study, simulator.context.days
    bands, regions, states = study.ages.names, study.region.names, doses(study)
    kinds, infectious_days = _infectiousness(simulator)
    if kinds != len(bands) * len(states):
        raise StudyError(
            f"Factors on single rates need archetypes of age and doses alone, {len(bands) * len(states)} here, but the study has {kinds}: "
            "choose --levels 1,2."
        )
    seeding = int((1 - simulator.context.opened).sum())
    places, ages = len(regions), len(bands)
    names: list[str] = []
    groups: list[str] = []

    def add(kind: str, labels: list[str]) -> np.ndarray:
        start = len(names)
        names.extend(f"{kind}[{label}]" for label in labels)
        groups.extend([kind] * len(labels))
        return np.arange(start, start + len(labels))

    transmission = np.stack(
        [add(f"{venue}, each day", [iso(study, t) for t in range(days)]) for venue in venues(study)]
    )
    archetypes = [f"{age}, {n} doses" for age in bands for n in states]
    since = add("infectiousness by day", [f"{a}, day {d + 1}" for a in archetypes for d in range(infectious_days)])
    receptive = add("susceptibility of a kind", archetypes)
    arriving = add("importation, each day", [f"{d}, {iso(study, t)}" for t in range(seeding) for d in regions])
    between = add(f"mixing by {study.region.axis}", [f"{a} from {b}" for a in regions for b in regions])
    none = len(names)
    importation = np.full((days, places, ages), none)
    importation[:seeding] = arriving.reshape(seeding, places, 1)
    mixing = np.broadcast_to(between.reshape(places, 1, places, 1), (places, ages, places, ages))
    assert len(since) == kinds * infectious_days
    layout = {
        "transmission": transmission.ravel(), "infectiousness": since, "susceptibility": receptive,
        "importation": importation.ravel(), "mixing": mixing.ravel(),
    }  # fmt: skip
    return Extra(tuple(names), tuple(groups), SD, layout)


def _infectiousness(simulator: Simulator) -> tuple[int, int]:
    """Archetypes, and days on which somebody infected may be infectious: a disease of given delays has as many as these need."""
    space, at = simulator.space, simulator.observation.week
    with torch.no_grad():
        theta = {name: x.to(at) for name, x in space.to_theta(torch.zeros(1, space.dim, dtype=torch.float64)).items()}
        rates = make_rates(theta, host_tables(theta, simulator.context), simulator.context)
    return rates.infectiousness.shape[-2], rates.infectiousness.shape[-1]
