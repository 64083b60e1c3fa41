# %% [markdown]
# # 12. The weekly update
#
# New data arrive every week, and old ones are revised. `update` brings a calibration up to date without doing everything again. It says
# which of three steps was needed: reweight the last draws, add a few simulations, or calibrate anew.

# %%
import matplotlib.pyplot as plt
import numpy as np
import torch
from torch.distributions import Independent, LogNormal, NegativeBinomial

from calib import calibrate, update

# %% [markdown]
# ## The model runs to the end from the start
#
# Let the simulator cover the whole season, and mark weeks that are not yet observed as missing (NaN). Then every week has the same model
# and the same shape of data, and the forecast is part of the output.

# %%
WEEKS, PEOPLE = 16, 100_000


def season(theta, seed):
    """Expected cases by week, `[draw, week]`."""
    susceptible, infectious, weeks = PEOPLE - theta["start"], theta["start"], []
    for _ in range(WEEKS):
        cases = 0.0
        for _ in range(7):
            new = susceptible * (1 - torch.exp(-theta["contact"] * infectious / PEOPLE))
            susceptible, infectious, cases = susceptible - new, infectious + new - infectious / 4, cases + 0.3 * new
        weeks.append(cases)
    return torch.stack(weeks, -1)


prior = {
    "contact": LogNormal(torch.tensor(0.35).log(), 0.2),  # per day
    "start": LogNormal(torch.tensor(50.0).log(), 0.7),  # infectious on the first day
}
likelihood = lambda cases: Independent(NegativeBinomial(10.0, logits=((cases + 0.1) / 10.0).log()), 1)
truth = {"contact": torch.tensor([0.38]), "start": torch.tensor([60.0])}
torch.manual_seed(2)
data = likelihood(season(truth, 0)).sample()[0]


def known(week):
    """Data up to a week; the last count is still 5 % too low, because reports arrive late."""
    early = torch.where(torch.arange(WEEKS) < week, data, torch.nan)
    early[week - 1] = (0.95 * early[week - 1]).round()
    return early


# %% [markdown]
# ## Week after week

# %%
found = calibrate(season, prior, known(3), likelihood=likelihood, budget=500, seed=0)
history = {3: found}
for week in range(4, 10):
    found = update(found, known(week))
    history[week] = found
    step, spent = found.report["update"]["step"], found.report["simulations"]
    print(f"week {week}: {step}, {spent} simulations; {found.verdict.state}")

# %%
# Figure: Forecasts made after 3, 6 and 9 weeks: the band narrows as data arrive.
figure, axes = plt.subplots(1, 3, figsize=(10, 3), sharey=True, layout="constrained")
for panel, week in zip(axes, (3, 6, 9), strict=True):
    predicted = likelihood(season(history[week].sample(400, seed=1), 0)).sample()
    low, median, high = np.quantile(predicted, (0.025, 0.5, 0.975), axis=0)
    panel.fill_between(range(WEEKS), low, high, alpha=0.25)
    panel.plot(median)
    panel.plot(data[:week], "k.")
    panel.plot(range(week, WEEKS), data[week:], "ko", markerfacecolor="white", markersize=4)
    panel.set(xlabel="week", title=f"Known: {week} weeks", ylim=(0, 1.6 * float(data.max())))
axes[0].set_ylabel("cases a week")
plt.show()

# %% [markdown]
# ## The same as calibrating anew
#
# The update must agree with a calibration that starts from nothing.

# %%
anew = calibrate(season, prior, known(9), likelihood=likelihood, budget=500, seed=7)
one, two = found.summary(), anew.summary()
difference = ((one["mean"] - two["mean"]) / two["sd"]).abs()
print(one[["mean", "sd"]].round(4).to_string(), two[["mean", "sd"]].round(4).to_string(), sep="\n")
print(f"means differ by at most {difference.max():.2f} standard deviations")
assert difference.max() < 0.3
assert found.verdict.state in ("good", "usable")
total = sum(h.report["simulations"] for week, h in history.items() if week > 3)
print(f"{total} simulations for six updates; six calibrations anew would take up to {6 * 500}")
assert total < 6 * 500
