# %% [markdown]
# # 1. Derivatives of a random program
#
# An infection either happens or does not, so the output of one run is a step function of its parameters. Its derivative is zero
# almost everywhere. What calibration needs is the derivative of the *expected* output. This tutorial compares five estimators of it
# with an exact answer.

# %%
import matplotlib.pyplot as plt
import numpy as np
import torch

import sim

# %% [markdown]
# ## An exact answer
#
# Take a household of three. On the first day each member is infected from outside with hazard $s$. On each later day everybody who was
# infected the day before infects each susceptible member with hazard $b$. This is the Reed-Frost model. The expected number of
# infections is a finite sum, so automatic differentiation gives its exact gradient.


# %%
def binomial(n, hazard):
    """Probabilities that 0, 1, ..., n of n people are infected."""
    p, k = -torch.expm1(-hazard), torch.arange(n + 1.0)
    choose = torch.tensor(
        [torch.lgamma(torch.tensor(n + 1.0)) - torch.lgamma(x + 1) - torch.lgamma(n - x + 1) for x in k]
    )
    return choose.exp() * p**k * (1 - p) ** (n - k)


def expected_size(log_rates, members=3):
    within, outside = log_rates.exp()

    def later(susceptible, infectious):
        if susceptible == 0 or infectious == 0:
            return torch.tensor(0.0)
        chance = binomial(susceptible, within * infectious)
        return sum(chance[k] * (k + later(susceptible - k, k)) for k in range(1, susceptible + 1))

    first = binomial(members, outside)
    return sum(first[k] * (k + later(members - k, k)) for k in range(1, members + 1))


log_rates = torch.tensor([0.7, 0.1]).log().requires_grad_()
size = expected_size(log_rates)
exact = torch.autograd.grad(size, log_rates)[0]
print(
    f"expected infections {size:.4f}; derivatives {exact[0]:.4f} (within the household), {exact[1]:.4f} (from outside)"
)

# %% [markdown]
# ## The same model as a simulation
#
# `sim.Population` says who lives where. `sim.Rates` holds the rates, one row for each run (particle). Every particle uses its own
# random numbers.


# %%
def households(number, members=3):
    people = number * members
    return sim.Population(
        household_start=np.arange(0, people + 1, members),
        group=np.zeros(people, np.int16),
        archetype=np.zeros(people, np.int16),
        venues=np.empty((0, people), np.int32),
        venue_weight=(),
        household_weight=np.ones(number),
        region_of_group=np.zeros(1, np.int16),
        people_per_agent=np.ones(1),
    )


def rates(log_rates, days=4):
    """`log_rates [particle, 2]` to rates: infectious for one day, hazard from outside on day 0 alone."""
    within, outside = log_rates.exp().unbind(1)
    one, zero = torch.ones_like(within), torch.zeros_like(within)
    return sim.Rates(
        infectiousness=one[:, None, None],
        susceptibility=one[:, None],
        transmission=torch.stack([within, zero], 1)[..., None].expand(-1, -1, days),
        mixing=one[:, None, None],
        importation=torch.stack([outside, *[zero] * (days - 1)], 1)[..., None],
        aversion=zero,
        forgetting=0.1 * one,
    )


def gradients(estimator, number, runs, seed=1):
    """Mean gradient of infections per household over independent runs, and its standard error."""
    theta = log_rates.detach().expand(runs, -1).clone().requires_grad_()
    incidence = sim.epidemic(households(number), rates(theta), seed, estimator=estimator)
    total = incidence.sum((1, 2)) / number
    each = torch.autograd.grad(total.sum(), theta)[0]
    return each.mean(0), each.std(0) / runs**0.5


# %% [markdown]
# ## Five estimators
#
# * `straight-through` pretends that each draw is its probability when it differentiates.
# * `gumbel-softmax` replaces the step by a smooth function.
# * `score-function` (REINFORCE) weighs each run by the derivative of its log-probability.
# * `finite-difference` reruns the model at changed rates, with the same random numbers.
# * `removals`, the default, compares each infection with the world in which it did not happen.

# %%
ESTIMATORS = ("straight-through", "gumbel-softmax", "score-function", "finite-difference", "removals")
found = {name: gradients(name, number=1, runs=4000) for name in ESTIMATORS}
print(f"{'exact':18} {exact[0]:7.3f}          {exact[1]:7.3f}")
for name, (mean, error) in found.items():
    print(f"{name:18} {mean[0]:7.3f} ± {error[0]:.3f}  {mean[1]:7.3f} ± {error[1]:.3f}")

# %% [markdown]
# The first two are biased: the household infects its own members back, an echo that the real process forbids. The other three agree
# with the exact answer. They differ in what they cost. Differences need two more runs for each parameter. The score function weighs a
# whole run by everything that happened in it, so its
# noise does not fall as the population grows. That of all removals does.

# %%
# Figure: Left: straight-through and Gumbel-softmax estimates lie away from the exact derivative, the other three on
# it. Right: the noise of the score function stays as the number of households grows, that of all removals falls.
SIZES, noise = (1, 10, 100), {"score-function": [], "removals": []}
for name, values in noise.items():
    for number in SIZES:
        mean, error = gradients(name, number, runs=200)
        values.append(float(error[0] * 200**0.5 / exact[0]))  # standard deviation of one run, relative to the truth

figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
for row, (mean, error) in enumerate(found.values()):
    left.errorbar(mean[0] / exact[0], -row, xerr=2 * error[0] / exact[0], fmt="o", color="#1c6391")
left.axvline(1, color="black", linewidth=0.8)
left.set(
    yticks=range(0, -len(found), -1),
    yticklabels=found,
    xlabel="estimate / exact derivative",
    title="Bias, one household",
)
for name, values in noise.items():
    right.loglog(SIZES, values, "o-", label=name)
right.set(xlabel="households", ylabel="relative sd of one run", title="Noise, larger populations")
right.legend()
plt.show()

# %% [markdown]
# ## What to remember
#
# Use `sim.epidemic` with its default estimator for epidemics. Use `sim.Bernoulli` for random choices in models of your own, and choose
# its estimator by this table. The [page on the gradient](../gradient.md) has the derivation, and the
# [audit](../benchmarks/gradient_audit.md) measures all estimators in larger populations.

# %%
mean, error = found["removals"]
assert torch.all((mean - exact).abs() < 3 * error)  # unbiased, within three standard errors
assert (found["straight-through"][0] - exact)[0] > 3 * found["straight-through"][1][0]  # biased
assert noise["removals"][-1] < 0.2 * noise["score-function"][-1]
