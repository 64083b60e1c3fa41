"""The one stochastic, discrete, differentiable primitive: rates in, incidence out."""

from __future__ import annotations

from importlib.util import find_spec
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from sim import _batches, _compiled, _estimators, _reference
from sim._batches import Kernels
from sim._columns import Columns, columns
from sim._derivatives import kernels_for
from sim._estimators import ESTIMATORS, REMOVALS, EstimatorOptions
from sim._reference import NEVER, Epidemic, Start
from sim.population import Population
from sim.rates import Rates
from sim.start import InfectedBefore

__all__ = ["BACKENDS", "epidemic", "jacobian", "state_after"]

BACKENDS = ("auto", "reference", "compiled", "triton")
"""`reference` (plain tensors, any device), `compiled` (numba, CPU), `triton` (fused kernels, CUDA). `auto`: compiled on the CPU,
triton on a CUDA device where triton is installed, else reference."""


def epidemic(
    population: Population,
    rates: Rates,
    seed: int,
    *,
    streams: Tensor | None = None,
    start: InfectedBefore | None = None,
    backend: str = "auto",
    estimator: str = REMOVALS,
    options: EstimatorOptions | None = None,
) -> Tensor:
    """Simulate an epidemic; differentiable in every rate, in reverse and in forward mode, without a tape over days.

    The gradient is that of the expected incidence, estimated without bias from this run (all removals, docs/gradient.md): each infection
    is compared with the world in which it did not happen. Memory is O(agents + infections), whatever the number of days and of rates.
    A rate that is exactly zero infects nobody, so its derivative is zero too: give it a small positive value where that matters.
    After a run by GPU kernels the derivatives are computed there, too. The epidemic is the same whatever the estimator, unless
    `gumbel-softmax` draws softly.

    A particle whose cotangent (or a direction whose tangent) is not finite has a gradient of NaN; the others keep theirs.

    Args:
        population: agents and their groups.
        rates: the rates; tensors on one device, `P` particles.
        seed: names all randomness together with the stream.
        streams: `[P]` int64, the random stream of each particle; default 0..P-1. Equal streams share their luck
            (common random numbers).
        start: infections before day 0; None for nobody. Not on GPU kernels, nor for estimators "for comparison".
        backend: one of `BACKENDS`.
        estimator: `removals` (of a random 100,000 of a run's infections where it has more); `local-score`, biased where an outbreak
            depends on few cases (docs/benchmarks); `auto`, all removals unless they cost much more than the local score, the choice in
            the log `sim`. For comparison: `straight-through`, `gumbel-softmax` and `score-function`, which keep a tape over days in plain
            tensors, and `finite-difference`, which reruns the epidemic for each number it differentiates.
        options: settings of the other estimators; None for their defaults.

    Returns:
        `[P, T, G]` new infections, in agents, by particle, day and community group.

    Raises:
        ValueError: rates that do not fit the population, are negative or not finite; an unknown or unfit backend or estimator. In the
            backward pass of `removals`: `rates.reinfection` above 1, or rates with more contacts than it can follow.
        torch.OutOfMemoryError, MemoryError: memory does not hold one particle. Where it holds some, the particles go in batches,
            with a `RuntimeWarning`.
    """
    rates.check(population)
    streams = torch.arange(rates.particles) if streams is None else streams
    if streams.shape != (rates.particles,):
        raise ValueError(
            f"streams has shape {tuple(streams.shape)}; give one stream for each of {rates.particles} particles."
        )
    options = options or EstimatorOptions()
    kernels = _backend(backend, rates.mixing.device)
    _estimators.check(estimator, backend, rates, options, start)
    if estimator in ESTIMATORS:
        other = ESTIMATORS[estimator].incidence
        return other(population, rates, seed, streams.cpu(), kernels, options)
    begun = None if start is None else start.start(population, rates)
    chosen = kernels_for(estimator, kernels)
    incidence, *_ = _Primitive.apply(population, chosen, seed, streams.cpu(), begun, *rates.tensors())
    return incidence


def jacobian(
    population: Population,
    rates: Rates,
    tangents: Rates,
    seed: int,
    *,
    streams: Tensor | None = None,
    start: InfectedBefore | None = None,
    backend: str = "auto",
    estimator: str = REMOVALS,
    options: EstimatorOptions | None = None,
) -> tuple[Tensor, Tensor]:
    """Incidence and its derivative in Q directions of the rates at once, by forward mode.

    Args:
        population: agents and their groups.
        rates: where to differentiate.
        tangents: the directions: the tensors of `rates`, each with one more trailing axis of size Q.
        seed: as for `epidemic`.
        streams: as for `epidemic`.
        start: as for `epidemic`.
        backend: as for `epidemic`.
        estimator: as for `epidemic`.
        options: as for `epidemic`.

    Returns:
        `[P, T, G]` incidence and `[P, T, G, Q]` its tangents.

    Raises:
        ValueError: as for `epidemic`, or tangents whose shapes are not those of the rates with one more axis.
    """
    rates.check(population)
    for name, x, dx in zip(Rates.__annotations__, rates.tensors(), tangents.tensors(), strict=True):
        if dx.shape[:-1] != x.shape or dx.shape[-1] != tangents.mixing.shape[-1]:
            raise ValueError(
                f"tangents.{name} has shape {tuple(dx.shape)}; it must be {tuple(x.shape)} and one axis of directions."
            )
    options = options or EstimatorOptions()
    kernels = _backend(backend, rates.mixing.device)
    streams = torch.arange(rates.particles) if streams is None else streams
    _estimators.check(estimator, backend, rates, options, start)
    if estimator in ESTIMATORS:
        return _estimators.jacobian(population, rates, tangents, seed, streams.cpu(), kernels, estimator, options)
    with torch.no_grad():
        c = columns(population, rates.mixing.device)
        chosen = kernels_for(estimator, kernels)
        past = _batches.run(
            chosen, c, rates, seed, streams.cpu(), None if start is None else start.start(population, rates)
        )
        return past.incidence, _forward(chosen, c, rates, tangents, past)


def state_after(
    population: Population,
    rates: Rates,
    seed: int,
    *,
    streams: Tensor | None = None,
    start: InfectedBefore | None = None,
    backend: str = "auto",
) -> InfectedBefore:
    """Who was infected when, at the end of the days of the rates: where another epidemic can start.

    `epidemic(..., rates.between(t, T), start=state_after(..., rates.between(0, t)))` with the same seed and streams is the same
    epidemic as one of T days, if t is a whole number of periods of `rates.waning` or there is none.

    Args:
        population: as for `epidemic`.
        rates: as for `epidemic`.
        seed: as for `epidemic`.
        streams: as for `epidemic`.
        start: as for `epidemic`.
        backend: as for `epidemic`.

    Returns:
        The state, on the CPU.

    Raises:
        ValueError: as for `epidemic`.
    """
    rates.check(population)
    rates, kernels = rates.map(lambda x: x.detach()), _backend(backend, rates.mixing.device)
    streams = torch.arange(rates.particles) if streams is None else streams
    begun = None if start is None else start.start(population, rates)
    past = _batches.run(kernels, columns(population, rates.mixing.device), rates, seed, streams.cpu(), begun)
    on, first = past.infected_on.cpu(), 0 if start is None else start.first_day
    on = torch.where(on == NEVER, on, on - rates.days).to(torch.int16)
    return InfectedBefore(on, torch.cat([past.before, past.incidence], 1).cpu(), first + rates.days)


class _Primitive(torch.autograd.Function):
    """Binds a backend's three functions to autograd."""

    @staticmethod
    def forward(
        population: Population, kernels: Kernels, seed: int, streams: Tensor, start: Start | None, *tensors: Tensor
    ) -> tuple[Tensor, ...]:
        rates = Rates(*(x.detach() for x in tensors))
        return tuple(_batches.run(kernels, columns(population, rates.mixing.device), rates, seed, streams, start))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        ctx.population, ctx.kernels, _, _, _, *tensors = inputs
        ctx.mark_non_differentiable(*output[1:])
        ctx.save_for_backward(*tensors, *output)
        ctx.save_for_forward(*tensors, *output)

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor) -> tuple[Tensor | None, ...]:
        rates, past, c = _saved(ctx)
        with torch.no_grad():
            cotangent = cotangents[0].contiguous()
            bad = ~torch.isfinite(cotangent).flatten(1).all(1)
            bar = _batches.vjp(ctx.kernels, c, rates, past, _zeroed(cotangent, bad))
        return (None, None, None, None, None, *bar.map(lambda x: _marked(x, bad)).tensors())

    @staticmethod
    def jvp(ctx: Any, *inputs: Tensor | None) -> tuple[Tensor | None, ...]:
        rates, past, c = _saved(ctx)
        pairs = zip(inputs[5:], rates.tensors(), strict=True)
        tangents = Rates(*((torch.zeros_like(x) if dx is None else dx)[..., None].contiguous() for dx, x in pairs))
        return _forward(ctx.kernels, c, rates, tangents, past)[..., 0], *[None] * (len(past) - 1)


def _forward(kernels: Kernels, c: Columns, rates: Rates, tangents: Rates, past: Epidemic) -> Tensor:
    """`kernels.jvp`; NaN for particles with a tangent that is not finite."""
    bad = torch.stack([~torch.isfinite(x).flatten(1).all(1) for x in tangents.tensors()]).any(0)
    return _marked(_batches.jvp(kernels, c, rates, tangents.map(lambda x: _zeroed(x, bad)), past), bad)


def _zeroed(x: Tensor, bad: Tensor) -> Tensor:
    """Zero for bad particles, so that no kernel meets what is not finite."""
    return torch.where(bad.reshape(-1, *[1] * (x.dim() - 1)), 0.0, x) if bad.any() else x


def _marked(x: Tensor, bad: Tensor) -> Tensor:
    """NaN for bad particles."""
    return torch.where(bad.reshape(-1, *[1] * (x.dim() - 1)), torch.nan, x) if bad.any() else x


def _saved(ctx: Any) -> tuple[Rates, Epidemic, Any]:
    split = -len(Epidemic._fields)
    tensors, past = ctx.saved_tensors[:split], Epidemic(*ctx.saved_tensors[split:])
    rates = Rates(*(x.detach() for x in tensors))
    return rates, past, columns(ctx.population, rates.mixing.device)


def _backend(name: str, device: torch.device) -> ModuleType:
    if name not in BACKENDS:
        raise ValueError(f"backend is {name!r}; choose one of {', '.join(BACKENDS)}.")
    if name == "compiled" and device.type != "cpu":
        raise ValueError(
            f"the compiled backend runs on the CPU and the rates are on {device}; use backend='triton' or 'reference'."
        )
    if name == "compiled" or (name == "auto" and device.type == "cpu"):
        return _compiled
    if name == "triton" or (name == "auto" and device.type == "cuda" and find_spec("triton")):
        return _triton_kernels(device)
    return _reference


def _triton_kernels(device: torch.device) -> ModuleType:
    """The GPU kernels; imported when asked for, since triton is there on few machines."""
    try:
        import triton
    except ImportError as error:
        raise ValueError(
            "the triton backend needs the package triton, which is not installed; use another backend."
        ) from error
    if device.type != "cuda" and not triton.knobs.runtime.interpret:
        raise ValueError(
            f"the triton backend runs on a CUDA device and the rates are on {device}; use backend='compiled', "
            "or set TRITON_INTERPRET=1 before triton is imported to interpret its kernels."
        )
    from sim import _triton

    return _triton
