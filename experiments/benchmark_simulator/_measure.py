"""Times and memory of one size, and the agreement of two backends: everything here returns plain data."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from experiments.benchmark_simulator._world import make_population, make_rates, tiled
from sim import Rates, _compiled, _reference, _removals
from sim.backends import Epidemic, columns

FLOOR_BYTES = 13
"""Bytes that an agent-step must move at least: day of infection, household, venue groups, the draw's counter."""


def copy_bandwidth(device: torch.device) -> float:
    """Bytes per second read and written by a copy far larger than any cache."""
    size = 2**31 if device.type == "cuda" else 2**28
    source = torch.ones(int(size), dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    seconds, _, _ = _timed(lambda: target.copy_(source), device, 5)
    return 2 * size / seconds


def measure(
    agents: int,
    particles: int,
    days: int,
    device: torch.device,
    seed: int,
    repeats: int,
    directions: int,
    immunity: bool,
) -> dict[str, Any]:
    """Forward, reverse and (in so many directions, below 100 copies of the country) forward-mode times of about so many agents.

    Returns:
        A row of the table: sizes, seconds (of all particles together), agent-steps a second, peak memory above the
        population in MiB, attack rate, and seconds by part.
    """
    population, copies = make_population(agents, seed)
    repeats = repeats if copies < 100 else 1
    dtype = torch.float32 if device.type == "cuda" else torch.float64
    rates = make_rates(population, particles, days, device, dtype, immunity)
    streams = torch.arange(particles)
    if device.type == "cuda":
        from sim import _triton
        from sim.gpu import layout, repeated, tangent

        place = repeated(layout(columns(population, device)), copies)
        number = place.agents

        def forward() -> Any:
            return _triton.forward(place, rates, seed, streams)

        def reverse(past: Any, cotangent: Tensor) -> Any:
            return _triton.reverse(place, rates, past, cotangent)

        def along(past: Epidemic, tangents: Rates) -> Tensor:
            return tangent(place, rates, tangents, past)

    else:
        whole = tiled(population, copies)
        c, number = columns(whole, device), whole.agents

        def forward() -> Any:
            return _compiled.run(c, rates, seed, streams)

        def reverse(past: Any, cotangent: Tensor) -> Any:
            return _compiled.vjp(c, rates, past, cotangent)

        def along(past: Epidemic, tangents: Rates) -> Tensor:
            return _compiled.jvp(c, rates, tangents, past)

    past = forward()
    seconds, core, same = _timed(forward, device, repeats)
    identical = bool(torch.equal(past.incidence, same.incidence))
    del same
    cotangent = torch.ones_like(past.incidence)
    reverse(past, cotangent)
    reverse_seconds, reverse_core, _ = _timed(lambda: reverse(past, cotangent), device, repeats)
    steps = number * particles * days
    row: dict[str, Any] = {
        "agents": number,
        "particles": particles,
        "days": days,
        "attack_rate": float(past.incidence.sum()) / (number * particles),
        "share_reinfections": len(past.reinfections) / max(float(past.incidence.sum()), 1.0),
        "forward_seconds": seconds,
        "reverse_seconds": reverse_seconds,
        "forward_mode_seconds": None,
        "forward_seconds_per_particle": seconds / particles,
        "agent_steps_per_second": steps / seconds,
        "reverse_over_forward": reverse_seconds / seconds,
        "repeats_bit_for_bit": identical,
        "forward_peak_mib": _peak(forward, device),
        "reverse_peak_mib": _peak(lambda: reverse(past, cotangent), device),
    }
    if device.type == "cuda":
        row["kernels_ms"] = {"forward": _kernels(forward), "reverse": _kernels(lambda: reverse(past, cotangent))}
        if copies == 1:
            row |= _removals_on_gpu(columns(population, device), rates, past, cotangent, directions, repeats)
            row["kernels_ms"] |= {"removals": row.pop("removals_kernels_ms")}
            row["removals_over_forward"] = row["removals_seconds"] / seconds
    if directions and copies < 100:
        tangents = rates.map(lambda x: x[..., None].expand(*x.shape, directions).contiguous())
        row["directions"] = directions
        if device.type == "cuda":
            along(past, tangents)  # compiles
            row["kernels_ms"]["forward_mode"] = _kernels(lambda: along(past, tangents))
            row["forward_mode_peak_mib"] = _peak(lambda: along(past, tangents), device)
        else:
            begun = past._replace(incidence=past.incidence[:, :1], memory=past.memory[:, :1])
            _compiled.jvp(c, _first_day(rates), _first_day(tangents), begun)  # compiles
        clock, cores, _ = _timed(lambda: along(past, tangents), device, 1)
        row["forward_mode_seconds"], row["forward_mode_core_seconds"] = clock, cores
    if device.type != "cuda":
        row["forward_core_seconds"], row["reverse_core_seconds"] = core, reverse_core
        if not immunity:
            row["removals_core_seconds"] = _timed(lambda: _removals.vjp(c, rates, past, cotangent), device, 2)[1]
        row["agent_steps_per_core_second"] = steps / core
        row["reverse_over_forward_core"] = reverse_core / core
    return row


def _removals_on_gpu(
    c: Any, rates: Rates, past: Epidemic, cotangent: Tensor, directions: int, repeats: int
) -> dict[str, Any]:
    """Seconds and memory of all removals on a GPU: the gradient, and tangents in so many directions."""
    from sim import _triton_removals

    device = cotangent.device

    def reverse() -> Rates:
        return _triton_removals.vjp(c, rates, past, cotangent)

    reverse()  # compiles
    row: dict[str, Any] = {
        "removals_seconds": _timed(reverse, device, repeats)[0],
        "removals_peak_mib": _peak(reverse, device),
        "removals_kernels_ms": _kernels(reverse),
    }
    if directions:
        tangents = rates.map(lambda x: x[..., None].expand(*x.shape, directions).contiguous())
        _triton_removals.jvp(c, rates, tangents, past)  # compiles
        work = _timed(lambda: _triton_removals.jvp(c, rates, tangents, past), device, 1)
        row["removals_forward_mode_seconds"] = work[0]
    return row


def agreement(agents: int, days: int, device: torch.device, seed: int, immunity: bool) -> dict[str, Any]:
    """The kernels of a GPU against the reference on the same device: same draws, so the same epidemic but for near ties.

    Returns:
        Attack rate, share of agents whose day of infection differs, relative difference of total incidence, and of each
        rate's gradient and of tangents at the same epidemic (largest difference over largest entry): of the local score against the
        reference, of all removals against the kernels of the CPU.
    """
    from sim import _triton, _triton_removals

    population, _ = make_population(agents, seed)
    rates = make_rates(population, 2, days, device, torch.float64, immunity)
    c, streams = columns(population, device), torch.arange(2)
    ours, theirs = _triton.run(c, rates, seed, streams), _reference.run(c, rates, seed, streams)
    weights = torch.randn(theirs.incidence.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    a = _triton.vjp(c, rates, theirs, weights.to(device))
    b = _reference.vjp(c, rates, theirs, weights.to(device))
    tangents = rates.map(lambda x: (x[..., None] * torch.arange(1, 4, device=device)).contiguous())
    along, along_too = (k.jvp(c, rates, tangents, theirs) for k in (_triton, _reference))
    removals = _triton_removals.vjp(c, rates, theirs, weights.to(device))
    here, there = rates.map(Tensor.cpu), type(theirs)(*(x.cpu() for x in theirs))
    on_cpu = _removals.vjp(columns(population, torch.device("cpu")), here, there, weights)
    return {
        "agents": population.agents,
        "days": days,
        "attack_rate": float(theirs.incidence.sum()) / (2 * population.agents),
        "agents_that_differ": float((ours.infected_on != theirs.infected_on).double().mean()),
        "reinfections": [len(x.reinfections) for x in (ours, theirs)],
        "incidence_difference": float((ours.incidence.sum() / theirs.incidence.sum() - 1).abs()),
        "gradient_difference": {
            name: float((x - y).abs().max() / y.abs().max())
            for name, x, y in zip(Rates.__annotations__, a.tensors(), b.tensors(), strict=True)
            if x.numel()
        },
        "removals_difference": {
            name: float((x.cpu() - y).abs().max() / y.abs().max())
            for name, x, y in zip(Rates.__annotations__, removals.tensors(), on_cpu.tensors(), strict=True)
            if x.numel()
        },
        "tangent_difference": float((along - along_too).abs().max() / along_too.abs().max()),
    }


def _first_day(rates: Rates) -> Rates:
    return replace(rates, transmission=rates.transmission[:, :, :1], importation=rates.importation[:, :1])


def _timed(work: Callable[[], Any], device: torch.device, repeats: int) -> tuple[float, float, Any]:
    """Median wall seconds, the device idle before and after, least processor seconds of all threads, and the last result.

    On a busy machine wall time tells of the neighbours; processor time does so less.
    """
    times: list[float] = []
    cores: list[float] = []
    result = None
    for _ in range(repeats):
        result = None
        _wait(device)
        begun, core = time.perf_counter(), time.process_time()
        result = work()
        _wait(device)
        times.append(time.perf_counter() - begun)
        cores.append(time.process_time() - core)
    return statistics.median(times), min(cores), result


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _kernels(work: Callable[[], Any]) -> dict[str, float]:
    """Milliseconds on the GPU by kernel, the six longest."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        work()
        torch.cuda.synchronize()
    times = {e.key.split("<")[0]: e.device_time_total / 1000 for e in profile.key_averages()}
    return {k: round(v, 3) for k, v in sorted(times.items(), key=lambda x: -x[1])[:6]}


def _peak(work: Callable[[], Any], device: torch.device) -> float | None:
    """MiB that a call needs above what is held before it; None where the system does not say."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        work()
        return float(torch.cuda.max_memory_allocated(device) - before) / 2**20
    status, clear = Path("/proc/self/status"), Path("/proc/self/clear_refs")
    if not clear.exists():
        return None
    clear.write_text("5")  # the high-water mark starts again from what is resident
    resident = _resident(status, "VmRSS")
    work()
    return _resident(status, "VmHWM") - resident


def _resident(status: Path, field: str) -> float:
    line = next(x for x in status.read_text().splitlines() if x.startswith(field))
    return float(line.split()[1]) / 1024
