# %% [markdown]
# # 8. Your own region and disease in 60 lines
#
# A study is a Python value and a folder of tables. This tutorial writes both from nothing: two counties, a plain disease with a latent and
# an infectious period, weekly cases. Then it simulates the study, checks the tables, and calibrates three of its numbers.
# `posterity new my_study` writes a commented study like this one to start from.

# %%
import tempfile
from datetime import date
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from torch.distributions import Independent, NegativeBinomial

import epi
from calib import ParameterSpace, calibrate
from epi import Delay, LogitNormal, LogNormal
from epi.data import load_data
from epi.model import Simulator, make_context, make_observation, parameter_space
from epi.population import build_population, household_types_from_sizes

torch.set_default_dtype(torch.float64)
folder = Path(tempfile.mkdtemp())

# %% [markdown]
# ## The study

# %%
study = epi.Study(
    name="hill_county",
    title="A winter epidemic in two counties",
    data=folder,
    region=epi.Region("county", ("Hill", "Dale"), coordinates={"Hill": (51.0, -2.0), "Dale": (50.8, -1.7)}),
    ages=epi.AgeBands((0, 20, 60), oldest=90),
    calendar=epi.Calendar(
        start=date(2031, 1, 5),
        first_week=date(2031, 1, 18),
        forecast_from=date(2031, 3, 1),
        last_week=date(2031, 3, 29),
        open_from=date(2031, 1, 12),
    ),
    disease=epi.NaturalHistory(latent=epi.Gamma(2.0, 1.0), infectious=epi.Gamma(4.0, 2.0)),
    parts=(
        epi.Households(LogNormal(0.5, 0.3, unit="per infection"), grown=20),
        epi.Schools(LogNormal(0.5, 0.4, unit="per infection"), pupils_per_teacher={"school": 15.0}),
        epi.Workplaces(LogNormal(0.4, 0.4, unit="per infection"), employment=(0.2, 0.75, 0.1)),
        epi.Community(
            LogNormal(1.0, 0.3, unit="per infection"),
            assortativity=LogitNormal(-0.5, 0.5, unit="share"),
            coupling=LogitNormal(-2.5, 0.5, unit="share"),
        ),
        epi.Seeding(LogNormal(30.0, 0.3, unit="per 10,000"), growth=LogNormal(0.1, 0.3, unit="per day")),
        epi.Reporting((epi.ReportingRegime("tests", LogitNormal(-0.5, 0.5, unit="share")),)),
    ),
    streams=(
        epi.Cases(by="county", delay=Delay(5.0, 2.0), complete=True, family=epi.NegativeBinomial(LogNormal(0.1, 0.4))),
    ),
)
print(len(study.parameters()), "parameters:", ", ".join(p.name for p in study.parameters()))

# %% [markdown]
# ## The tables
#
# People by county and age, kinds of households, schools, jobs, and the data. They are made up here; yours come from a census and from a
# health agency.

# %%
ages, counties, weeks = list(study.ages.names), ["Hill", "Dale"], study.calendar.weeks()
people = pd.DataFrame([[1800, 4200, 1500], [900, 2300, 1100]], columns=ages)
people.assign(county=counties)[["county", *ages]].to_csv(folder / "population.csv", index=False)
sizes = np.array([0.3, 0.34, 0.16, 0.14, 0.06])
kinds, counts = household_types_from_sizes(sizes, people.to_numpy(float).sum(0), 1, seed=1, count=2000)
pd.DataFrame(kinds, columns=ages).assign(households=counts).to_csv(folder / "households.csv", index=False)
schools = [(c, "school", 5, 17, size, 2) for c in counties for size in (90, 220)]
pd.DataFrame(schools, columns=["county", "type", "age_min", "age_max", "size", "schools"]).to_csv(
    folder / "schools.csv", index=False
)
pd.DataFrame({"county": counties, "employees": [3000, 1600]}).to_csv(folder / "work.csv", index=False)
cases = pd.DataFrame([(w.date(), c, 0) for w in weeks for c in counties], columns=["week_ending", "county", "cases"])
cases.to_csv(folder / "cases_county.csv", index=False)

# %% [markdown]
# ## Simulate
#
# Tables, population and model make a simulator. Its first use is to make data at known values.

# %%
tables = load_data(study)
population, _ = build_population(tables, 1.0, 1)
where, space = (torch.device("cpu"), torch.float64), parameter_space(study)
days = study.calendar.days
simulator = Simulator(
    population,
    make_context(tables, population, days, *where),
    make_observation(tables, population, days, weeks, *where),
    space,
)
medians = space.to_theta(torch.zeros(1, space.dim))
truth = {"transmission_community": 1.2, "seed_level": 25.0, "ascertainment_tests": 0.3}


def expected_cases(theta, seed):
    """`[draw, week * county]` expected cases; what `theta` does not name stays at its median."""
    draws = len(next(iter(theta.values())))
    full = {name: x.expand(draws, *x.shape[1:]) for name, x in medians.items()} | dict(theta)
    with torch.no_grad():
        return simulator.bind(seed)(full)["cases_county"].flatten(1)


likelihood = lambda mean: Independent(NegativeBinomial(20.0, logits=((mean + 0.5) / 20.0).log()), 1)
torch.manual_seed(1)
mean = expected_cases({name: torch.tensor([x]) for name, x in truth.items()}, 5)
reported = likelihood(mean).sample()[0].reshape(len(weeks), 2)

# %% [markdown]
# ## Calibrate three numbers
#
# The weeks after the forecast date are hidden from the fit.

# %%
known = np.array(weeks <= str(study.calendar.forecast_from))
data = torch.where(torch.as_tensor(known)[:, None], reported, torch.nan).flatten()
small = ParameterSpace(tuple(p for p in space.parameters if p.name in truth))
found = calibrate(expected_cases, small, data, likelihood=likelihood, budget=2200, seed=0)
print(found.verdict)
draws = found.sample(2000, seed=1)
for name, value in truth.items():
    low, high = np.quantile(draws[name], (0.025, 0.975))
    print(f"{name}: {low:.2f} to {high:.2f}, truth {value}")

# %%
# Figure: Weekly cases of two counties with bands of predictions; open dots after the forecast date were hidden from the fit.
chosen = {name: x[:60] for name, x in draws.items()}
predicted = likelihood(expected_cases(chosen, 9)).sample().reshape(60, len(weeks), 2)
low, median, high = np.quantile(predicted, (0.025, 0.5, 0.975), axis=0)
figure, axes = plt.subplots(1, 2, figsize=(9, 3), layout="constrained")
for i, (panel, county) in enumerate(zip(axes, counties, strict=True)):
    panel.fill_between(weeks, low[:, i], high[:, i], alpha=0.25)
    panel.plot(weeks, median[:, i])
    panel.plot(weeks[known], reported[known, i], "ko", markersize=4)
    panel.plot(weeks[~known], reported[~known, i], "ko", markersize=4, markerfacecolor="white")
    panel.set(title=county, ylabel="cases a week")
    panel.tick_params(axis="x", rotation=45)
plt.show()

# %% [markdown]
# ## All of it
#
# Written to a file `study.py` beside its tables, the same value is calibrated with all its parameters, forecast, scored and reported by
# `posterity calibrate FOLDER`.

# %%
observed = reported.numpy()
inside = (low <= observed) & (observed <= high)
print(f"{inside.mean():.0%} of the weeks lie in the 95 % band, those after the forecast date among them")
assert inside.mean() > 0.8
assert found.verdict.state in ("good", "usable")
for name, value in truth.items():
    low, high = np.quantile(draws[name], (0.005, 0.995))
    assert low < value < high
