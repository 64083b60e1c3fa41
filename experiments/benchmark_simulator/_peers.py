"""Other simulators in the same run: as many agents and days, and what each of them computes."""

from __future__ import annotations

import time
import warnings
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any

SEEDED = 0.005
"""Share of agents infected at the start."""


def peers(agents: int, days: int, seed: int) -> list[dict[str, Any]]:
    """Measure the installed ones of covasim and starsim, after a small run that compiles.

    Returns:
        A row each: name, version, agents, days, wall and core seconds of the days alone (building the population is apart, in
        `setup_seconds`), agent-days a second and a core-second, infections per agent, and what is computed. A row with `missing` where
        a package is not installed.
    """
    rows = []
    for name, build, says in (("covasim", _covasim, _COVASIM), ("starsim", _starsim, _STARSIM)):
        if find_spec(name) is None:
            rows.append({"peer": name, "missing": f"pip install {name}, or the extra `peers`"})
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            _measured(build, 1_000, min(days, 10), seed)
            rows.append(
                {"peer": name, "version": version(name), **_measured(build, agents, days, seed), "computes": says}
            )
    return rows


def _measured(build: Any, agents: int, days: int, seed: int) -> dict[str, Any]:
    begun = time.perf_counter()
    sim, infected = build(agents, days, seed)
    ready, core = time.perf_counter(), time.process_time()
    sim.run()
    seconds, core = time.perf_counter() - ready, time.process_time() - core
    return {
        "agents": agents,
        "days": days,
        "setup_seconds": ready - begun,
        "seconds": seconds,
        "core_seconds": core,
        "agent_days_per_second": agents * days / seconds,
        "agent_days_per_core_second": agents * days / core,
        "infections_per_agent": infected(sim) / agents,
    }


_COVASIM = (
    "households, schools, workplaces and random community contacts (pop_type hybrid, its default contacts and transmission); "
    "besides infection the course of disease to recovery or death by age, individual viral loads and susceptibility; no gradient; float32"
)
_STARSIM = "one random network of 10 contacts, SIR states with individual durations; no households, schools or ages; no gradient"


def _covasim(agents: int, days: int, seed: int) -> tuple[Any, Any]:
    import covasim

    sim = covasim.Sim(
        pop_size=agents, n_days=days, pop_type="hybrid", pop_infected=SEEDED * agents, rand_seed=seed, verbose=0
    )
    sim.initialize()
    return sim, lambda s: float(s.results["cum_infections"][-1])


def _starsim(agents: int, days: int, seed: int) -> tuple[Any, Any]:
    import starsim

    sim = starsim.Sim(
        n_agents=agents,
        diseases=starsim.SIR(beta=starsim.peryear(20), init_prev=SEEDED),
        networks=starsim.RandomNet(n_contacts=10),
        start="2020-01-01",
        dur=starsim.days(days),
        dt=starsim.days(1),
        rand_seed=seed,
        verbose=0,
    )
    sim.init()
    return sim, lambda s: float(s.results.sir.cum_infections[-1])
