"""Sums over the uninfected, which the lazy kernels keep from day to day, and their renewal where a period of susceptibility begins.

Inside the kernels array 1 of the rates is `Rates.susceptible` `[P, periods, K]`, and its tangent and adjoint likewise.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sim._columns import Packed
from sim._compiled_day import CELL, HOME, SECTIONS, Day, inner, jit, period
from sim._reference import NEVER

if TYPE_CHECKING:
    from sim._compiled_reverse import Back
    from sim._compiled_tangent import Scores


@inner
def starts(rates: tuple, t: int) -> bool:
    """Whether a period begins on a day, other than the first."""
    return t > 0 and period(rates, t) != period(rates, t - 1)


@inner
def count(p: Packed, sigma: np.ndarray, dsigma: np.ndarray, t: int, on: np.ndarray, s: Scores) -> None:
    """Add up the susceptibility of who is uninfected at the beginning of day t, by section."""
    s.weight[:] = 0.0
    s.slope[:] = 0.0
    for i in range(len(p.place)):
        if on[i] >= t:
            k = p.cell_archetype[p.place[i, CELL]]
            for v in range(SECTIONS, p.place.shape[1]):
                s.weight[p.place[i, v]] += sigma[k]
                for z in range(dsigma.shape[1]):
                    s.slope[p.place[i, v], z] += dsigma[k, z]


@inner
def leave(p: Packed, sigma: np.ndarray, dsigma: np.ndarray, i: int, s: Scores) -> None:
    """Count an agent among the uninfected no more."""
    c = p.place[i, CELL]
    k = p.cell_archetype[c]
    s.free[c] -= 1.0
    for v in range(SECTIONS, p.place.shape[1]):
        s.weight[p.place[i, v]] -= sigma[k]
        for z in range(dsigma.shape[1]):
            s.slope[p.place[i, v], z] -= dsigma[k, z]


@inner
def turn(
    p: Packed, sigma: np.ndarray, dsigma: np.ndarray, t: int, h: int, on: np.ndarray, s: Scores, sign: float
) -> None:
    """Open a household (sign -1) at the beginning of day t, or close it (1): what the days before took from the uninfected."""
    if sign > 0.0 and not awaited(p, t, h, on):
        return
    for i in range(p.household_start[h], p.household_start[h + 1]):
        if on[i] >= t:
            W, c = s.E[h], p.place[i, CELL]
            for z in range(len(W)):
                W[z] += sign * s.cells[c, z]
            waited(p, sigma, dsigma, i, s, W, sign)


@inner
def awaited(p: Packed, t: int, h: int, on: np.ndarray) -> bool:
    """Whether somebody in a household is infected on day t or later: the score of a closed one counts no more if not."""
    for i in range(p.household_start[h], p.household_start[h + 1]):  # noqa: SIM110 (numba compiles no generator in any())
        if t <= on[i] < NEVER:
            return True
    return False


@inner
def waited(p: Packed, sigma: np.ndarray, dsigma: np.ndarray, i: int, s: Scores, W: np.ndarray, sign: float) -> None:
    """Add, times a sign, what the days of this period took from the score through venues for an agent not infected on them."""
    k = p.cell_archetype[p.place[i, CELL]]
    for v in range(SECTIONS, p.place.shape[1]):
        m = p.place[i, v]
        if s.ever[m]:
            for z in range(len(W)):
                W[z] += sign * (sigma[k] * s.sections[m, z] + dsigma[k, z] * s.reach[m])


@inner
def renew_scores(p: Packed, rates: tuple, tangents: tuple, q: int, t: int, on: np.ndarray, s: Scores) -> None:
    """At the beginning of a period of susceptibility: the sums over days by section go into the scores, and begin anew."""
    now, sigma, dsigma = period(rates, t), rates[1][q, period(rates, t - 1)], tangents[1][q, period(rates, t - 1)]
    for h in range(len(s.E)):
        if not s.open[h] and awaited(p, t, h, on):
            for i in range(p.household_start[h], p.household_start[h + 1]):
                if on[i] >= t:
                    waited(p, sigma, dsigma, i, s, s.E[h], -1.0)
    s.sections[:] = 0.0
    s.reach[:] = 0.0
    s.ever[:] = False
    count(p, rates[1][q, now], tangents[1][q, now], t, on, s)


@jit
def enter(p: Packed, rates: tuple, q: int, t: int, on: np.ndarray, day: Day, w: Back, a: int) -> None:
    """Walking back, on the last day of a period: a part enters it from the one after."""
    if starts(rates, t + 1):
        w.sections[:2, a] = 0.0
        renew(p, rates, q, t, on, p.household_start[day.part[a]], p.household_start[day.part[a + 1]], w, a)


@inner
def renew(p: Packed, rates: tuple, q: int, t: int, on: np.ndarray, first: int, last: int, w: Back, a: int) -> None:
    """The uninfected among the agents `first..last` enter the period of day t from the one after.

    What they add to the gradient of that one through venues is settled, and they are counted in the sections, which must be empty.
    """
    s, later = period(rates, t), period(rates, t + 1)
    for i in range(first, last):
        if on[i] == NEVER:
            WG, k = w.WG[p.place[i, HOME]], p.cell_archetype[p.place[i, CELL]]
            for v in range(SECTIONS, p.place.shape[1]):
                m = p.place[i, v]
                w.sigmaG[a, later, k] -= WG * w.Y[m] + w.Z[m]
                w.sections[0, a, m] += rates[1][q, s, k] * WG
                w.sections[1, a, m] += rates[1][q, s, k]


@jit
def begin_anew(rates: tuple, t: int, w: Back) -> None:
    """On the day of `enter`, once all parts are there: the running sums of the earlier period."""
    if starts(rates, t + 1):
        w.Y[:] = 0.0
        w.Z[:] = 0.0
