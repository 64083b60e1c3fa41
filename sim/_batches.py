"""Particles in batches: where memory does not hold all of them at once, half of them, and half of that."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Protocol, TypeVar

import torch
from torch import Tensor

from sim._columns import Columns
from sim._reference import Epidemic
from sim.rates import Rates

Result = TypeVar("Result")


class Kernels(Protocol):
    """What a backend's module offers; see `sim._reference`."""

    def run(self, c: Columns, rates: Rates, seed: int, streams: Tensor) -> Epidemic: ...

    def vjp(self, c: Columns, rates: Rates, epidemic: Epidemic, cotangent: Tensor) -> Rates: ...

    def jvp(self, c: Columns, rates: Rates, tangents: Rates, epidemic: Epidemic) -> Tensor: ...


def run(kernels: Kernels, c: Columns, rates: Rates, seed: int, streams: Tensor) -> Epidemic:
    """`kernels.run`, in batches where memory runs out."""

    def work(batch: slice) -> Epidemic:
        return kernels.run(c, rates.map(lambda x: x[batch]), seed, streams[batch])

    def join(first: Epidemic, second: Epidemic) -> Epidemic:
        rows = second.reinfections.clone()
        rows[:, 0] += len(first.incidence)
        second = second._replace(reinfections=rows)
        return Epidemic(*(torch.cat(pair) for pair in zip(first, second, strict=True)))

    return halving(work, join, slice(0, rates.particles))


def vjp(kernels: Kernels, c: Columns, rates: Rates, epidemic: Epidemic, cotangent: Tensor) -> Rates:
    """`kernels.vjp`, in batches where memory runs out."""

    def work(batch: slice) -> Rates:
        return kernels.vjp(c, rates.map(lambda x: x[batch]), _part(epidemic, batch), cotangent[batch])

    def join(first: Rates, second: Rates) -> Rates:
        return Rates(*(torch.cat(pair) for pair in zip(first.tensors(), second.tensors(), strict=True)))

    return halving(work, join, slice(0, rates.particles))


def jvp(kernels: Kernels, c: Columns, rates: Rates, tangents: Rates, epidemic: Epidemic) -> Tensor:
    """`kernels.jvp`, in batches where memory runs out."""

    def work(batch: slice) -> Tensor:
        return kernels.jvp(c, rates.map(lambda x: x[batch]), tangents.map(lambda x: x[batch]), _part(epidemic, batch))

    return halving(work, lambda first, second: torch.cat([first, second]), slice(0, rates.particles))


def halving(work: Callable[[slice], Result], join: Callable[[Result, Result], Result], batch: slice) -> Result:
    """Work on a batch of particles; if memory runs out, on its halves one after the other.

    Raises:
        torch.OutOfMemoryError, MemoryError: memory does not hold a single particle.
    """
    particles = batch.stop - batch.start
    try:
        return work(batch)
    except (MemoryError, RuntimeError) as error:  # torch.OutOfMemoryError is a RuntimeError
        if particles < 2 or not _out_of_memory(error):
            raise
        said = str(error).split("\n")[0]
    # beyond the except clause, whose traceback would keep the tensors alive
    half = batch.start + particles // 2
    warnings.warn(
        f"Memory ran out with {particles} particles at once ({said}); they go on in batches of {particles - particles // 2} or fewer: "
        "give fewer particles a call to save the failed attempt.",
        RuntimeWarning,
        stacklevel=2,
    )
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
    return join(halving(work, join, slice(batch.start, half)), halving(work, join, slice(half, batch.stop)))


def _out_of_memory(error: Exception) -> bool:
    # torch has no type of its own for memory of the CPU
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "DefaultCPUAllocator" in str(error)


def _part(epidemic: Epidemic, batch: slice) -> Epidemic:
    rows = epidemic.reinfections
    rows = rows[(rows[:, 0] >= batch.start) & (rows[:, 0] < batch.stop)].clone()
    rows[:, 0] -= batch.start
    return Epidemic(
        epidemic.incidence[batch], epidemic.infected_on[batch], epidemic.memory[batch], rows, epidemic.key[batch]
    )
