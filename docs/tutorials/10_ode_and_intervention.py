# %% [markdown]
# # 10. A differential equation inside, with an intervention
#
# How infectious somebody is follows from the virus in the body, and that from a differential equation. A treatment changes it in the
# middle of the infection. This tutorial puts such an equation inside an epidemic and differentiates the whole: how many infections does
# one day of delay in treatment cost?

# %%
import matplotlib.pyplot as plt
import numpy as np
import torch

import ode
import sim

torch.set_default_dtype(torch.float64)

# %% [markdown]
# ## The virus in the body
#
# `ode.within_host` solves for viral load and antibody, for any number of parameter draws and kinds of people. `ode.Treatment` is given at
# a time, and is differentiable in that time.

# %%
# Figure: Virus in the body by day, untreated and with an antiviral from day 2, 3 and 5: the earlier it starts, the
# earlier the load falls.
parameters = ode.WithinHostParameters(**{name: x[None] for name, x in vars(ode.prior_median()).items()})
people = ode.archetypes_by_age_and_dose((35.0,), (0.0,))  # unvaccinated adults


def virus(day):
    """log10 copies/ml, `[day]`, with an antiviral from a day on that stops 95 % of virus production."""
    treatment = ode.Treatment(antiviral_day=day, antiviral_effect=0.95)
    return ode.within_host(parameters, people, days=14, treatment=treatment).viral_load[0, 0]


untreated = ode.within_host(parameters, people, days=14).viral_load[0, 0]
figure, axes = plt.subplots(figsize=(7, 3), layout="constrained")
axes.plot(range(1, 15), untreated, "k", label="untreated")
for day in (2.0, 3.0, 5.0):
    axes.plot(range(1, 15), virus(day), label=f"antiviral from day {day:.0f}")
axes.set(xlabel="days since infection", ylabel="virus (log10 copies/ml)", ylim=(0, None))
axes.legend()
plt.show()

# %% [markdown]
# ## Checked by another solver
#
# The same equations and the same intervention, through ChiRho and torchdiffeq.

# %%
other = ode.simulate_with_chirho(parameters, people, days=14, antiviral_day=3.0, antiviral_effect=0.95)
difference = float((other.viral_load[0, 0] - virus(3.0)).abs().max())
print(f"largest difference between the solvers: {difference:.1e} log10 copies/ml")
assert difference < 1e-2

# %% [markdown]
# ## The epidemic around it
#
# A town of 6,000 in households of three. The course of the virus gives the infectiousness by day since infection. Everybody is treated
# on the same day of the infection.

# %%
HOUSEHOLDS, DAYS = 2000, 60
AGENTS = 3 * HOUSEHOLDS
town = sim.Population(
    household_start=np.arange(0, AGENTS + 1, 3),
    group=np.zeros(AGENTS, np.int16),
    archetype=np.zeros(AGENTS, np.int16),
    venues=np.empty((0, AGENTS), np.int32),
    venue_weight=(),
    household_weight=np.full(HOUSEHOLDS, 0.5),
    region_of_group=np.zeros(1, np.int16),
    people_per_agent=np.ones(1),
)


def infections(day, runs, seed=0):
    """Total infections of each of `runs` epidemics, `[run]`, for a day of treatment `[run]`."""
    load = torch.stack([virus(d) for d in day]) if day.dim() else virus(day).expand(runs, -1)
    one, zero = torch.ones(runs), torch.zeros(runs)
    arrivals = torch.zeros(runs, DAYS, 1)
    arrivals[:, :3] = 0.002
    rates = sim.Rates(
        infectiousness=ode.infectiousness(load)[:, None],
        susceptibility=one[:, None],
        transmission=torch.stack([0.6 * one, 1.6 * one], 1)[..., None].expand(-1, -1, DAYS),
        mixing=one[:, None, None],
        importation=arrivals,
        aversion=zero,
        forgetting=0.1 * one,
    )
    return sim.epidemic(town, rates, seed).sum((1, 2))


# %% [markdown]
# ## One derivative through both
#
# Reverse mode goes from infections back through the epidemic, the infectiousness, the equation and the day of treatment. A central
# difference of many runs with common random numbers is the check. The virus is read at the end of each day, so the function has a kink
# at whole days, and the derivative is taken between two of them.

# %%
day = torch.tensor(3.6, requires_grad=True)
runs = 60
each = infections(day, runs)
slope = float(torch.autograd.grad(each.mean(), day)[0])
with torch.no_grad():
    up, down = (infections(torch.tensor(3.6 + h), runs) for h in (0.2, -0.2))
differences = (up - down) / 0.4
error = float(differences.std() / runs**0.5)
print(f"{each.detach().mean():.0f} of {AGENTS:,} infected; a day's delay costs {slope:.0f} infections by the derivative, "
      f"{differences.mean():.0f} ± {error:.0f} by differences")  # fmt: skip

# %%
# Figure: Infections by day of treatment, and the tangent by the derivative at day 3.6.
days = torch.linspace(2.0, 7.0, 6)
with torch.no_grad():
    totals = [float(infections(d, 16).mean()) for d in days]
figure, axes = plt.subplots(figsize=(7, 3), layout="constrained")
axes.plot(days, totals, "o-", label="mean of 16 epidemics")
near = torch.tensor([2.9, 4.3])
axes.plot(near, float(each.detach().mean()) + slope * (near - 3.6), linewidth=3, label="derivative at day 3.6")
axes.set(xlabel="day of treatment after infection", ylabel="infections", title="The later, the more")
axes.legend()
plt.show()

# %%
assert slope > 0
assert abs(slope - float(differences.mean())) < 0.15 * slope + 3 * error
