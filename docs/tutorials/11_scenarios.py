# %% [markdown]
# # 11. Scenarios and policies
#
# What would have happened if? Run the same posterior draws with the same random numbers in two worlds: as calibrated, and with one thing
# changed. What is averted is the difference, draw by draw. A policy asks for more: which change averts most under a budget? Derivatives
# through the epidemic answer that with one run for all weeks at once.

# %%
import matplotlib.pyplot as plt
import numpy as np
import torch
from torch.distributions import Independent, LogNormal, Poisson

import sim
from calib import calibrate

torch.set_default_dtype(torch.float64)

# %% [markdown]
# ## A town and its data
#
# Three thousand people live in households of three and meet in the community. Half of the infections of a week are reported. The data are
# made at known rates.

# %%
HOUSEHOLDS, WEEKS = 1000, 12
AGENTS, DAYS = 3 * HOUSEHOLDS, 7 * WEEKS
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
COURSE = torch.tensor([0.0, 0.05, 0.2, 0.25, 0.2, 0.15, 0.1, 0.05])  # infectiousness by day since infection


def infections(theta, seed, contacts=None):
    """Infections by week `[draw, week]`; `contacts [draw, week]` multiplies meetings in the community."""
    home, community = theta["home"], theta["community"]
    draws, one = len(home), torch.ones_like(home)
    factor = torch.ones(draws, WEEKS) if contacts is None else contacts
    arrivals = torch.zeros(draws, DAYS, 1)
    arrivals[:, :7] = 0.001
    rates = sim.Rates(
        infectiousness=COURSE.expand(draws, 1, -1),
        susceptibility=one[:, None],
        transmission=torch.stack(
            [home[:, None].expand(-1, DAYS), community[:, None] * factor.repeat_interleave(7, 1)], 1
        ),
        mixing=one[:, None, None],
        importation=arrivals,
        aversion=0 * one,
        forgetting=0.1 * one,
    )
    return sim.epidemic(town, rates, seed)[..., 0].reshape(draws, WEEKS, 7).sum(-1)


def reports(theta, seed):
    with torch.no_grad():
        return 0.5 * infections(theta, seed)


prior = {"home": LogNormal(np.log(0.6), 0.4), "community": LogNormal(np.log(1.2), 0.3)}
likelihood = lambda mean: Independent(Poisson(mean + 0.1), 1)
truth = {"home": torch.tensor([0.7]), "community": torch.tensor([1.3])}
torch.manual_seed(0)
data = likelihood(reports(truth, 3)).sample()[0]

# %% [markdown]
# ## Calibrate

# %%
found = calibrate(reports, prior, data, likelihood=likelihood, budget=3000, seed=0)
print(found.verdict)
draws = found.sample(64, seed=1)

# %% [markdown]
# ## A scenario
#
# People meet a third less in weeks 4 to 7. Both worlds use the same draws and the same seed, so that luck cancels.

# %%
with torch.no_grad():
    fewer = torch.ones(64, WEEKS)
    fewer[:, 3:7] = 2 / 3
    as_calibrated, changed = infections(draws, 7), infections(draws, 7, fewer)
    other_luck = infections(draws, 8, fewer)
averted = (as_calibrated - changed).sum(1)
low, median, high = np.quantile(averted, (0.025, 0.5, 0.975))
print(
    f"infections averted: {median:.0f} (95 % interval {low:.0f} to {high:.0f}) of {as_calibrated.sum(1).median():.0f}"
)
print(f"sd of the difference: {averted.std():.0f} with the same random numbers, "
      f"{(as_calibrated - other_luck).sum(1).std():.0f} with others")  # fmt: skip

# %% [markdown]
# ## A policy
#
# There is a budget of 2: for instance two weeks without any meeting, or eight weeks with a quarter less. Which weeks? The derivative of
# all infections by the contacts of each week says where a small restriction averts most. One reverse pass gives all twelve. A few steps,
# each projected on the budget, make a policy.

# %%
BUDGET = 2.0


def derivative(policy, seed):
    """Infections averted by a unit of restriction in each week, `[week]`."""
    u = policy.clone().requires_grad_()
    total = infections(draws, seed, 1 - u.expand(64, -1)).sum(1).mean()
    return -torch.autograd.grad(total, u)[0]


def project(u):
    """The nearest restrictions between 0 and 0.5 that cost no more than the budget."""
    low, high = -1.0, 1.0
    for _ in range(50):
        shift = (low + high) / 2
        low, high = (low, shift) if float((u - shift).clamp(0, 0.5).sum()) <= BUDGET else (shift, high)
    return (u - max(high, 0.0)).clamp(0, 0.5)


equal = torch.full((WEEKS,), BUDGET / WEEKS)
policy = equal.clone()
for step in range(12):
    slope = derivative(policy, 100 + step)
    policy = project(policy + 0.15 * slope / slope.abs().max())

# %%
# Figure: Left: infections by week, as calibrated and under the policy, which lowers and delays the wave. Right: restrictions by week,
# concentrated in a few weeks.
with torch.no_grad():
    judged = {
        name: infections(draws, 999, 1 - u.expand(64, -1)).sum(1)
        for name, u in (("none", 0 * equal), ("equal shares", equal), ("by derivatives", policy))
    }
    curve = infections(draws, 999, 1 - policy.expand(64, -1)).median(0).values
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3), layout="constrained")
left.plot(range(1, WEEKS + 1), as_calibrated.median(0).values, label="as calibrated")
left.plot(range(1, WEEKS + 1), curve, label="policy")
left.set(xlabel="week", ylabel="infections a week", title="Median over draws")
left.legend()
right.bar(range(1, WEEKS + 1), policy)
right.set(xlabel="week", ylabel="restriction (share of contacts)", title="Where the budget goes")
plt.show()
for name, total in judged.items():
    print(f"{name:15} {total.mean():7.0f} infections")

# %% [markdown]
# ## Studies
#
# For a calibrated study the commands do this: `posterity scenario RUN` asks the questions in the study's `scenarios.py`,
# `posterity allocate-restrictions RUN --budget 2` and `posterity allocate-doses RUN --budget 200000` search policies.
# [Scenarios](../what_if.md) has the methods, [the benchmark](../benchmarks/scenarios.md) what they found for New Zealand.
#
# ## Check
#
# An unchanged world averts nothing, exactly. The same random numbers make differences less noisy. The policy is judged with a seed that the
# search did not use, and beats equal shares.

# %%
with torch.no_grad():
    assert torch.equal(infections(draws, 7, torch.ones(64, WEEKS)), as_calibrated)
assert averted.std() < (as_calibrated - other_luck).sum(1).std()
assert median > 0
assert judged["by derivatives"].mean() < judged["equal shares"].mean() < judged["none"].mean()
