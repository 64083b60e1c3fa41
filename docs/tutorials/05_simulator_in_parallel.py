# %% [markdown]
# # 5. A simulator in numpy, starsim or mesa, in parallel
#
# Most simulators run one epidemic at a time, in Python, with numpy or a framework such as starsim or mesa. They need not be changed. They
# must be a function of one draw of the parameters and a seed, in a file that worker processes can import. The one used here is
# [`town.py`](town.py): a thousand agents who meet at random.

# %%
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from torch.distributions import Beta, Independent, LogNormal, Poisson

from calib import EachDraw, calibrate

HERE = Path(__file__).parent if "__file__" in globals() else Path.cwd()
sys.path.insert(0, str(HERE))
from town import daily_reports  # noqa: E402

# %%
truth = {"contact": 0.09, "recovery": 0.2}
reports = np.random.default_rng(1).poisson(daily_reports(truth, 1))
prior = {"contact": Beta(2.0, 18.0), "recovery": LogNormal(torch.tensor(0.2).log(), 0.3)}

# %% [markdown]
# ## Workers
#
# `EachDraw` wraps a function of one draw. `executor=` takes any pool of Python's `concurrent.futures`. A task is `draws_per_task` draws
# and has a seed of its own, so the result does not depend on the number of workers. A run that raises, or takes longer than
# `task_timeout` seconds, counts as failed, and the others are kept.
#
# On Windows and macOS use `get_context("spawn")` and put the call under `if __name__ == "__main__":`, as Python asks for there.

# %%
begun = time.perf_counter()
with ProcessPoolExecutor(2, mp_context=get_context("fork")) as pool:
    found = calibrate(
        EachDraw(daily_reports), prior, reports, likelihood=lambda mean: Independent(Poisson(mean), 1), budget=1500,
        executor=pool, draws_per_task=25, task_timeout=60, seed=0,
    )  # fmt: skip
print(f"{found.report['simulations']} runs in {time.perf_counter() - begun:.0f} s")
print(found.verdict)
print(found.summary().round(3).to_string())

# %%
# Figure: Daily reports of 50 runs at posterior draws, around the reported numbers.
draws = found.sample(50, seed=1)
runs = [daily_reports({name: float(x[i]) for name, x in draws.items()}, i) for i in range(50)]
figure, axes = plt.subplots(figsize=(7, 3), layout="constrained")
axes.plot(np.array(runs).T, color="#1c6391", alpha=0.15)
axes.plot(reports, "k.", label="reported")
axes.set(xlabel="day", ylabel="reports a day", title="Runs at posterior draws")
axes.legend()
plt.show()

# %% [markdown]
# ## starsim, mesa, covasim, epydemix
#
# Only the function differs. `examples/starsim_sir.py`, `mesa_sir.py`, `covasim_wave.py` and `epydemix_sir.py` in the repository calibrate
# a model of each package in the same way.

# %%
assert found.verdict.state in ("good", "usable")
assert not found.report["failures"]
for name, value in truth.items():
    low, high = np.quantile(found.sample(4000, seed=2)[name], (0.025, 0.975))
    print(f"{name}: {low:.3f} to {high:.3f}, truth {value}")
    assert low < value < high
