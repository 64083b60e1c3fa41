"""How long it takes to give millions of agents their archetypes."""

from __future__ import annotations

import time

import numpy as np

from behaviour import Archetypes


def time_of_assignment(agents: int, seed: int = 0) -> tuple[float, float]:
    """Seconds by the clock and of the processor for agents with a district, an age band, work and a household size."""
    kinds = Archetypes(
        {
            "district": tuple(f"district {i}" for i in range(20)), "age": tuple(f"band {i}" for i in range(8)),
            "work": ("works", "does not"), "household": ("1", "2", "3", "4", "5+"),
        }
    )  # fmt: skip
    rng = np.random.default_rng(seed)
    codes = {name: rng.integers(0, len(levels), agents, dtype=np.int16) for name, levels in kinds.attributes.items()}
    begun, worked = time.perf_counter(), time.process_time()
    found = kinds.assign(codes)
    seconds = time.perf_counter() - begun, time.process_time() - worked
    assert int(found.max()) < len(kinds)
    return seconds
