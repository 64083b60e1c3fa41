"""Counter-based random numbers: the draw of an agent on a day depends on seed, stream, agent and day alone.

The generator is splitmix64 (Steele, Lea and Flood 2014, "Fast splittable pseudorandom number generators", fig. 17) started
afresh for each (seed, stream, day) and indexed by the agent. Runs repeat, common random numbers are free, and a replay
needs no stored noise. The compiled kernel computes the same bits.
"""

from __future__ import annotations

import torch
from torch import Tensor

MASK = (1 << 64) - 1
GOLDEN = 0x9E3779B97F4A7C15
MIX_1 = 0xBF58476D1CE4E5B9
MIX_2 = 0x94D049BB133111EB


def splitmix(x: int) -> int:
    """One output of splitmix64 for a state, in Python integers."""
    z = x & MASK
    z = ((z ^ (z >> 30)) * MIX_1) & MASK
    z = ((z ^ (z >> 27)) * MIX_2) & MASK
    return z ^ (z >> 31)


def stream_key(seed: int, stream: int) -> int:
    """Key of a stream: one stream is one particle's random numbers."""
    return splitmix((splitmix(seed + GOLDEN) + stream * GOLDEN) & MASK)


def stream_keys(seed: int, streams: Tensor) -> Tensor:
    """Keys of several streams, `[P]` int64 of the same bits."""
    return torch.tensor([_signed(stream_key(seed, int(s))) for s in streams], dtype=torch.int64)


def day_key(key: int, day: int) -> int:
    """State from which the draws of one day are counted."""
    return splitmix((key ^ splitmix(day + 1)) & MASK)


def uniform(key: int, agents: Tensor) -> Tensor:
    """Uniform draws in [0, 1) with 53 random bits.

    Args:
        key: a `day_key`.
        agents: `[N]` int64 agent numbers.
    """
    z = agents * _signed(GOLDEN) + _signed((key + GOLDEN) & MASK)
    z = (z ^ _shift(z, 30)) * _signed(MIX_1)
    z = (z ^ _shift(z, 27)) * _signed(MIX_2)
    z = z ^ _shift(z, 31)
    return _shift(z, 11).to(torch.float64) * 2.0**-53


def _signed(x: int) -> int:
    return x - (1 << 64) if x >= 1 << 63 else x


def _shift(z: Tensor, bits: int) -> Tensor:
    # torch shifts int64 arithmetically; the mask makes it logical
    return (z >> bits) & ((1 << (64 - bits)) - 1)
