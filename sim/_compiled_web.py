"""Attempts in the orders in which alternative worlds look them up."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from sim._compiled_attempts import NO_SPELL, Attempts
from sim._compiled_day import jit, lean
from sim._compiled_people import Past, People, after, last_before, level
from sim.rates import COMMUNITY


class Web(NamedTuple):
    """Attempts by source, by target, and by how much behaviour would have to change for them to matter.

    Attributes:
        out_first, out: attempts of each spell. into_first, into: attempts on each agent, of agents once infected alone where
            nobody is infected again.
        supports: `[M]` attempts that infected, by spell.
        share: `[E]` height as a share of what would infect if behaviour did not respond, or -1 where it does not decide.
        bin_first, bins: attempts with a share by (day, region of the target): first those that behaviour kept from infecting, then those that
            infected; each by `place`, in 0..1 of the shares of its kind. cut: where the second kind begins.
    """

    out_first: np.ndarray
    out: np.ndarray
    into_first: np.ndarray
    into: np.ndarray
    supports: np.ndarray
    share: np.ndarray
    bin_first: np.ndarray
    bins: np.ndarray
    place: np.ndarray
    cut: np.ndarray


@lean
def time_of(w: Past, a: Attempts, e: int) -> int:
    """Day of an attempt in the run."""
    return a.age[e] if a.source[e] < 0 else w.day[a.source[e]] + 1 + a.age[e]


@jit
def sorted_into(key: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Where each key begins, and the entries by key; negative keys are left out."""
    first = np.zeros(size + 1, dtype=np.int64)
    for e in range(len(key)):
        if key[e] >= 0:
            first[key[e] + 1] += 1
    for n in range(size):
        first[n + 1] += first[n]
    out, at = np.empty(first[size], dtype=np.int32), first[:-1].copy()
    for e in range(len(key)):
        if key[e] >= 0:
            out[at[key[e]]] = e
            at[key[e]] += 1
    return first, out


@jit
def weave(c: People, w: Past, a: Attempts) -> Web:
    """Sort the attempts of a run."""
    M, N, E, R = len(w.agent), len(c.group), len(a.source), len(c.region_size)
    reinfections = w.reinfection.shape[1] > 0
    out_first, out = sorted_into(a.source, M)
    key, supports = np.empty(E, dtype=np.int32), np.zeros(M, dtype=np.int32)
    for e in range(E):
        j = a.target[e]
        key[e] = j if reinfections or w.first[j] < w.first[j + 1] else -1
        if a.spell[e] != NO_SPELL:
            supports[a.spell[e]] += 1
    into_first, into = sorted_into(key, N)
    bins, cut, share = np.empty(0, dtype=np.int32), np.zeros(0, dtype=np.int64), np.empty(0)
    bin_first, place = np.zeros(1, dtype=np.int64), np.empty(0)
    if w.aversion > 0.0:
        share, where = np.full(E, -1.0), np.empty(E)
        for e in range(E):
            j, t = a.target[e], time_of(w, a, e)
            key[e] = -1
            if a.channel[e] >= COMMUNITY:
                free, r = (
                    after(c, w, t, j, last_before(w, j, t)) * level(c, w, a.channel[e], t, j, 1.0),
                    c.region_of_group[c.group[j]],
                )
                if a.height[e] < free:
                    share[e], key[e] = a.height[e] / free, 2 * (t * R + r) + (a.spell[e] != NO_SPELL)
                    response = w.response[t, r]
                    where[e] = share[e] / response if key[e] % 2 else (share[e] - response) / (1.0 - response)
        halves, bins = sorted_into(key, 2 * len(w.importation) * R)
        for n in range(len(halves) - 1):
            part = bins[halves[n] : halves[n + 1]]
            if len(part) > 1:
                part[:] = part[np.argsort(where[part], kind="mergesort")]
        place, bin_first, cut = where[bins], halves[::2].copy(), halves[1::2].copy()
    return Web(out_first, out, into_first, into, supports, share, bin_first, bins, place, cut)
