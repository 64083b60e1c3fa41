"""`python -m protocols.benchmark AGENTS PARTIES ...`: the epidemic by parties against the central run, on a made-up population of any size."""

from __future__ import annotations

import sys
import time

import numpy as np
import torch

import sim
from protocols import epidemic
from sim import Population, Rates

DAYS, REGIONS, AGES, ARCHETYPES, INFECTIOUS = 30, 8, 4, 4, 8
LAYERS = ((0.25, 25), (0.45, 10))
"""Share of people and people in a group of the venue layers."""


def population(agents: int, seed: int = 0) -> Population:
    """About so many people in households of 1 to 4, in eight regions, with schools and workplaces of their region."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 5, int(agents / 2.5))
    start = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    n = int(start[-1])
    region = np.repeat(np.arange(len(sizes)) * REGIONS // len(sizes), sizes)
    venues, weights = np.full((len(LAYERS), n), -1, dtype=np.int32), []
    for layer, (share, size) in enumerate(LAYERS):
        members = np.flatnonzero(rng.random(n) < share)
        each = max(1, len(members) // (size * REGIONS))
        venues[layer, members] = region[members] * each + rng.integers(0, each, len(members))
        count = np.bincount(venues[layer, members], minlength=each * REGIONS)
        weights.append(1.0 / np.maximum(count - 1, 1))
    return Population(
        start, (region * AGES + rng.integers(0, AGES, n)).astype(np.int16), rng.integers(0, ARCHETYPES, n).astype(np.int16), venues,
        tuple(weights), 1.0 / np.maximum(sizes - 1, 1), np.repeat(np.arange(REGIONS), AGES).astype(np.int16), np.ones(REGIONS),
        ("school", "work"),
    )  # fmt: skip


def rates() -> Rates:
    """Rates under which a few per cent are infected within the month."""
    groups, f = REGIONS * AGES, torch.float64
    transmission = torch.tensor([0.8, 0.6, 0.5, 0.5], dtype=f)[None, :, None].expand(1, 4, DAYS).contiguous()
    return Rates(
        torch.full((1, ARCHETYPES, INFECTIOUS), 1.0 / INFECTIOUS, dtype=f), torch.ones(1, ARCHETYPES, dtype=f), transmission,
        torch.full((1, groups, groups), 1.0 / groups, dtype=f), torch.full((1, DAYS, groups), 2e-4, dtype=f),
        torch.full((1,), 0.2, dtype=f), torch.full((1,), 0.1, dtype=f),
    )  # fmt: skip


def main(agents: int, parties: list[int]) -> None:
    """Print a line for each number of parties."""
    people, drivers = population(agents), rates()
    sim.epidemic(people, drivers.between(0, 2), 0, backend="compiled")  # compiles
    began = time.perf_counter()
    wanted = sim.epidemic(people, drivers, 0, backend="compiled")
    central = time.perf_counter() - began
    print(
        f"{people.agents:,} agents, {int(wanted.sum()):,} infected in {DAYS} days, central run {central / DAYS:.4f} s a day"
    )
    for number in parties:
        began = time.perf_counter()
        found = epidemic(people, drivers, 0, parties=number)
        seconds = time.perf_counter() - began
        equal = "equal bit for bit" if torch.equal(found.incidence, wanted) else "DIFFERENT"
        sent = max(x.sent for x in found.ledgers) / DAYS / 1e6
        print(
            f"{number} parties: {equal}, {seconds / DAYS:.3f} s a day for all of them, at most {sent:.3f} MB a day sent by one",
            flush=True,
        )


if __name__ == "__main__":
    main(int(sys.argv[1]), [int(x) for x in sys.argv[2:]] or [2, 4, 8])
