"""Central differences with common random numbers as a gradient of `sim.epidemic`."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from sim._columns import Columns
from sim.rates import Rates

Run = Callable[[Rates, list[Tensor]], Tensor]
AT_ONCE = 16
"""Varied copies of the particles that are simulated together."""


def mean_incidence(kernels: ModuleType, c: Columns, seed: int, rates: Rates, streams: list[Tensor]) -> Tensor:
    """`[P, T, G]` incidence averaged over the lists of streams."""
    total = torch.zeros(())
    for each in streams:
        total = total + kernels.run(c, rates, seed, each).incidence / len(streams)
    return total


class Differences(torch.autograd.Function):
    """Incidence whose derivative is `(x(rate + h) - x(rate - h)) / 2h`, all runs with the same random numbers.

    `h` is `step` times the rate, or times the mean of its tensor where that is larger. Where a rate would fall below 0 the
    difference is one-sided. Reverse mode varies every number of the rates that require a gradient by itself, all particles at
    once; forward mode varies all along its direction together.
    """

    @staticmethod
    def forward(run: Run, streams: list[Tensor], step: float, entries: int, *tensors: Tensor) -> Tensor:
        return run(Rates(*(x.detach() for x in tensors)), streams[:1])

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.run, ctx.streams, ctx.step, ctx.entries, *tensors = inputs
        ctx.save_for_backward(*tensors)
        ctx.save_for_forward(*tensors)

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor) -> tuple[Tensor | None, ...]:
        tensors = [x.detach() for x in ctx.saved_tensors]
        wanted = [i for i, need in enumerate(ctx.needs_input_grad[4:]) if need and tensors[i].numel()]
        number = sum(tensors[i][0].numel() for i in wanted)
        if number > ctx.entries:
            raise ValueError(
                f"finite differences in reverse mode would vary {number} numbers of the rates one by one, but at most {ctx.entries} are "
                "allowed; let only the rates of interest require a gradient, use sim.jacobian with one direction a parameter, or raise "
                "EstimatorOptions.entries."
            )
        gradients: list[Tensor | None] = [None] * len(tensors)
        for i in wanted:
            gradients[i] = _by_entry(ctx.run, ctx.streams, ctx.step, tensors, i, cotangents[0])
        return (None, None, None, None, *gradients)

    @staticmethod
    def jvp(ctx: Any, *inputs: Tensor | None) -> Tensor:
        tensors = [x.detach() for x in ctx.saved_tensors]
        given = [torch.zeros_like(x) if dx is None else dx for x, dx in zip(tensors, inputs[4:], strict=True)]
        return _along(ctx.run, ctx.streams, ctx.step, tensors, given)


def _by_entry(
    run: Run, streams: list[Tensor], step: float, tensors: list[Tensor], which: int, cotangent: Tensor
) -> Tensor:
    """Gradient in one tensor `[P, ...]` of `sum(cotangent * incidence)`."""
    flat = _flat(tensors[which])
    h = step * torch.maximum(flat, flat.mean(1, keepdim=True))
    h = torch.where(h > 0, h, torch.full_like(h, step))
    low, out = torch.where(flat >= h, h, torch.zeros_like(h)), torch.zeros_like(flat)
    P, number = flat.shape
    for first in range(0, number, AT_ONCE):
        chosen = torch.arange(first, min(first + AT_ONCE, number), device=flat.device)
        n, copy = len(chosen), torch.arange(len(chosen), device=flat.device)
        copies = [x.expand(2 * n, *x.shape).clone() for x in tensors]
        varied = copies[which].reshape(2 * n, P, number)
        varied[copy, :, chosen] += h[:, chosen].T
        varied[n + copy, :, chosen] -= low[:, chosen].T
        copies[which] = varied.reshape(2 * n, *tensors[which].shape)
        rates = Rates(*(x.flatten(0, 1) for x in copies))
        value = (run(rates, [s.repeat(2 * n) for s in streams]).unflatten(0, (2 * n, P)) * cotangent).sum((2, 3))
        out[:, chosen] = ((value[:n] - value[n:]) / (h + low)[:, chosen].T).T
    return out.reshape(tensors[which].shape)


def _along(run: Run, streams: list[Tensor], step: float, tensors: list[Tensor], given: list[Tensor]) -> Tensor:
    """`[P, T, G]` derivative along a direction, each particle with a step of its own."""
    P = len(tensors[0])
    h = torch.full((P,), torch.inf, dtype=tensors[0].dtype, device=tensors[0].device)
    for x, dx in zip(tensors, given, strict=True):
        if x.numel():
            flat, slope = _flat(x), _flat(dx).abs()
            reach = step * torch.maximum(flat, flat.mean(1, keepdim=True)) / slope
            h = torch.minimum(h, torch.where(slope > 0, reach, torch.inf).amin(1))
    h = torch.where(torch.isfinite(h) & (h > 0), h, torch.full_like(h, step))

    def moved(sign: float) -> tuple[Rates, Tensor]:
        varied, fits = [], torch.ones(P, dtype=torch.bool, device=h.device)
        for x, dx in zip(tensors, given, strict=True):
            y = x + sign * h.reshape(-1, *[1] * (x.dim() - 1)) * dx
            fits &= _flat(y >= 0).all(1)
            varied.append(y)
        here = fits.reshape(-1, 1)
        pairs = zip(tensors, varied, strict=True)
        kept = [torch.where(here, _flat(y), _flat(x)).reshape(x.shape) for x, y in pairs]
        return Rates(*kept), fits

    (above, up), (below, down) = moved(1.0), moved(-1.0)
    if not bool((up | down).all()):
        raise ValueError(
            "a direction lowers some rates that are 0 and raises others that are 0, so that neither end of a finite difference is "
            "an epidemic; split it into two directions."
        )
    width = h * (up.to(h.dtype) + down.to(h.dtype))
    return (run(above, streams) - run(below, streams)) / width.reshape(-1, 1, 1)


def _flat(x: Tensor) -> Tensor:
    """`[P, ...]` as `[P, numbers]`, also where there are none."""
    return x.reshape(len(x), x[0].numel())
