"""The epidemic with all removals as its gradient, in compiled loops: `_removals_reference` name by name, the same random numbers.

Particles are worked on side by side, a thread each; where there are fewer of them than threads, threads share the infections of
one. Attempts and alternatives depend on random numbers of their own infection alone and are put together in the order of infections, so
results do not depend on the number of threads. GPU kernels have modules of their own (`_triton_removals`).
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sim import _compiled_hazards as hazards
from sim import _compiled_removals as removals
from sim._columns import Columns
from sim._compiled import _adjoints, _arrays, _directions, _double, _each, _no_adjoints, _wait
from sim._compiled import run as run
from sim._compiled_attempts import Attempts, draw
from sim._compiled_people import Past, People, past, people
from sim._compiled_web import Web, weave
from sim._reference import NEVER, Epidemic
from sim._removals_reference import refuse_raised
from sim._removed import weights as removed_spells
from sim.rates import Rates

CHUNK = 4096
"""Infections whose alternatives are kept at once in forward mode."""
MOST_ATTEMPTS, MOST_ATTEMPTS_EACH = 10_000_000, 300
"""Attempts beyond which rates are refused: so many, and so many for each infection."""
EVENTS = 256
"""Events for which a thread has room at first."""


def vjp(c: Columns, rates: Rates, epidemic: Epidemic, cotangent: Tensor) -> Rates:
    """As `_removals_reference.vjp`."""
    refuse_raised(rates)
    arrays, bar, weights = _arrays(rates), _no_adjoints(rates), _double(cotangent)
    incidence, folk = _double(epidemic.incidence), people(c)

    def walk(q: int, pool: ThreadPoolExecutor, parts: int) -> None:
        w = _past(folk, arrays, epidemic, q)
        if not len(w.agent):
            return
        found, web = _attempts(folk, w, pool, parts)
        change, removed = np.zeros(len(w.agent)), _removed(w, len(folk.group))

        def share(a: int) -> None:
            work = removals.new_work(folk, w, web, EVENTS)
            removals.changes(folk, w, found, web, work, a, parts, removed, weights[q].ravel(), change)

        _together(share, pool, parts)
        hazards.pull(folk, w, change, hazards.memory_by_forgetting(w, folk, incidence[q]), bar, q)

    _each(walk, c.packed, rates.particles)
    return _adjoints(rates, bar)


def jvp(c: Columns, rates: Rates, tangents: Rates, epidemic: Epidemic) -> Tensor:
    """As `_removals_reference.jvp`."""
    refuse_raised(rates)
    arrays, along, folk = _arrays(rates), _directions(rates, tangents), people(c)
    incidence = _double(epidemic.incidence)
    P, T, G = incidence.shape
    out = np.zeros((P, T * G, tangents.mixing.shape[-1]))

    def walk(q: int, pool: ThreadPoolExecutor, parts: int) -> None:
        w = _past(folk, arrays, epidemic, q)
        if not len(w.agent):
            return
        found, web = _attempts(folk, w, pool, parts)
        drift, pressure = hazards.memory_by_forgetting(w, folk, incidence[q]), _pressure_tangent(folk, w, along, q)
        works = [removals.new_work(folk, w, web, EVENTS) for _ in range(parts)]
        removed = _removed(w, len(folk.group))
        for first in range(0, len(w.agent), CHUNK * parts):
            stop = min(first + CHUNK * parts, len(w.agent))
            edges = np.linspace(first, stop, parts + 1).astype(int)
            found_by: list[Any] = [None] * parts

            def share(a: int, edges: np.ndarray = edges, found_by: list[Any] = found_by) -> None:
                begin, end = int(edges[a]), int(edges[a + 1])
                score = hazards.push(folk, w, drift, pressure, along, q, begin, end) * removed[begin:end, None]
                found_by[a] = (*removals.entries(folk, w, found, web, works[a], begin, end, removed), score)

            _together(share, pool, parts)
            for x in found_by:
                hazards.add(*x, out[q])

    _each(walk, c.packed, rates.particles)
    return torch.from_numpy(out.reshape(P, T, G, -1)).to(tangents.mixing.dtype)


def _past(folk: People, arrays: tuple[np.ndarray, ...], epidemic: Epidemic, q: int) -> Past:
    """A particle's run."""
    on, rows = epidemic.infected_on[q].numpy(), epidemic.reinfections.numpy()
    agent, rows = np.flatnonzero(on != NEVER), rows[rows[:, 0] == q]
    day = on[agent].astype(np.int64)
    if len(rows):
        agent, day = np.concatenate([agent, rows[:, 1]]), np.concatenate([day, rows[:, 3]])
        order = np.lexsort((day, agent))
        agent, day = agent[order], day[order]
    key = epidemic.key[q : q + 1].numpy().view(np.uint64)
    memory = _double(epidemic.memory[q])
    w: Past = past(folk, arrays, q, key, memory, agent.astype(np.int64), day, epidemic.before.shape[1])
    return w


def _removed(w: Past, agents: int) -> np.ndarray:
    """For how many infections each spell `[M]` counts."""
    agent = torch.from_numpy(w.agent).long()
    order = torch.arange(len(agent)) - torch.from_numpy(w.first).long()[agent]
    key, given = torch.from_numpy(w.key.view(np.int64)), torch.from_numpy(w.day) < w.begins
    return removed_spells(key, torch.zeros_like(agent), agent, order, agents, given).numpy()


def _attempts(folk: People, w: Past, pool: ThreadPoolExecutor, parts: int) -> tuple[Attempts, Web]:
    """Attempts of a run, in the order of spells, and their tables.

    Raises:
        ValueError: there are so many that no alternative could be followed.
    """
    number = len(w.agent)
    edges = np.linspace(0, number, parts + 1).astype(int)
    found: list[Any] = [None] * parts
    limit = MOST_ATTEMPTS + MOST_ATTEMPTS_EACH * number

    def share(a: int) -> None:
        found[a] = draw(folk, w, int(edges[a]), int(edges[a + 1]), limit)

    _together(share, pool, parts)
    if not all(within for _, within in found):
        raise ValueError(
            f"The rates make more than {limit:,} contacts that may infect for {number:,} infections, more than estimator 'removals' follows; "
            "lower rates.transmission, or choose estimator='local-score'."
        )
    together = Attempts(*(np.concatenate(x) for x in zip(*(x for x, _ in found), strict=True)))
    return together, weave(folk, w, together)


def _pressure_tangent(folk: People, w: Past, along: tuple[np.ndarray, ...], q: int) -> np.ndarray:
    """Tangents `[T, G, Q]` of what reaches a group from all."""
    mean, mixing = w.infectious / folk.group_size, along[3][q]
    out = np.einsum("gh,thq->tgq", w.mixing, hazards.infectious_tangent(folk, w, along[0][q]), optimize=True)
    if mixing.any():
        out += np.einsum("ghq,th->tgq", mixing, mean, optimize=True)
    return out


def _together(share: Callable[[int], None], pool: ThreadPoolExecutor, parts: int) -> None:
    """Do all shares: here if there is one, else in the pool."""
    if parts == 1:
        share(0)
    else:
        _wait(pool.map(share, range(parts)))
