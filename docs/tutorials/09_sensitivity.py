# %% [markdown]
# # 9. Sensitivity without simulation, compared with Sobol
#
# Which parameters drive an output? Sobol indices answer with thousands of runs. Derivatives answer with hundreds, and a calibration that used
# derivatives has them already. This tutorial compares the two on one model.

# %%
import matplotlib.pyplot as plt
import numpy as np
import torch

from calib import (
    Functional,
    Gradients,
    derivative_sensitivity,
    gradient_design,
    sensitivity,
    sobol_design,
    sobol_indices,
)  # fmt: skip

# %% [markdown]
# ## The model
#
# Deaths of an outbreak follow from seven parameters. Each has a log-normal prior. The model is written in coordinates `z` that are
# standard normal under the prior, so that one unit means the same for every parameter.

# %%
MEDIANS = {
    "contact": 0.45, "recovery": 0.22, "start": 20.0, "vaccine": 0.35, "reporting": 0.4, "severity": 0.03, "fatality": 0.15,
}  # fmt: skip
SD = torch.tensor([0.15, 0.1, 0.8, 0.2, 0.5, 0.3, 0.6])
NAMES, DAYS, PEOPLE = list(MEDIANS), 80, 100_000


def deaths(z):
    """`z [draw, parameter]` to deaths `[draw]`."""
    contact, recovery, start, vaccine, _, severity, fatality = (
        torch.tensor(list(MEDIANS.values())) * torch.exp(SD * z)
    ).unbind(1)
    susceptible, infectious, total = PEOPLE * (1 - 0.5 * vaccine), start, 0.0
    for _ in range(DAYS):
        new = susceptible * (1 - torch.exp(-contact * infectious / PEOPLE))
        susceptible, infectious, total = susceptible - new, infectious + new - recovery * infectious, total + new
    return total * severity * fatality


def value_and_gradient(z):
    z = torch.as_tensor(z, dtype=torch.float32).requires_grad_()
    value = deaths(z)
    return value.detach().numpy(), torch.autograd.grad(value.sum(), z)[0].numpy()


# %% [markdown]
# ## Derivatives
#
# `derivative_sensitivity` needs gradients at a small design of draws. Its shares add up to one and lie between the first-order and the
# total Sobol index.

# %%
random = np.random.default_rng(0)
design = gradient_design(512, len(NAMES), random)
value, gradient = value_and_gradient(design.z)
_, mixed = value_and_gradient(design.mixed)
found = derivative_sensitivity(Gradients(gradient, gradient, mixed, value, value), NAMES, random, output="deaths")
gradients_used = 2 * 512

# %% [markdown]
# ## Sobol indices

# %%
plan = sobol_design(4096, len(NAMES), 1)
points = torch.as_tensor(plan.points(), dtype=torch.float32)
with torch.no_grad():
    values = deaths(points.reshape(-1, len(NAMES))).reshape(*points.shape[:2], 1)
sobol = sobol_indices(values.numpy(), random)
print(f"{gradients_used} gradients, or {plan.runs:,} runs")
for i, name in enumerate(NAMES):
    print(
        f"{name:10} share {found.share.value[i]:.3f}   Sobol first {sobol.first.value[i]:.3f}, total {sobol.total.value[i]:.3f}"
    )

# %%
# Figure: Shares by derivatives next to total Sobol indices for seven parameters: fatality leads in both, reporting
# has none.
figure, axes = plt.subplots(figsize=(8, 3.2), layout="constrained")
place = np.arange(len(NAMES))
axes.errorbar(place - 0.15, found.share.value, yerr=[found.share.value - found.share.low, found.share.high - found.share.value],
              fmt="o", label="share, by derivatives")  # fmt: skip
axes.errorbar(place + 0.15, sobol.total.value, yerr=[sobol.total.value - sobol.total.low, sobol.total.high - sobol.total.value],
              fmt="s", label="total Sobol index")  # fmt: skip
axes.set(xticks=place, xticklabels=NAMES, ylabel="part of the variance", title="What drives deaths?")
axes.legend()
plt.show()

# %% [markdown]
# ## From draws that a calibration kept
#
# After a calibration with derivatives the Jacobians are at hand, and `sensitivity` ranks parameters with no simulation at all. Here the
# kept draws are those of the prior.

# %%
z = random.standard_normal((64, len(NAMES)))
_, kept = value_and_gradient(z)
ranking = sensitivity(kept[:, None], z, NAMES, [Functional("deaths", [1.0])], random, over="prior")[0]
print("ranking:", ", ".join(NAMES[i] for i in np.argsort(ranking.measures["derivative_share"].rank)))

# %% [markdown]
# The share of reported cases (`reporting`) has no effect on deaths, and all three say so. A ranking by derivatives is one of the place
# where the draws lie: it says nothing of thresholds that no draw has met.

# %%
top = lambda index: set(np.argsort(-np.abs(index))[:3])
assert top(found.share.value) == top(sobol.total.value)
assert np.all(np.abs(found.share.value - sobol.total.value) < 0.12)
assert found.share.value[NAMES.index("reporting")] == 0.0
assert found.explained[1] < 1 < found.explained[2]  # shares add up to one, within their interval
