# %% [markdown]
# # 6. Can it be believed?
#
# A calibration always gives numbers. This tutorial makes two that must not be used, and shows how each is caught: a fit that misses half
# of the posterior, and a model that cannot produce the data.

# %%
import matplotlib.pyplot as plt
import numpy as np
import torch
from torch.distributions import Independent, LogNormal, NegativeBinomial, Normal, Poisson

from calib import calibrate

# %% [markdown]
# ## A fit that misses modes
#
# An outbreak starts somewhere on a line. Two clinics at the same distance from the middle report cases, but not which one reported what:
# only their sum is known. So the source may be left or right, and on either side
# of the clinic there. The posterior has four modes, two on each side.

# %%
CLINICS = torch.tensor([-1.0, 1.0])


def sum_of_clinics(theta, seed):
    distance = (theta["source"][:, None] - CLINICS).abs()
    return (theta["size"][:, None] * torch.exp(-(distance**2) / 0.18)).sum(1, keepdim=True).expand(-1, 5)


prior = {"source": Normal(0.0, 1.0), "size": LogNormal(4.0, 0.1)}
count = lambda expected: Independent(Poisson(expected + 0.1), 1)
cases = torch.tensor([44.0, 51.0, 39.0, 47.0, 42.0])

wrong = calibrate(sum_of_clinics, prior, cases, likelihood=count, method="vi", flow="gaussian", budget=8000, seed=1)
right = calibrate(sum_of_clinics, prior, cases, likelihood=count, method="emulated-smc", budget=2000, seed=1)
print("one Gaussian:", wrong.verdict)
print("emulator:", right.verdict)

# %%
# Figure: Histogram of posterior draws: the emulator has modes around -1 and 1, the single Gaussian has not.
figure, axes = plt.subplots(figsize=(7, 3), layout="constrained")
for name, found in (("one Gaussian", wrong), ("emulator", right)):
    draws = found.sample(4000, seed=0, corrected=False if found is wrong else None)["source"]
    axes.hist(draws.numpy(), bins=np.linspace(-2, 2, 81), density=True, alpha=0.5, label=name)
axes.set(xlabel="source", ylabel="density", title="The source may be on either side")
axes.legend()
plt.show()

# %% [markdown]
# The verdict rests on fresh simulations. Some of them are at draws of the prior, so that a mode is noticed where the fit has no draws.
#
# ## A model that cannot produce the data
#
# The second failure is not one of the method. Counts of a week are generated with superspreading (overdispersion), but the likelihood
# says Poisson. The fit itself succeeds, and its intervals are far too narrow.


# %%
def growth(theta, seed):
    return theta["start"][:, None] * torch.exp(theta["rate"][:, None] * torch.arange(20.0))


priors = {"start": LogNormal(3.0, 0.5), "rate": Normal(0.1, 0.05)}
mean = growth({"start": torch.tensor([20.0]), "rate": torch.tensor([0.1])}, 0)[0]
negative_binomial = lambda m: Independent(NegativeBinomial(torch.full_like(m, 3.0), logits=(m / 3.0).log()), 1)
torch.manual_seed(3)
superspreading = negative_binomial(mean).sample()

poisson = calibrate(growth, priors, superspreading, likelihood=lambda m: Independent(Poisson(m), 1), budget=500)
dispersed = calibrate(growth, priors, superspreading, likelihood=negative_binomial, budget=500)
pages = {
    "Poisson": poisson.check(growth, lambda m: Independent(Poisson(m), 1)),
    "negative binomial": dispersed.check(growth, negative_binomial),
}
for name, page in pages.items():
    print(f"== {name}: {page.word}")
    print(page.text())

# %% [markdown]
# Both fits have the verdict *good*: each found the posterior of the model that it was given. Only the check against the data tells them
# apart. **Always read both**: the verdict asks whether the computation is right, the check asks whether the model is.

# %%
print(f"verdicts: {poisson.verdict.state} and {dispersed.verdict.state}; checks: {pages['Poisson'].word}, "
      f"{pages['negative binomial'].word}")  # fmt: skip
assert wrong.verdict.state in ("poor", "unfinished")
assert right.verdict.state == "good"
sides = (right.sample(4000, seed=0)["source"] > 0).double().mean()
assert abs(float(sides) - 0.5) < 0.08  # both sides, in equal parts by symmetry
assert poisson.verdict.state == dispersed.verdict.state == "good"
assert pages["Poisson"].word == "fail"
assert pages["negative binomial"].word != "fail"
