# %% [markdown]
# # 11. Scenarios and policies
#
# What would have happened if? A calibrated study answers by running the same posterior draws, with the same random numbers, in two worlds:
# as calibrated, and with one thing changed. What is averted is the difference, draw by draw.

# %%
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import posterity

folder = Path(tempfile.mkdtemp())

# %% [markdown]
# ## A calibrated run
#
# The study is the small made-up one that `posterity new` writes, with measures: restrictions and isolation, which scenarios change. The
# sizes are those of a smoke run, so that this page takes a minute. For answers that count leave them out.

# %%
(folder / "study.py").write_text("""
from dataclasses import replace
from datetime import date

import epi
from posterity.template.study import study as known

share = epi.Beta(3.0, 7.0, unit="share")
study = replace(known, name="with_measures", measures=epi.Measures(
    restrictions_from=date(2030, 3, 3), restrictions_effect=share, isolation_days=7.0, isolation_effect=share, incubation=3.0,
))
""")
study = posterity.Study.load(str(folder / "study.py"))
run = study.calibrate(folder / "run", smoke=True, scale=0.3, max_steps=20, draws=16, quiet=True)
print("status:", run.status)

# %% [markdown]
# ## Two questions
#
# A scenario is a function from the setting (days, weeks, the fitted curve) to what changes. `carries` and `leaves_out` are printed with the
# answer: a question without them is half asked.

# %%
(folder / "mine.py").write_text("""
from datetime import date
from epi.scenarios.scenario import Question

SCENARIOS = (
    Question(
        "meet-less",
        "People meet a third less in the community for four weeks",
        lambda setting: {"contacts_community": setting.scaled(date(2030, 3, 25), date(2030, 4, 21), 2 / 3)},
        carries="Contacts in the community, day by day.",
        leaves_out="More contacts at home while people stay there.",
    ),
    Question(
        "nothing",
        "Nothing changes",
        lambda setting: {"contacts_community": setting.scaled(date(2030, 3, 25), date(2030, 4, 21), 1.0)},
        carries="Nothing.",
        leaves_out="Everything.",
    ),
)
""")
answers = {name: run.scenario(name, draws=12, add=folder / "mine.py") for name in ("meet-less", "nothing")}
for name, answer in answers.items():
    print(name)
    print(
        answer.table[answer.table.level == "all"][["measure", "median", "low_95", "high_95"]]
        .round(0)
        .to_string(index=False)
    )

# %%
# Figure: Infections averted in each county by meeting a third less for four weeks, with 95 % intervals; above zero in both.
table = answers["meet-less"].table
rows = table[(table.measure == "infections") & (table.level != "all") & (table.level != "age")]
figure, axes = plt.subplots(figsize=(6, 2.4), layout="constrained")
middle = rows["median"].to_numpy()
axes.errorbar(middle, np.arange(len(rows)), xerr=[middle - rows.low_95, rows.high_95 - middle], fmt="o")
axes.axvline(0, color="grey", linewidth=0.8)
axes.set(yticks=range(len(rows)), yticklabels=rows.place, xlabel="infections averted (95 % interval over draws)")
plt.show()

# %% [markdown]
# ## Policies
#
# A policy is a scenario with a budget: which weeks, or which people, avert most? `posterity allocate-restrictions RUN --budget 2` and
# `posterity allocate-doses RUN --budget 200000` search with derivatives through the epidemic, and judge on draws that the search did not
# use. [Scenarios](../what_if.md) has the methods, [the benchmark](../benchmarks/scenarios.md) what they found for New Zealand.
#
# ## Check
#
# A scenario that changes nothing averts nothing, exactly: the random numbers are the same. Meeting less averts infections.

# %%
zero = answers["nothing"].table
assert (zero[["median", "low_95", "high_95"]].abs() < 1e-9).all(axis=None)
infections = table[(table.measure == "infections") & (table.level == "all")].iloc[0]
print(f"infections averted: {infections['median']:,.0f} ({infections.low_95:,.0f} to {infections.high_95:,.0f})")
assert infections["median"] > 0
