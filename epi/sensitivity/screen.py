"""Inputs far beyond the calibrated ones: a factor on each day of each venue, each archetype and day of infection, and so on."""

from __future__ import annotations

from datetime import timedelta

import numpy as np

from epi.data.load import AGE_BANDS, DISTRICTS
from epi.model.model import Simulator
from epi.sensitivity.simulate import Extra
from epi.study import calendar

VENUES = ("home", "community", "school", "work")
"""Rows of `Rates.transmission` in the study."""
SD = 0.1
"""Standard deviation of each log factor: an uncertainty of 10 % (chosen)."""
DOSES = ("0", "1", "2", "3+")


def iso(day: int) -> str:
    """ISO date of a day of the simulation."""
    return (calendar.START + timedelta(days=day)).isoformat()


def extra_inputs(simulator: Simulator, infectious_days: int = 14) -> Extra:
    """Some 1,800 log-normal factors on the rates; entries that are zero by construction (seeding after the opening) get none."""
    days, kinds = simulator.context.days, len(AGE_BANDS) * len(DOSES)
    seeding = int((1 - simulator.context.opened).sum())
    districts, ages = len(DISTRICTS), len(AGE_BANDS)
    names: list[str] = []
    groups: list[str] = []

    def add(kind: str, labels: list[str]) -> np.ndarray:
        start = len(names)
        names.extend(f"{kind}[{label}]" for label in labels)
        groups.extend([kind] * len(labels))
        return np.arange(start, start + len(labels))

    transmission = np.stack([add(f"{venue}, each day", [iso(t) for t in range(days)]) for venue in VENUES])
    archetypes = [f"{age}, {doses} doses" for age in AGE_BANDS for doses in DOSES]
    since = add("infectiousness by day", [f"{a}, day {d + 1}" for a in archetypes for d in range(infectious_days)])
    receptive = add("susceptibility of a kind", archetypes)
    arriving = add("importation, each day", [f"{d}, {iso(t)}" for t in range(seeding) for d in DISTRICTS])
    between = add("mixing of districts", [f"{a} from {b}" for a in DISTRICTS for b in DISTRICTS])
    none = len(names)
    importation = np.full((days, districts, ages), none)
    importation[:seeding] = arriving.reshape(seeding, districts, 1)
    mixing = np.broadcast_to(between.reshape(districts, 1, districts, 1), (districts, ages, districts, ages))
    assert len(since) == kinds * infectious_days
    layout = {
        "transmission": transmission.ravel(), "infectiousness": since, "susceptibility": receptive,
        "importation": importation.ravel(), "mixing": mixing.ravel(),
    }  # fmt: skip
    return Extra(tuple(names), tuple(groups), SD, layout)
