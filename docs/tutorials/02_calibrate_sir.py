# %% [markdown]
# # 2. Calibrate your own SIR model
#
# You have a simulator and data. You want to know which parameters agree with the data, and how sure you can be. This tutorial does it
# for a deterministic SIR model, and compares the answer with an exact one.

# %%
import matplotlib.pyplot as plt
import numpy as np
import torch
from torch.distributions import Independent, LogNormal, Poisson

from calib import calibrate

# %% [markdown]
# ## The simulator
#
# A simulator is a function. It takes a batch of parameter draws and a seed, and returns one row of outputs for each draw. This one
# returns the expected reported cases of each day. Half of the infections of a town of 10,000 are reported.

# %%
DAYS, PEOPLE, REPORTED = 40, 10_000, 0.5


def sir(theta, seed):
    """`theta["contact"]` and `theta["recovery"]` are `[draw]`; returns `[draw, day]`."""
    susceptible, infectious, days = PEOPLE - 10.0, 10.0, []
    for _ in range(DAYS):
        new = susceptible * (1 - torch.exp(-theta["contact"] * infectious / PEOPLE))
        susceptible, infectious = susceptible - new, infectious + new - theta["recovery"] * infectious
        days.append(REPORTED * new)
    return torch.stack(days, -1)


# %% [markdown]
# ## Priors, data, likelihood
#
# The data are made at known parameters here. Then we can see whether calibration finds them again. The likelihood is a function from
# outputs to a distribution of the data.

# %%
prior = {
    "contact": LogNormal(torch.tensor(0.4).log(), 0.5),  # infectious contacts per day
    "recovery": LogNormal(torch.tensor(0.2).log(), 0.4),  # per day
}
likelihood = lambda expected: Independent(Poisson(expected + 1e-3), 1)

truth = {"contact": torch.tensor([0.5]), "recovery": torch.tensor([0.25])}
torch.manual_seed(1)
cases = likelihood(sir(truth, 0)).sample()[0]

# %% [markdown]
# ## Calibrate
#
# `budget` is the number of simulations that may be spent. The verdict rests on simulations that were kept apart.

# %%
found = calibrate(sir, prior, cases, likelihood=likelihood, budget=600, seed=0)
print(found.verdict)
print(found.summary().round(4).to_string())

# %% [markdown]
# ## Look at it
#
# Simulate at draws of the posterior, add the noise of observation, and compare with the data.

# %%
# Figure: Left: a rising and falling curve of daily cases inside the band of predictions. Right: posterior draws on a
# slanted line through the truth.
draws = found.sample(400, seed=1)
predicted = likelihood(sir(draws, 0)).sample()
low, median, high = np.quantile(predicted, (0.025, 0.5, 0.975), axis=0)

figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
left.fill_between(range(DAYS), low, high, alpha=0.25, label="95 % of predictions")
left.plot(median, label="median")
left.plot(cases, "k.", label="reported")
left.set(xlabel="day", ylabel="cases a day", title="Data and predictions")
left.legend()
right.plot(draws["contact"], draws["recovery"], ".", alpha=0.4)
right.plot(0.5, 0.25, "r+", markersize=14, label="truth")
right.set(xlabel="contact (per day)", ylabel="recovery (per day)", title="Posterior draws")
right.legend()
plt.show()

# %% [markdown]
# The two parameters trade off against each other: their difference is the growth rate, which the data fix best.
#
# ## Is it right?
#
# With two parameters the posterior can be computed on a grid. You will not be able to do that with your own model, but here it is a
# check that owes nothing to the method.

# %%
contact, recovery = torch.linspace(0.40, 0.60, 161), torch.linspace(0.17, 0.33, 161)
grid = {name: x.flatten() for name, x in zip(prior, torch.meshgrid(contact, recovery, indexing="ij"), strict=True)}
log_weight = likelihood(sir(grid, 0)).log_prob(cases) + sum(prior[name].log_prob(x) for name, x in grid.items())
weight = torch.softmax(log_weight.double(), 0)
many = found.sample(8000, seed=2)
for name, x in grid.items():
    mean = float((weight * x).sum())
    sd = float((weight * (x - mean) ** 2).sum()) ** 0.5
    print(f"{name}: grid {mean:.4f} ± {sd:.4f}, posterity {many[name].mean():.4f} ± {many[name].std():.4f}")
    assert abs(float(many[name].mean()) - mean) < 0.15 * sd
    assert abs(float(many[name].std()) / sd - 1) < 0.15
assert found.verdict.state == "good"

# %% [markdown]
# ## Keep it
#
# `found.save("folder")` writes tensors and JSON. `found.to_arviz()` gives the posterior to ArviZ. `found.check(sir, likelihood)` makes a
# page of diagnostics. Next: [an agent-based model](03_torch_agent_model.md).
