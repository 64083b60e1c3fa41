"""The local score against ghosts as compiled CPU kernels: `_reference_ghosts` name by name; a particle is walked by one thread.

A household and its ghost cancel wherever nobody in either has been infected: most people are never looked at.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from sim import _compiled_ghosts_reverse as back
from sim import _compiled_ghosts_tangent as tangent
from sim._columns import Columns, Packed
from sim._compiled import _adjoints, _arrays, _directions, _double, _no_adjoints, kernel_threads
from sim._compiled_ghosts_day import draw
from sim._reference import NEVER, Epidemic
from sim._reference_ghosts import ghost_keys
from sim.rates import Rates


def ghosts(c: Columns, rates: Rates, epidemic: Epidemic, seed: int, streams: Tensor, number: int) -> Tensor:
    """As `_reference_ghosts.ghosts`."""
    p, arrays, P, N = _packed(c), _arrays(rates), rates.particles, len(c.packed.place)
    out = np.full((P, number, N), NEVER, dtype=np.int16)
    incidence, memory = _double(epidemic.incidence), _double(epidemic.memory)

    def walk(q: int, k: int) -> None:
        keys = np.array(ghost_keys(seed, int(streams[q]), k, rates.days), dtype=np.uint64)
        draw(p, arrays, q, keys, incidence[q], memory[q], epidemic.infected_on[q].numpy(), out[q, k])

    _each([(q, k) for q in range(P) for k in range(number)], walk)
    return torch.from_numpy(out)


def vjp(c: Columns, rates: Rates, epidemic: Epidemic, cotangent: Tensor) -> Rates:
    """As `_reference_ghosts.vjp`."""
    p, arrays, bar = _packed(c), _arrays(rates), _no_adjoints(rates)
    incidence, memory, weights = _double(epidemic.incidence), _double(epidemic.memory), _double(cotangent)
    on, others = epidemic.infected_on.numpy().copy(), epidemic.ghosts.numpy().copy()

    def walk(q: int) -> None:
        back.vjp(p, arrays, q, incidence[q], on[q], others[q], memory[q], weights[q], bar)

    _each([(q,) for q in range(rates.particles)], walk)
    return _adjoints(rates, bar)


def jvp(c: Columns, rates: Rates, tangents: Rates, epidemic: Epidemic) -> Tensor:
    """As `_reference_ghosts.jvp`."""
    p, arrays, directions = _packed(c), _arrays(rates), _directions(rates, tangents)
    out = np.zeros((*epidemic.incidence.shape, tangents.mixing.shape[-1]))
    incidence, memory = _double(epidemic.incidence), _double(epidemic.memory)
    on, others = epidemic.infected_on.numpy(), epidemic.ghosts.numpy()

    def walk(q: int) -> None:
        tangent.jvp(p, arrays, directions, q, incidence[q], on[q], others[q], memory[q], out[q])

    _each([(q,) for q in range(rates.particles)], walk)
    return torch.from_numpy(out).to(tangents.mixing.dtype)


def _packed(c: Columns) -> Packed:
    """Columns in which every household has kin in venues: a ghost would meet even the real one of itself there."""
    return c.packed._replace(has_kin=np.full(len(c.packed.has_kin), len(c.members) > 0))


def _each(work: list[tuple[int, ...]], walk: Callable[..., None]) -> None:
    """Walk all, as many side by side as there are threads; an error in one is raised here."""
    with ThreadPoolExecutor(kernel_threads()) as pool:
        for _ in pool.map(lambda arguments: walk(*arguments), work):
            pass
