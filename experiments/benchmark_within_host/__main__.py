"""`python -m experiments.benchmark_within_host`: all archetypes of a particle batch, beside an epidemic run of the same particles."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Annotated

import torch
import typer
from torch import Tensor

import ode
import sim
from experiments.nz_calibration import _calendar as calendar
from experiments.nz_calibration._errors import StudyError
from experiments.nz_calibration._figures import load_figures
from experiments.nz_calibration._model import parameter_space
from experiments.nz_calibration._population import build_population
from experiments.nz_calibration._rates import HostTables, host_tables, make_context, make_rates

HOST = tuple(prior.name for prior in ode.PRIORS)


def main(
    scale: Annotated[float, typer.Option(help="Agents per person, up to 1.")] = 0.03,
    particles: Annotated[int, typer.Option(help="Particles of a batch.")] = 8,
    repeats: Annotated[int, typer.Option(help="Timed repeats; the fastest and the median are printed.")] = 5,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
) -> None:
    """Time the host tables and the epidemic, forward and forward with reverse, at draws of the prior."""
    try:
        if device not in ("cpu", "cuda") or (device == "cuda" and not torch.cuda.is_available()):
            raise StudyError(f"Device {device!r} was asked for; choose cpu, or cuda where torch finds a usable GPU.")
        if particles < 1 or repeats < 1:
            raise StudyError(f"{particles} particles and {repeats} repeats were asked for; give at least 1 of each.")
        figures = load_figures()
        population, _ = build_population(figures, scale, 0, balance=0.75)
    except StudyError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from None
    torch.set_num_threads(1)
    at, dtype = torch.device(device), torch.float32 if device == "cuda" else torch.float64
    context = make_context(figures, population, calendar.days_until(calendar.LAST_WEEK), at, dtype)
    generator = torch.Generator().manual_seed(0)
    z = 0.3 * torch.randn(particles, parameter_space().dim, generator=generator, dtype=torch.float64)
    theta = {name: x.to(at, dtype) for name, x in parameter_space().to_theta(z).items()}
    tables = host_tables(theta, context)
    rates = make_rates(theta, tables, context)

    def hosts() -> HostTables:
        with torch.no_grad():
            return host_tables(theta, context)

    def hosts_and_back() -> None:
        leaves = {name: theta[name].detach().clone().requires_grad_() for name in HOST}
        out = host_tables({**theta, **leaves}, context)
        torch.autograd.backward(
            (out.infectiousness, out.susceptibility),
            (torch.ones_like(out.infectiousness), torch.ones_like(out.susceptibility)),
        )

    def epidemic() -> Tensor:
        with torch.no_grad():
            return sim.epidemic(population, rates, 1)

    def epidemic_and_back() -> None:
        leaves = rates.map(lambda x: x.detach().clone().requires_grad_())
        sim.epidemic(population, leaves, 1).sum().backward()

    infected = float(epidemic().sum()) / particles / population.agents
    print(f"{particles} particles, {context.archetypes.count} archetypes, {population.agents:,} agents, {context.days} days, "
          f"{100 * infected:.0f} % infected, {device}, {str(dtype).removeprefix('torch.')}")  # fmt: skip
    for name, host, wave in (("forward", hosts, epidemic), ("forward and reverse", hosts_and_back, epidemic_and_back)):
        pairs = [(_seconds(host, device), _seconds(wave, device)) for _ in range(repeats)]
        best = [min(column) for column in zip(*pairs, strict=True)]
        middle = [statistics.median(column) for column in zip(*pairs, strict=True)]
        print(f"{name:20s} within host {1e3 * best[0]:8.1f} ms   epidemic {1e3 * best[1]:8.1f} ms   share {100 * best[0] / best[1]:5.2f} %   "
              f"(medians {1e3 * middle[0]:.1f}, {1e3 * middle[1]:.1f} ms, {100 * middle[0] / middle[1]:.2f} %)")  # fmt: skip


def _seconds(call: Callable[[], object], device: str) -> float:
    if device == "cuda":
        torch.cuda.synchronize()
    begun = time.perf_counter()
    call()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - begun


if __name__ == "__main__":
    typer.run(main)
