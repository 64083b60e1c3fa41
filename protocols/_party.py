"""One party of a decentralised epidemic: its households, and the sums in which it takes part."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from protocols._ledger import Ledger, Mail
from protocols._sums import agree, total, total_real
from sim import Rates
from sim.parts import Part, PartRun

Party = Generator[Mail, Mail, "Outcome"]
"""A party: yields what it sends to the others, is sent what came from them, returns its outcome."""


@dataclass(frozen=True, eq=False)
class Outcome:
    """What a party has at the end.

    Attributes:
        incidence: `[P, T, G]` infections of the whole population.
        gradient: of `sum(cotangent * incidence)` in every rate, or None.
        ledger: what it sent, received and learnt.
    """

    incidence: NDArray[np.float64]
    gradient: Rates | None
    ledger: Ledger


def party(
    part: Part,
    rates: Rates,
    seed: int,
    rank: int,
    size: int,
    *,
    streams: Tensor | None = None,
    cotangent: Tensor | None = None,
) -> Party:
    """Run an epidemic with others.

    Two sums a day: infectiousness by venue and group, infections by group. For the gradient (local score) two more a day.

    Args:
        part: the party's households.
        rates: public, P particles.
        seed: public; random numbers belong to agents, so each party draws those of its own.
        rank: of the party, from 0.
        size: number of parties.
        streams: `[P]`; default 0..P-1.
        cotangent: `[P, T, G]`, public; None for no gradient.
    """
    ledger = Ledger()
    run = PartRun(part, rates, seed, streams)
    sharing = yield from agree(rank, size, part.venues, ledger)
    for t in range(rates.days):
        pressures = yield from total(run.pressures(t), sharing, "infectiousness of venues and groups", ledger)
        caught = yield from total(run.infect(t, pressures), sharing, "infections of groups", ledger, venues=False)
        run.remember(t, caught)
    if cotangent is None:
        return Outcome(run.incidence, None, ledger)
    run.begin_reverse(cotangent)
    for t in range(rates.days - 1, -1, -1):
        adjoints = yield from total_real(run.hazards(t), sharing, "adjoints of venues and groups", ledger)
        centre = yield from total_real(run.carry(t, adjoints), sharing, "scores of regions", ledger, venues=False)
        run.recentre(centre)
    own = run.own_gradient()[None]
    found = yield from total_real(own, sharing, "gradient", ledger, venues=False)
    return Outcome(run.incidence, run.gradient(found[0]), ledger)
