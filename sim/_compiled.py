"""The epidemic and its derivatives as compiled CPU kernels: `_reference` name by name, the same draws bit for bit.

Particles are walked side by side, one thread each; where there are fewer of them than threads, each is walked by several threads
that share its households and wait for each other twice or thrice a day. The incidence does not depend on the number of threads
(`numba.set_num_threads`). Numba keeps compiled kernels beside these files and looks only at the file of the outermost function:
after an edit of another delete `sim/__pycache__/_compiled*.nb?`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numba
import numpy as np
import torch
from torch import Tensor

from sim import _compiled_forward as fore
from sim import _compiled_reverse as back
from sim import _compiled_tangent as tangent
from sim._columns import Columns, Packed
from sim._compiled_day import add_pressures, apply_pressures, new_day
from sim._compiled_uninfected import begin_anew, enter
from sim._random import day_key, stream_key, stream_keys
from sim._reference import Epidemic, Start, first_infection, nobody_before, remembered
from sim.rates import Rates


def run(c: Columns, rates: Rates, seed: int, streams: Tensor, start: Start | None = None) -> Epidemic:
    """As `_reference.run`."""
    p, arrays = c.packed, _arrays(rates)
    P, T = rates.particles, rates.days
    start = start or nobody_before(c, rates)
    days = range(start.first_day, start.first_day + T)
    keys = np.array([[day_key(stream_key(seed, int(s)), t) for t in days] for s in streams], dtype=np.uint64)
    on = start.on.numpy().copy()
    incidence = np.zeros((P, T, len(p.group_size)))
    memory = np.zeros((P, T, len(p.region_size)))
    memory[:, 0] = _double(remembered(c, rates.map(Tensor.double), start.before.double())[0][:, -1])

    def walk(q: int, pool: ThreadPoolExecutor, parts: int) -> np.ndarray:
        past = (keys[q], on[q], incidence[q], memory[q])
        rows = fore.run(p, arrays, q, *past) if parts == 1 else _run_together(p, arrays, q, *past, pool, parts)
        return np.insert(rows[np.lexsort((rows[:, 0], rows[:, 1]))], 0, q, axis=1)

    rows = _each(walk, p, P)
    like = rates.mixing.dtype
    return Epidemic(
        torch.from_numpy(incidence).to(like),
        torch.from_numpy(on),
        torch.from_numpy(memory).to(like),
        torch.from_numpy(np.concatenate(rows)),
        stream_keys(seed, streams),
        start.before.clone(),
    )


def vjp(c: Columns, rates: Rates, epidemic: Epidemic, cotangent: Tensor) -> Rates:
    """As `_reference.vjp`."""
    p, arrays, bar = c.packed, _arrays(rates), _no_adjoints(rates)
    incidence, on, memory = _double(epidemic.incidence), epidemic.infected_on.numpy().copy(), _double(epidemic.memory)
    weights, (reinfections, begin), slope = _double(cotangent), _by_day(epidemic, rates), _slope(c, rates, epidemic)

    def walk(q: int, pool: ThreadPoolExecutor, parts: int) -> None:
        past = (incidence[q], on[q], memory[q], weights[q], reinfections, begin[q], slope[q], bar)
        if parts == 1:
            back.vjp(p, arrays, q, *past)
        else:
            _vjp_together(p, arrays, q, *past, pool, parts)

    _each(walk, p, rates.particles)
    return _adjoints(rates, bar)


def jvp(c: Columns, rates: Rates, tangents: Rates, epidemic: Epidemic) -> Tensor:
    """As `_reference.jvp`; a particle is walked by one thread, or by several, each with some of the directions."""
    p, arrays, directions = c.packed, _arrays(rates), _directions(rates, tangents)
    P, Q = rates.particles, tangents.mixing.shape[-1]
    incidence, on, memory = _double(epidemic.incidence), first_infection(epidemic).numpy(), _double(epidemic.memory)
    (reinfections, begin), slope = _by_day(epidemic, rates), _slope(c, rates, epidemic)
    threads = kernel_threads()
    shares = [x for x in np.array_split(np.arange(Q), max(1, threads // P)) if len(x)]
    some = [tuple(np.ascontiguousarray(x[..., at[0] : at[-1] + 1]) for x in directions) for at in shares]
    out = [np.zeros((*epidemic.incidence.shape, len(at))) for at in shares]

    def walk(job: tuple[int, int]) -> None:
        q, n = job
        tangent.jvp(
            p, arrays, some[n], q, incidence[q], on[q].copy(), memory[q], reinfections, begin[q], slope[q], out[n][q]
        )

    with ThreadPoolExecutor(threads) as pool:
        _wait(pool.map(walk, [(q, n) for q in range(P) for n in range(len(shares))]))
    return torch.from_numpy(np.concatenate(out, -1)).to(tangents.mixing.dtype)


def _run_together(
    p: Packed, rates: tuple, q: int, keys: np.ndarray, on: np.ndarray, incidence: np.ndarray, memory: np.ndarray,
    pool: ThreadPoolExecutor, parts: int,
) -> np.ndarray:  # fmt: skip
    """`fore.run` by several threads."""
    day = new_day(p, rates, q, parts)
    size = np.diff(p.household_start[day.part])
    marks = [np.zeros((n + 7) // 8, dtype=np.uint64) for n in size]
    reinfections = [np.empty((0, 3), dtype=np.int32) for _ in size]
    number, caught = np.zeros((parts, 1), dtype=np.int64), np.zeros((parts, len(p.group_size)))
    for t in range(len(incidence)):
        _wait(pool.map(lambda a, t=t: add_pressures(p, rates, q, t, on, day, a), range(parts)))
        apply_pressures(p, rates, q, t, memory[t], day)
        table, loud, limit = fore.bounds(p, rates, q, t, day, incidence)
        today = (keys[t], day, table, loud, np.uint64(limit))
        reinfections = [fore.room(rates, x, n, s) for x, n, s in zip(reinfections, number, size, strict=True)]

        def infect(a: int, t: int = t, today: tuple = today, reinfections: list[np.ndarray] = reinfections) -> None:
            fore.infect(p, rates, q, t, *today, marks[a], on, reinfections[a], number[a], caught[a], a)

        _wait(pool.map(infect, range(parts)))
        fore.remember(p, rates, q, t, caught, incidence, memory)
    return np.concatenate([x[: n[0]] for x, n in zip(reinfections, number, strict=True)])


def _vjp_together(
    p: Packed, rates: tuple, q: int, incidence: np.ndarray, on: np.ndarray, memory: np.ndarray, cotangent: np.ndarray,
    reinfections: np.ndarray, begin: np.ndarray, slope: np.ndarray, bar: tuple, pool: ThreadPoolExecutor, parts: int,
) -> None:  # fmt: skip
    """`back.vjp` by several threads."""
    day, w = new_day(p, rates, q, parts), back.new_back(p, rates, q, parts)
    _wait(pool.map(lambda a: back.start(p, rates, q, on, day, w, a), range(parts)))
    for t in range(len(incidence) - 1, -1, -1):
        rows = reinfections[begin[t] : begin[t + 1]]

        def rebuild(a: int, t: int = t, rows: np.ndarray = rows) -> None:
            enter(p, rates, q, t, on, day, w, a)
            back.take_back(p, rows, on, day, a)
            add_pressures(p, rates, q, t, on, day, a)

        _wait(pool.map(rebuild, range(parts)))
        apply_pressures(p, rates, q, t, memory[t], day)
        begin_anew(rates, t, w)
        back.read_out(p, rates, q, t, incidence, memory[t], cotangent[t], w, bar)

        def hazards(a: int, t: int = t, rows: np.ndarray = rows) -> None:
            back.infected(p, rates, q, t, rows, on, day, w, a)
            back.hazards(p, rates, q, t, rows, on, day, w, a)

        _wait(pool.map(hazards, range(parts)))
        back.fold(p, rates, q, t, memory[t], day, w, bar)
        _wait(pool.map(lambda a, t=t: back.infectious(p, rates, q, t, on, day, w, a), range(parts)))
        back.recentre(w)
    back.finish(p, q, on, slope, w, bar)


def kernel_threads() -> int:
    """`numba.get_num_threads()`, without its effect on torch.

    When Numba starts its threads, at the first such call, those of torch become as many if it has started its own: both are OpenMP's. Then
    tensor operations meant for one thread take all cores, and tiny ones wait for threads that have nothing to do.
    """
    before = torch.get_num_threads()
    count: int = numba.get_num_threads()
    if torch.get_num_threads() != before:
        torch.set_num_threads(before)
    return count


def _each(walk: Callable[[int, ThreadPoolExecutor, int], Any], p: Packed, particles: int) -> list[Any]:
    """Walk the particles: as many side by side as there are threads, those left over (or too few) one after the other by all."""
    threads = kernel_threads()
    together = particles % threads if particles > threads else particles * (particles < threads)
    parts = min(threads, len(p.household_weight))
    with ThreadPoolExecutor(threads) as pool:
        out = list(pool.map(lambda q: walk(q, pool, 1), range(particles - together)))
        return out + [walk(q, pool, parts) for q in range(particles - together, particles)]


def _wait(results: Iterable[Any]) -> None:
    """Until all parts are done; an error in one is raised here."""
    for _ in results:
        pass


def _by_day(epidemic: Epidemic, rates: Rates) -> tuple[np.ndarray, np.ndarray]:
    """Reinfections (agent, day, day before), ordered by particle and day, and where each day of each particle begins."""
    rows = epidemic.reinfections.numpy()
    code = rows[:, 0].astype(np.int64) * rates.days + rows[:, 2]
    order = np.argsort(code, kind="stable")
    begin = np.searchsorted(code[order], np.arange(rates.particles)[:, None] * rates.days + np.arange(rates.days + 1))
    return np.ascontiguousarray(rows[order, 1:]), begin


def _slope(c: Columns, rates: Rates, epidemic: Epidemic) -> np.ndarray:
    """`[P, R]` derivative of the memory of day 0 by forgetting."""
    return _double(remembered(c, rates.map(Tensor.double), epidemic.before.double())[1])


def _double(x: Tensor) -> np.ndarray:
    return np.ascontiguousarray(x.detach().to(torch.float64).numpy())


def _arrays(rates: Rates) -> tuple[np.ndarray, ...]:
    """The rates as the kernels know them: `susceptible` `[P, periods, K]` in the place of `susceptibility`, and no `waning`."""
    return _in_place(rates, rates.susceptible())


def _directions(rates: Rates, tangents: Rates) -> tuple[np.ndarray, ...]:
    """Tangents, likewise."""
    return _in_place(tangents, rates.susceptible_tangent(tangents))


def _in_place(rates: Rates, susceptible: Tensor) -> tuple[np.ndarray, ...]:
    rho, _, *others, _ = rates.tensors()
    return tuple(_double(x) for x in (rho, susceptible, *others))


def _no_adjoints(rates: Rates) -> tuple[np.ndarray, ...]:
    return tuple(np.zeros_like(x) for x in _arrays(rates))


def _adjoints(rates: Rates, bar: tuple[np.ndarray, ...]) -> Rates:
    """Adjoints of the rates from those of what the kernels know."""
    rho, susceptible, *others = (torch.from_numpy(x).to(rates.mixing.dtype) for x in bar)
    sigma, waning = rates.susceptible_adjoint(susceptible)
    return Rates(*(rho, sigma, *others, waning))
