# %% [markdown]
# # 4. An ordinary Pyro model
#
# A statistical model written in Pyro needs no simulator function, no prior dictionary and no likelihood: `calibrate` reads them from the
# model. The example is the best known hierarchy of all, the eight schools of Rubin (1981). Its posterior can be computed by quadrature.

# %%
import matplotlib.pyplot as plt
import pyro
import pyro.distributions as dist
import torch

from calib import calibrate

# %% [markdown]
# ## The model
#
# Eight schools gave extra coaching. `effect` is the measured gain in points, `error` its standard error. Each school has an effect of
# its own, drawn from a common distribution. Write the model for one draw of the parameters, as for Pyro's own samplers.

# %%
effect = torch.tensor([28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0])
error = torch.tensor([15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0])


def schools(effect):
    mu = pyro.sample("mu", dist.Normal(0.0, 5.0))
    tau = pyro.sample("tau", dist.HalfCauchy(5.0))
    with pyro.plate("school", 8):
        theta = pyro.sample("theta", dist.Normal(mu, tau))
        pyro.sample("y", dist.Normal(theta, error), obs=effect)


# %% [markdown]
# ## Calibrate
#
# Hamiltonian Monte Carlo runs in coordinates in which the prior is standard normal. The hierarchy is thereby in its non-centred form.

# %%
found = calibrate(schools, data=effect, seed=0, budget=20_000)
print(found.verdict)
draws = found.sample(4000)

# %% [markdown]
# ## Compare with quadrature
#
# Given `mu` and `tau` the schools are independent, and their effects integrate out: `y ~ Normal(mu, sqrt(tau² + error²))`. What is left
# is two-dimensional.

# %%
mu = torch.linspace(-20, 30, 401, dtype=torch.float64)
tau = torch.linspace(0.005, 120, 12_000, dtype=torch.float64)
sd = (tau[:, None] ** 2 + error.double() ** 2).sqrt()
log_weight = dist.HalfCauchy(5.0).log_prob(tau)[:, None] + dist.Normal(0.0, 5.0).log_prob(mu)
for y, s in zip(effect.double(), sd.T, strict=True):
    log_weight = log_weight + dist.Normal(mu, s[:, None]).log_prob(y)
weight = torch.softmax(log_weight.flatten(), 0).reshape(len(tau), len(mu))
exact = {"mu": float((weight.sum(0) * mu).sum()), "tau": float((weight.sum(1) * tau).sum())}
for name, value in exact.items():
    print(f"{name}: quadrature {value:.2f}, posterity {draws[name].mean():.2f}")

# %%
# Figure: Effects of the eight schools, drawn from their measurements towards the common mean.
figure, axes = plt.subplots(figsize=(7, 3.2), layout="constrained")
middle, (low, high) = (
    draws["theta"].mean(0),
    draws["theta"].quantile(torch.tensor([0.05, 0.95], dtype=draws["theta"].dtype), 0),
)
axes.errorbar(range(8), middle, yerr=[middle - low, high - middle], fmt="o", label="posterior, 90 %")
axes.plot(range(8), effect, "kx", label="measured")
axes.axhline(float(draws["mu"].mean()), color="grey", linewidth=0.8)
axes.set(xlabel="school", ylabel="gain (points)", title="Effects shrink towards the common mean")
axes.legend()
plt.show()

# %% [markdown]
# ## New data, and ArviZ
#
# `found.predict(200)` runs the model at posterior draws and returns new data. `found.to_arviz()` returns chains with `energy` and
# `diverging`, for every plot of ArviZ.

# %%
data, _ = found.predict(200)
assert data["y"].shape == (200, 8)
assert abs(float(draws["mu"].mean()) - exact["mu"]) < 0.5
assert abs(float(draws["tau"].mean()) - exact["tau"]) < 0.6
assert found.verdict.state in ("good", "usable")
