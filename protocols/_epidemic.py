"""The epidemic by parties that hold their own households."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from protocols._channels import in_process
from protocols._ledger import Ledger
from protocols._party import party
from sim import Population, Rates
from sim.parts import split


@dataclass(frozen=True, eq=False)
class Decentralised:
    """An epidemic that nobody has seen whole.

    Attributes:
        incidence: `[P, T, G]`, which all parties know.
        gradient: in every rate, or None.
        ledgers: of each party.
    """

    incidence: Tensor
    gradient: Rates | None
    ledgers: tuple[Ledger, ...]


def epidemic(
    population: Population,
    rates: Rates,
    seed: int,
    *,
    parties: int | list[slice],
    streams: Tensor | None = None,
    cotangent: Tensor | None = None,
) -> Decentralised:
    """Simulate an epidemic by parties, in this process; `sim.epidemic` gives the same infections bit for bit.

    Args:
        population: of all parties together, cut here.
        rates: as for `sim.epidemic`.
        seed: as for `sim.epidemic`.
        parties: how many, each with about as many households, or the households of each.
        streams: as for `sim.epidemic`.
        cotangent: `[P, T, G]`; given, the gradient of `sum(cotangent * incidence)` comes along, by the local score.

    Raises:
        ValueError: the parties do not cover the households, or rates that do not fit.
    """
    ranges = parties if isinstance(parties, list) else even(population.households, parties)
    parts = split(population, ranges)
    size = len(parts)
    found = in_process(
        [party(p, rates, seed, rank, size, streams=streams, cotangent=cotangent) for rank, p in enumerate(parts)]
    )
    first = found[0]
    for other in found[1:]:
        if not (other.incidence == first.incidence).all():
            raise RuntimeError("two parties ended with different infections of the whole population; report this.")
    incidence = torch.from_numpy(first.incidence).to(rates.mixing.dtype)
    return Decentralised(incidence, first.gradient, tuple(o.ledger for o in found))


def even(households: int, parties: int) -> list[slice]:
    """Ranges of households, as even as they can be.

    Raises:
        ValueError: fewer households than parties, or no party.
    """
    if not 1 <= parties <= households:
        raise ValueError(f"{parties} parties were asked for, expected 1 to {households}, one household each at least.")
    edges = [households * i // parties for i in range(parties + 1)]
    return [slice(a, b) for a, b in pairwise(edges)]
