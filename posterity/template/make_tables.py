"""`python make_tables.py`: the tables of the made-up study, all invented, with a seed."""

from pathlib import Path

import numpy as np
import pandas as pd
import torch

from epi.data import load_data
from epi.model import Simulator, make_context, make_observation, observation_distribution, parameter_space
from epi.population import build_population, household_types_from_sizes
from epi.study import load_study

SEED = 11
FOLDER = Path(__file__).parent / "data"
study = load_study(str(Path(__file__).parent))


def main() -> None:
    """Write the tables: people, households, schools and work, then observations of the study's own simulation of everybody."""
    FOLDER.mkdir(exist_ok=True)
    regions, bands = list(study.region.names), list(study.ages.names)
    people = pd.DataFrame([[2600, 6100, 2300], [1500, 3700, 1800]], columns=bands)
    _write(people.assign(county=regions)[["county", *bands]], "population")
    share = np.array([0.28, 0.33, 0.16, 0.15, 0.08])
    types, counts = household_types_from_sizes(share, people.to_numpy(float).sum(0), 1, seed=SEED, count=4000)
    _write(pd.DataFrame(types, columns=bands).assign(households=counts), "households")
    rows = [(r, "school", 5, 17, size, 2) for r in regions for size in (120, 300)]
    _write(pd.DataFrame(rows, columns=["county", "type", "age_min", "age_max", "size", "schools"]), "schools")
    _write(pd.DataFrame({"county": regions, "employees": [4300, 2600]}), "work")
    weeks = [str(w.date()) for w in study.calendar.weeks()]
    for s, key, places in (("cases_county", "county", regions), ("admissions_age", "age_band", bands)):
        empty = [(w, p, 0) for w in weeks for p in places]
        _write(pd.DataFrame(empty, columns=["week_ending", key, s.split("_")[0]]), s)
    observe()


def observe() -> None:
    """Replace the counts by those of a simulation at the medians of the priors."""
    torch.set_default_dtype(torch.float64)
    data, space, calendar = load_data(study), parameter_space(study), study.calendar
    population, _ = build_population(data, 1.0, SEED)
    where = (torch.device("cpu"), torch.float64)
    context = make_context(data, population, calendar.days, *where)
    observation = make_observation(data, population, calendar.days, calendar.weeks(), *where)
    theta = space.to_theta(torch.zeros(1, space.dim))
    expected = Simulator(population, context, observation, space).bind(SEED)(theta)
    torch.manual_seed(SEED)
    for s, key in ((study.stream("cases_county"), "county"), (study.stream("admissions_age"), "age_band")):
        drawn = observation_distribution(s, expected[s.name], theta).sample()[0].numpy().astype(int)
        places = s.places(study)
        rows = [(str(w.date()), p, drawn[i, j]) for i, w in enumerate(calendar.weeks()) for j, p in enumerate(places)]
        _write(pd.DataFrame(rows, columns=["week_ending", key, s.column]), s.name)


def _write(table: pd.DataFrame, name: str) -> None:
    table.to_csv(FOLDER / f"{name}.csv", index=False, lineterminator="\n")


if __name__ == "__main__":
    main()
