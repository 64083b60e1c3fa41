"""One day of one particle in compiled loops: what `_reference._pressures` computes, for the infectious alone.

Households are cut into *parts*, each walked by one thread. What crosses parts are sums of pressure; every contribution is rounded
to a grid on which float64 sums are exact, so that neither the order nor the number of threads shows in the result.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numba import njit

from sim._columns import Packed
from sim._random import GOLDEN, MIX_1, MIX_2
from sim.rates import COMMUNITY, PERIOD, VENUES

jit: Callable[..., Any] = njit(cache=True, nogil=True, error_model="numpy")
# called by other kernels alone: what would make it callable from Python costs more time to compile than most kernels
NO_WRAPPERS: dict[str, Any] = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}
inner: Callable[..., Any] = njit(cache=True, nogil=True, error_model="numpy", **NO_WRAPPERS)
# of functions that allocate nothing: without counts of references, which cost several times what these functions do
LEAN: dict[str, Any] = {"forceinline": True, "_nrt": False, **NO_WRAPPERS}
lean: Callable[..., Any] = njit(cache=True, nogil=True, error_model="numpy", **LEAN)
STEP, FIRST, SECOND = np.uint64(GOLDEN), np.uint64(MIX_1), np.uint64(MIX_2)
BLOCK = 4096
"""Agents looked at together: their columns stay in the nearest cache."""
HOME, CELL, SECTIONS = 0, 1, 2
"""Columns of `Packed.place`."""


class Day(NamedTuple):
    """Working memory of a particle.

    Axes: `A` parts, `H` households, `M` sections (`sim._columns.Packed`), `S` venue groups, `G` groups, `R` regions, `C` cells.

    Attributes:
        part: `[A + 1]` first household of each part.
        H: `[H]` pressure in households; near: `[H]` 1 where somebody is infectious, else 0.
        sections, groups: `[A, M + 1]` and `[A, G]` each part's sums, in whole multiples of 1 / grid; the last section is of no layer.
        V: `[S]` pressure in venue groups; reach: `[M + 1]` hazard it adds to a member of susceptibility 1.
        F, C: `[G]` mean infectiousness of a group, and what reaches it from all.
        response: `[R]`; outside, base: `[G]` hazard from the community (before the response), from community and importation.
        grid: `[2]` of sections and groups; steps: `[2, K, D]` infectiousness in them.
    """

    part: np.ndarray
    H: np.ndarray
    near: np.ndarray
    sections: np.ndarray
    groups: np.ndarray
    V: np.ndarray
    reach: np.ndarray
    F: np.ndarray
    C: np.ndarray
    response: np.ndarray
    outside: np.ndarray
    base: np.ndarray
    grid: np.ndarray
    steps: np.ndarray


@jit
def new_day(p: Packed, rates: tuple, q: int, parts: int) -> Day:
    """Empty working memory; parts are households with about as many agents each."""
    N, M, G, R, rho = len(p.place), len(p.section_venue), len(p.group_size), len(p.region_size), rates[0][q]
    part = np.empty(parts + 1, dtype=np.int64)
    for a in range(parts):
        part[a] = np.searchsorted(p.household_start, N * a // parts)
    part[parts] = len(p.household_weight)
    largest = 1
    for m in range(M):
        largest = max(largest, p.member_start[m + 1] - p.member_start[m])
    grid, steps = np.empty(2), np.empty((2, *rho.shape))
    for i, size in enumerate((float(largest), p.group_size.max())):  # a sum of them stays below 2**53
        grid[i] = 2.0 ** (51 - np.ceil(np.log2(max(size * rho.max(), 1e-280))))
        steps[i] = np.floor(rho * grid[i] + 0.5)
    return Day(
        part,
        np.zeros(len(p.household_weight)),
        np.zeros(len(p.household_weight), dtype=np.uint8),
        np.zeros((parts, M + 1)),
        np.zeros((parts, G)),
        np.zeros(len(p.venue_weight)),
        np.zeros(M + 1),
        np.zeros(G),
        np.zeros(G),
        np.zeros(R),
        np.zeros(G),
        np.zeros(G),
        grid,
        steps,
    )


@inner
def period(rates: tuple, t: int) -> int:
    """The period of susceptibility in which a day lies, as `Rates.period`; array 1 is `Rates.susceptible`."""
    return min(t // PERIOD, rates[1].shape[1] - 1)


@inner
def uniform(key: np.uint64, agent: int) -> float:
    """As `_random.uniform`."""
    return float(mixed(key + np.uint64(agent + 1) * STEP) >> np.uint64(11)) * 2.0**-53


@inner
def mixed(z: np.uint64) -> np.uint64:
    """Output of splitmix64 for a state."""
    z = (z ^ (z >> np.uint64(30))) * FIRST
    z = (z ^ (z >> np.uint64(27))) * SECOND
    return z ^ (z >> np.uint64(31))


@inner
def infected_between(on: np.ndarray, first: int, last: int, earliest: int, latest: int, chosen: np.ndarray) -> int:
    """List the agents `first..last`, at most BLOCK of them, whose last infection lies in `earliest..latest`; returns their number."""
    flags = np.zeros(BLOCK // 8, dtype=np.uint64)
    bytes_ = flags.view(np.uint8)
    for j in range(last - first):
        bytes_[j] = (on[first + j] >= earliest) & (on[first + j] <= latest)
    count = 0
    for w in range((last - first + 7) // 8):
        if flags[w] != 0:
            for j in range(8):  # no branch that the processor could mispredict
                chosen[count] = first + 8 * w + j
                count += int((flags[w] >> np.uint64(8 * j)) & np.uint64(1))
    return count


@jit
def add_pressures(p: Packed, rates: tuple, q: int, t: int, on: np.ndarray, day: Day, a: int) -> None:
    """Sums over a part's infectious: its households, and its share in sections and groups."""
    rho, sections, groups, layers = rates[0][q], day.sections[a], day.groups[a], p.place.shape[1] - SECTIONS
    first, last = p.household_start[day.part[a]], p.household_start[day.part[a + 1]]
    sections[:] = 0.0
    groups[:] = 0.0
    day.H[day.part[a] : day.part[a + 1]] = 0.0
    day.near[day.part[a] : day.part[a + 1]] = 0
    chosen = np.empty(BLOCK + 8, dtype=np.int32)
    for block in range(first, last, BLOCK):
        for e in range(infected_between(on, block, min(block + BLOCK, last), t - rho.shape[1], t - 1, chosen)):
            i = chosen[e]
            h, c, since = p.place[i, HOME], p.place[i, CELL], t - 1 - on[i]
            k = p.cell_archetype[c]
            day.near[h] = 1
            day.H[h] += rho[k, since] * p.household_weight[h]
            groups[p.cell_group[c]] += day.steps[1, k, since]
            for v in range(layers):
                sections[p.place[i, SECTIONS + v]] += day.steps[0, k, since]


@jit
def apply_pressures(p: Packed, rates: tuple, q: int, t: int, A: np.ndarray, day: Day) -> None:
    """What reaches whole sections and groups, from the sums of all parts; `A` `[R]` is the remembered incidence."""
    _, _, beta, mixing, importation, aversion = rates[:6]
    M, parts = len(p.section_venue), len(day.sections)
    day.V[:] = 0.0
    for a in range(parts):
        for m in range(M):
            day.V[p.section_venue[m]] += day.sections[a, m]
    for s in range(len(day.V)):
        day.V[s] *= p.venue_weight[s] / day.grid[0]
    for r in range(len(A)):
        day.response[r] = np.exp(-aversion[q] * A[r])
    for m in range(M):
        b = beta[q, VENUES + p.section_layer[m], t]
        day.reach[m] = day.response[p.section_region[m]] * b * day.V[p.section_venue[m]]
    for g in range(len(day.F)):
        day.F[g] = 0.0
        for a in range(parts):
            day.F[g] += day.groups[a, g]
        day.F[g] /= day.grid[1] * p.group_size[g]
    for g in range(len(day.F)):
        day.C[g] = 0.0
        for k in range(len(day.F)):
            day.C[g] += mixing[q, g, k] * day.F[k]
        day.outside[g] = beta[q, COMMUNITY, t] * day.C[g]
        day.base[g] = day.response[p.region_of_group[g]] * day.outside[g] + importation[q, t, g]


@inner
def factor(reinfection: np.ndarray, since: int) -> float:
    """Susceptibility `since` (0-based) days after the last infection, relative to before the first; `reinfection` `[E]`."""
    return reinfection[min(since, len(reinfection) - 1)] if len(reinfection) else 0.0
