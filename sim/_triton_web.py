"""Attempts on a GPU in the orders in which alternative worlds look them up: `_compiled_web`."""

# mypy: disable-error-code="no-untyped-def"
# ruff: noqa: ANN001, ANN202
# Triton's compiler gives the arguments of kernels their types.

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from sim._triton_attempts import Attempts, draw
from sim._triton_people import Past, People, after, kernel, last_before, level, opened, region_of, sizes

SPELLS = 32
"""Spells or attempts that a program takes: one warp, so that lanes wait for few others."""


class Web(NamedTuple):
    """As `_compiled_web.Web`, of all particles.

    Attributes:
        out_first, out: `[M + 1]`, attempts of each spell. into_first, into: `[P * N + 1]`, attempts on each agent. supports: `[M]`.
        share: `[E]`. bin_first, cut: `[P * T * R + 1]`, `[P * T * R]`. bins, place: attempts with a share.
    """

    out_first: Any
    out: Any
    into_first: Any
    into: Any
    supports: Any
    share: Any
    bin_first: Any
    bins: Any
    place: Any
    cut: Any


def attempts(c: People, w: Past, most: int, most_each: int) -> tuple[Attempts, Tensor]:
    """Attempts of all runs, in order of spells, and the particle of each.

    Raises:
        ValueError: some run has more than `most`, and `most_each` for each of its infections.
        torch.OutOfMemoryError: memory does not hold them, or there are too many for 32 bits.
    """
    device, infections = w.day.device, len(w.day)
    grid = (triton.cdiv(infections, SPELLS),)
    number = torch.zeros(infections, dtype=torch.int64, device=device)
    draw[grid](c, w, _room(0, device), number, FILL=False, BLOCK=SPELLS, num_warps=1)
    of_each = torch.bincount(w.particle.long(), minlength=len(w.key))
    limit = most + most_each * of_each
    of_run = torch.zeros_like(limit).index_add_(0, w.particle.long(), number)
    if bool((of_run > limit).any()):
        worst = int((of_run - limit).argmax())
        raise ValueError(
            f"The rates make more than {int(limit[worst]):,} contacts that may infect for {int(of_each[worst]):,} infections, more than "
            "estimator 'removals' follows; lower rates.transmission, or choose estimator='local-score'."
        )
    total = int(number.sum())
    if total > 2**31 - 1:
        raise torch.OutOfMemoryError(
            f"{total:,} attempts of {len(w.key)} particles do not fit 32-bit numbers; simulate fewer particles at once."
        )
    a = _room(total, device)
    draw[grid](c, w, a, number.cumsum(0) - number, FILL=True, BLOCK=SPELLS, num_warps=1)
    return a, torch.repeat_interleave(w.particle.long(), number, output_size=total)


def _room(size: int, device: torch.device) -> Attempts:
    kinds = (torch.int32, torch.int32, torch.int16, torch.int8, torch.float64, torch.int32)
    return Attempts(*(torch.empty(size, dtype=kind, device=device) for kind in kinds))


@triton.jit
def time_of(w, a, e, ok):
    """Day of an attempt in the run."""
    source = tl.load(a.source + e, mask=ok, other=-1)
    day = tl.load(w.day + source, mask=ok & (source >= 0), other=-1)
    return day + 1 + tl.load(a.age + e, mask=ok, other=0).to(tl.int32)


@kernel
def shares(c, w, a, particle, share, bin, where, number, BLOCK: tl.constexpr):
    """Height of an attempt as a share of what would infect if behaviour did not respond; its bin, or -1, and its place there."""
    c, w = opened(c, w)
    e = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    ok = e < number
    p = tl.load(particle + e, mask=ok, other=0).to(tl.int64)
    channel = tl.load(a.channel + e, mask=ok, other=-1).to(tl.int32)
    ok = ok & (channel >= 1) & (tl.load(w.aversion + p) > 0.0)
    j, t = tl.load(a.target + e, mask=ok, other=0), time_of(w, a, e, ok)
    free = after(c, w, p, t, j, last_before(c, w, p, j, t, ok), ok)
    free *= level(c, w, p, channel, t, j, free * 0.0 + 1.0, ok)
    height, r = tl.load(a.height + e, mask=ok, other=0.0), region_of(c, j, ok)
    ok = ok & (height < free)
    part = height / tl.where(ok, free, 1.0)
    response = tl.load(w.response + (p * w.T + t) * c.R + r, mask=ok, other=1.0)
    infected = tl.load(a.spell + e, mask=ok, other=-1) >= 0
    above = (part - response) / tl.where(ok & (infected == 0), 1.0 - response, 1.0)
    inside = e < number
    tl.store(share + e, tl.where(ok, part, -1.0), mask=inside)
    tl.store(bin + e, tl.where(ok, 2 * ((p * w.T + t) * c.R + r) + infected.to(tl.int64), -1), mask=inside)
    tl.store(where + e, tl.where(infected, part / response, above), mask=inside)


def weave(c: People, w: Past, a: Attempts, particle: Tensor) -> Web:
    """Sort the attempts of all runs; `particle` `[E]`."""
    z, device, P, E = sizes(c, w), w.day.device, len(w.key), len(a.source)
    out_first, out = _sorted(a.source.long(), z.M)
    target = particle * z.N + a.target
    known = (w.first[target] < w.first[target + 1]) if not z.E else torch.ones_like(target, dtype=torch.bool)
    into_first, into = _sorted(torch.where(known, target, -1), P * z.N)
    supports = torch.bincount(a.spell[a.spell >= 0], minlength=z.M).int()
    share = torch.full((E,), -1.0, dtype=torch.float64, device=device)
    bin_of, where = torch.full((E,), -1, dtype=torch.int64, device=device), torch.zeros_like(share)
    if E and bool((w.aversion > 0).any()):
        shares[(triton.cdiv(E, SPELLS),)](c, w, a, particle, share, bin_of, where, E, BLOCK=SPELLS, num_warps=1)
    by_place = torch.sort(where, stable=True).indices
    halves, bins = _sorted(bin_of[by_place], 2 * P * z.T * z.R)
    bins = by_place[bins.long()].int()
    return Web(
        out_first, out, into_first, into, supports, share, halves[::2].contiguous(), bins, where[bins.long()],
        halves[1::2].contiguous(),
    )  # fmt: skip


def _sorted(key: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Where each key begins, and the entries by key, int32; negative keys are left out."""
    number = torch.bincount(key[key >= 0], minlength=size)
    order = torch.sort(key, stable=True).indices[int((key < 0).sum()) :]
    return torch.nn.functional.pad(number.cumsum(0), (1, 0)).int(), order.int()
