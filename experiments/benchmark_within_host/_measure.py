"""Seconds and operations of the host tables, compared with the epidemic of the same particles."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

import ode
import sim
from epi.data import EpidemicData
from epi.model import parameter_space
from epi.model.transmission import Context, HostTables, host_tables, make_context, make_rates
from sim import Population

HOST = tuple(prior.name for prior in ode.PRIORS)


def measure(
    epidemic_data: EpidemicData,
    population: Population,
    particles: int,
    solvers: Sequence[ode.Solver],
    *,
    device: torch.device,
    dtype: torch.dtype,
    repeats: int,
) -> list[dict[str, Any]]:
    """Time forward, and forward with reverse, at draws of the prior; what is compared takes turns in every repeat.

    Returns:
        One row a direction and solver: the fastest and the median of the repeats in ms, the share of the epidemic in per cent (of the
        fastest), and the tensor operations (`operations`) of the host tables.
    """
    context = make_context(epidemic_data, population, epidemic_data.study.calendar.days, device, dtype)
    z = 0.3 * torch.randn(
        particles,
        parameter_space(epidemic_data.study).dim,
        generator=torch.Generator().manual_seed(0),
        dtype=torch.float64,
    )
    theta = {name: x.to(device, dtype) for name, x in parameter_space(epidemic_data.study).to_theta(z).items()}
    rates = make_rates(theta, host_tables(theta, context), context)

    def epidemic() -> Tensor:
        with torch.no_grad():
            return sim.epidemic(population, rates, 1)

    def epidemic_and_back() -> None:
        leaves = rates.map(lambda x: x.detach().clone().requires_grad_())
        sim.epidemic(population, leaves, 1).sum().backward()

    size = {
        "agents": population.agents,
        "particles": particles,
        "archetypes": context.archetypes.count,
        "days": context.days,
        "infected": float(epidemic().sum()) / particles / population.agents,
    }
    rows = []
    for direction, wave, of in (
        ("forward", epidemic, _hosts),
        ("forward and reverse", epidemic_and_back, _hosts_and_back),
    ):
        calls: dict[str, Callable[[], object]] = {s: of(theta, context, s) for s in solvers} | {"epidemic": wave}
        seconds: dict[str, list[float]] = {name: [] for name in calls}
        operations = {s: _operations(calls[s]) for s in solvers}
        wave()  # compiles what there is to compile, as the line before
        for _ in range(repeats):
            for name, call in calls.items():
                seconds[name].append(_seconds(call, device))
        for solver in solvers:
            best, whole = min(seconds[solver]), min(seconds["epidemic"])
            rows.append(
                {
                    **size,
                    "direction": direction,
                    "solver": solver,
                    "hosts_ms": 1e3 * best,
                    "hosts_median_ms": 1e3 * statistics.median(seconds[solver]),
                    "epidemic_ms": 1e3 * whole,
                    "epidemic_median_ms": 1e3 * statistics.median(seconds["epidemic"]),
                    "share_percent": 100 * best / whole,
                    "operations": operations[solver],
                }
            )
    return rows


def _hosts(theta: Mapping[str, Tensor], context: Context, solver: ode.Solver) -> Callable[[], HostTables]:
    def call() -> HostTables:
        with torch.no_grad():
            return host_tables(theta, context, solver=solver)

    return call


def _hosts_and_back(theta: Mapping[str, Tensor], context: Context, solver: ode.Solver) -> Callable[[], None]:
    def call() -> None:
        leaves = {name: theta[name].detach().requires_grad_() for name in HOST}
        out = host_tables({**theta, **leaves}, context, solver=solver)
        read = (out.infectiousness, out.susceptibility)
        torch.autograd.grad(read, tuple(leaves.values()), tuple(torch.ones_like(x) for x in read), allow_unused=True)

    return call


class _Counter(TorchDispatchMode):
    """Counts operations that compute; views and empty tensors launch nothing."""

    count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if not func.is_view and not any(word in str(func) for word in ("empty", "detach", "_unsafe_view")):
            self.count += 1
        return func(*args, **(kwargs or {}))


def _operations(call: Callable[[], object]) -> int:
    """Tensor operations of a call; a kernel of ours is not among them."""
    call()
    with _Counter() as counter:
        call()
    return counter.count


def _seconds(call: Callable[[], object], device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize()
    begun = time.perf_counter()
    call()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - begun
