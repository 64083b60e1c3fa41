# %% [markdown]
# # 7. New Zealand in a minute
#
# The full calibration of New Zealand's first Omicron wave takes ten minutes. This tutorial takes the same study, simulates one person in
# a thousand, and calibrates two national numbers to the reported cases of the country. It shows what a study is made of.

# %%
import matplotlib.pyplot as plt
import numpy as np
import torch
from torch.distributions import Independent, LogNormal

import posterity
from calib import ParameterSpace, calibrate
from epi.data import load_data
from epi.model import Simulator, make_context, make_observation, parameter_space
from epi.population import build_population

torch.set_default_dtype(torch.float64)

# %% [markdown]
# ## The study
#
# A study is one value: region, ages, calendar, disease, parts and data streams. `declared` is that value.

# %%
study = posterity.Study.load("nz_calibration")
declared = study.declared
print(declared.title, "-", len(declared.region.names), "districts,", len(declared.ages.names), "age bands")
print("data streams:", ", ".join(s.name for s in declared.observed))
print("parameters:", parameter_space(declared).dim)

# %% [markdown]
# ## What the priors say before any data
#
# `simulate` runs the epidemic at draws of the prior and returns the expected observations of every stream.

# %%
prior = study.simulate(scale=0.001, draws=8, seed=1)
cases = prior["cases_district"].sum("cases_district_place")
print(
    f"expected cases to the end of May: {float(cases.sum('week').min()):,.0f} to {float(cases.sum('week').max()):,.0f} over 8 draws"
)

# %% [markdown]
# ## Two national numbers
#
# The parts of a study make a simulator: tables, a population of 5,000 agents, and the model. All parameters but two stay at their prior
# medians. The simulator then is a function of a dictionary, as any other.

# %%
tables = load_data(declared)
population, _ = build_population(tables, 0.001, 1)
days, weeks = declared.calendar.days, declared.calendar.weeks()
where = (torch.device("cpu"), torch.float64)
space = parameter_space(declared)
simulator = Simulator(
    population,
    make_context(tables, population, days, *where),
    make_observation(tables, population, days, weeks, *where),
    space,
)
CHOSEN = ("transmission_community", "ascertainment_rat")
small = ParameterSpace(tuple(p for p in space.parameters if p.name in CHOSEN))
medians = space.to_theta(torch.zeros(1, space.dim))
whole = tables.series["cases_district"].sum(axis=1, min_count=1).reindex(weeks)
fitted = weeks <= str(declared.calendar.forecast_from)
reported = torch.as_tensor(whole.where(fitted).to_numpy(float).copy())
print(f"{population.agents:,} agents; fitted to {int(fitted.sum())} weeks")


def national_cases(theta, seed):
    """Expected reported cases by week, `[draw, week]`."""
    draws = len(theta[CHOSEN[0]])
    full = {name: x.expand(draws, *x.shape[1:]) for name, x in medians.items()} | dict(theta)
    with torch.no_grad():
        return simulator.bind(seed)(full)["cases_district"].sum(-1)


# %% [markdown]
# ## Calibrate
#
# A sample of 5,000 agents is noisy, and a national number of cases is never exact: the likelihood allows for 30 % of scatter.

# %%
likelihood = lambda mean: Independent(LogNormal((mean + 1).log(), 0.3), 1)
found = calibrate(national_cases, small, reported, likelihood=likelihood, budget=1300, seed=0)
print(found.verdict)
print(found.summary()[["mean", "5 %", "95 %", "prior mean", "unit"]].round(3).to_string())

# %%
# Figure: Weekly cases of New Zealand: the reported wave lies in the wide band of predictions, below their median in April.
predicted = likelihood(national_cases(found.sample(100, seed=1), 3)).sample()
low, median, high = np.quantile(predicted, (0.025, 0.5, 0.975), axis=0)
figure, axes = plt.subplots(figsize=(8, 3.2), layout="constrained")
axes.fill_between(weeks, low, high, alpha=0.25, label="95 % of predictions")
axes.plot(weeks, median, label="median")
axes.plot(weeks[fitted], whole[fitted], "ko", markersize=4, label="reported, used")
axes.plot(weeks[~fitted], whole[~fitted], "ko", markersize=4, markerfacecolor="white", label="reported later")
axes.set(ylabel="cases a week", title="New Zealand, 2022: two parameters, one run of 5,000 agents a draw")
axes.legend()
figure.autofmt_xdate()  # dates side by side would overlap
plt.show()

# %% [markdown]
# ## The real thing
#
# Two parameters and one sample are a sketch. `posterity calibrate nz_calibration` fits 112 parameters to cases, admissions and deaths by
# district and age, on half of the country, and writes a report. [The study](../nz_calibration.md) explains the model,
# [the benchmark](../benchmarks/nz_calibration.md) its scores.

# %%
inside = ((low <= whole.to_numpy()) & (whole.to_numpy() <= high))[fitted]
print(f"{inside.sum()} of {len(inside)} fitted weeks lie in the 95 % band")
assert inside.mean() > 0.8
assert found.verdict.state in ("good", "usable")
share = found.sample(2000, seed=2)["ascertainment_rat"]
print(f"share of infections reported with rapid tests: {share.mean():.0%}")
assert 0.2 < float(share.mean()) < 0.9
