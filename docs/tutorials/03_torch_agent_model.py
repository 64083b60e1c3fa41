# %% [markdown]
# # 3. Calibrate your own agent-based model in torch
#
# An agent-based model is random: two runs with the same parameters differ. Its likelihood is an average over all runs, which nobody can
# write down. This tutorial calibrates a small model of 500 agents to one observed outbreak. It shows how the noise is found out, and
# what changes if it is ignored.

# %%
import matplotlib.pyplot as plt
import numpy as np
import torch
from torch.distributions import Independent, LogNormal, Poisson

import sim
from calib import calibrate

# %% [markdown]
# ## The model
#
# Agents live in households of five and meet everybody in the town. Every agent is a number in a tensor, and all draws of the parameters
# run side by side: `[draw, agent]`. `sim.Bernoulli` draws who is infected and who recovers. Its draws can be differentiated, but this
# tutorial does not need that.

# %%
AGENTS, HOUSEHOLD, DAYS = 500, 5, 40


def town(theta, seed):
    """Expected reports of each day, `[draw, day]`; `theta["community"]` and `theta["household"]` are rates per day."""
    random = torch.Generator().manual_seed(seed)
    community, household = theta["community"][:, None], theta["household"][:, None]
    draws = len(community)
    susceptible, infectious = torch.ones(draws, AGENTS), torch.zeros(draws, AGENTS)
    infectious[:, ::100] = 1.0
    susceptible -= infectious
    days = []
    for _ in range(DAYS):
        at_home = infectious.reshape(draws, -1, HOUSEHOLD).sum(-1).repeat_interleave(HOUSEHOLD, 1)
        hazard = community * infectious.mean(1, keepdim=True) + household * at_home
        new = susceptible * sim.Bernoulli(1 - torch.exp(-hazard)).draw(random)
        recovered = infectious * sim.Bernoulli(torch.full_like(hazard, 0.2)).draw(random)
        susceptible, infectious = susceptible - new, infectious + new - recovered
        days.append(0.6 * new.sum(1))  # three of five are reported
    return torch.stack(days, -1)


prior = {
    "community": LogNormal(torch.tensor(0.15).log(), 0.5),
    "household": LogNormal(torch.tensor(0.05).log(), 0.5),
}
likelihood = lambda reports: Independent(Poisson(reports + 0.05), 1)
truth = {"community": torch.tensor([0.2]), "household": torch.tensor([0.08])}
torch.manual_seed(0)
reports = likelihood(town(truth, 5)).sample()[0]
print(f"{int(reports.sum())} reports in {DAYS} days")

# %% [markdown]
# ## Is the model noisy?
#
# `calibrate` first runs a few draws several times. If outputs scatter, it takes a method that can deal with it. Here it is a regression
# of parameters on simulated data (approximate Bayesian computation).

# %%
found = calibrate(town, prior, reports, likelihood=likelihood, budget=3000, seed=0)
print("method:", found.report["method"])
print(f"log likelihood of a run at the posterior mean: sd {found.report['noise']['sd']:.0f} nats")
print(found.verdict)
print(found.summary().round(3).to_string())

# %%
# Figure: Left: cumulative reports of 60 runs at posterior draws around the observed curve. Right: posterior draws of
# the two rates, with the truth among them.
draws = found.sample(400, seed=1)
runs = likelihood(town(draws, 9)).sample().cumsum(1)
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
left.plot(runs[:60].T.numpy(), color="#1c6391", alpha=0.15)
left.plot(reports.cumsum(0), "k", linewidth=2)
left.set(xlabel="day", ylabel="reports so far", title="Runs at posterior draws, and the data")
right.plot(draws["community"], draws["household"], ".", alpha=0.4)
right.plot(0.2, 0.08, "r+", markersize=14)
right.set(xlabel="community rate (per day)", ylabel="household rate (per day)", title="Posterior draws, and the truth")
plt.show()

# %% [markdown]
# ## A derived question
#
# Draws answer questions about anything that follows from the parameters: here, the share of outbreaks that infect more than half of the
# town.

# %%
large = (town(draws, 11).sum(1) / 0.6 > AGENTS / 2).double().mean()
print(f"{large:.0%} of outbreaks infect more than half of the town")

# %% [markdown]
# ## Check
#
# The verdict must be one that may be used, and the truth must lie inside the central 95 % interval.

# %%
assert found.verdict.state in ("good", "usable")
assert found.report["noise"] is not None
for name, value in truth.items():
    low, high = np.quantile(found.sample(4000, seed=2)[name], (0.025, 0.975))
    print(f"{name}: {low:.3f} to {high:.3f}, truth {float(value):.3f}")
    assert low < float(value) < high
