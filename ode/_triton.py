"""The course of an infection as one GPU kernel: a lane integrates one host through all days in registers.

In plain tensors a course is thousands of small operations, each a launch that costs more than its arithmetic. Here it is one launch,
and so is its derivative: along directions (`tangent`), or contracted with a cotangent (`pullback`). Same right-hand side as
`Dynamics.rates`, same steps as `rk4`, the model's numbers are those of `_dynamics`; results differ by rounding.

On a CPU the same kernels run in Triton's interpreter (`TRITON_INTERPRET=1` before triton is imported), for tests.
"""

# mypy: disable-error-code="no-untyped-def"
# ruff: noqa: ANN001, ANN202
# Triton's compiler gives the arguments of kernels their types: pointers to tensors, sizes, constants.

from __future__ import annotations

import math

import torch
import triton
import triton.language as tl
from torch import Tensor

from ode import _dynamics as model

# Kept on the right of an operator: on the left the interpreter makes a constant of the result.
K = tl.constexpr(model.ECLIPSE_EXIT)
LOG_K = tl.constexpr(math.log(model.ECLIPSE_EXIT))
RHO = tl.constexpr(model.REFRACTORY)
KAPPA = tl.constexpr(model.ADAPTIVE_CLEARANCE)
ALPHA = tl.constexpr(model.RECALL)
A_HALF = tl.constexpr(model.ANTIBODY_HALF)
V_HALF = tl.constexpr(model.VIRUS_HALF)
INOCULUM = tl.constexpr(model.INOCULUM)

LANES = 32
"""Hosts of a program: one warp, since a course is one long chain and the more processors share the hosts the better."""


@triton.jit
def logistic(x):
    """As `torch.sigmoid`."""
    return 1 / (1 + tl.exp(-x))


@triton.jit
def terms(t, e, v, a, beta):
    """The non-linear terms: beta V, beta T V / E, k E / V, share of virus and cells left free, growth of antibody; `beta` is its log."""
    infection = tl.exp(v + beta)
    entry = tl.exp(t - e + v + beta)
    production = tl.exp(e - v + LOG_K)
    return infection, entry, production, logistic(-(a - A_HALF)), logistic(v - V_HALF)


@triton.jit
def rates(t, e, v, a, beta, delta):
    """The time derivatives, as `Dynamics.rates`."""
    infection, entry, production, free, recall = terms(t, e, v, a, beta)
    return -(free + RHO) * infection, free * entry - K, production - delta - (1 - free) * KAPPA, recall * ALPHA


@triton.jit
def moved(t, e, v, a, beta, delta, dt, de, dv, da, dbeta, ddelta):
    """The time derivatives and, along one direction, theirs."""
    infection, entry, production, free, recall = terms(t, e, v, a, beta)
    dinfection = infection * (dv + dbeta)
    dentry = entry * (dt - de + dv + dbeta)
    dproduction = production * (de - dv)
    dfree = -free * (1 - free) * da
    drecall = recall * (1 - recall) * dv
    return (
        -(free + RHO) * infection,
        free * entry - K,
        production - delta - (1 - free) * KAPPA,
        recall * ALPHA,
        -(free + RHO) * dinfection - dfree * infection,
        free * dentry + dfree * entry,
        dproduction - ddelta + dfree * KAPPA,
        drecall * ALPHA,
    )


@triton.jit
def second(x, k1, H: tl.constexpr):
    """Where the second stage of Kutta's 3/8 rule stands."""
    return x + k1 * (H / 3)


@triton.jit
def third(x, k1, k2, H: tl.constexpr):
    """Where the third stage stands."""
    return x + k2 * H - k1 * (H / 3)


@triton.jit
def fourth(x, k1, k2, k3, H: tl.constexpr):
    """Where the fourth stage stands."""
    return x + (k1 - k2 + k3) * H


@triton.jit
def done(x, k1, k2, k3, k4, H: tl.constexpr):
    """The end of the step."""
    return x + (k1 + k4) * (H / 8) + (k2 + k3) * (3 * H / 8)


@triton.jit
def step(t, e, v, a, beta, delta, H: tl.constexpr):
    """The states a step of H days on."""
    t1, e1, v1, a1 = rates(t, e, v, a, beta, delta)
    t2, e2, v2, a2 = rates(second(t, t1, H), second(e, e1, H), second(v, v1, H), second(a, a1, H), beta, delta)
    t3, e3, v3, a3 = rates(
        third(t, t1, t2, H), third(e, e1, e2, H), third(v, v1, v2, H), third(a, a1, a2, H), beta, delta
    )
    t4, e4, v4, a4 = rates(
        fourth(t, t1, t2, t3, H), fourth(e, e1, e2, e3, H), fourth(v, v1, v2, v3, H), fourth(a, a1, a2, a3, H), beta, delta
    )  # fmt: skip
    return (
        done(t, t1, t2, t3, t4, H), done(e, e1, e2, e3, e4, H), done(v, v1, v2, v3, v4, H), done(a, a1, a2, a3, a4, H)
    )  # fmt: skip


@triton.jit
def step_moved(t, e, v, a, beta, delta, dt, de, dv, da, dbeta, ddelta, H: tl.constexpr):
    """The states and their tangents a step of H days on."""
    t1, e1, v1, a1, dt1, de1, dv1, da1 = moved(t, e, v, a, beta, delta, dt, de, dv, da, dbeta, ddelta)
    t2, e2, v2, a2, dt2, de2, dv2, da2 = moved(
        second(t, t1, H), second(e, e1, H), second(v, v1, H), second(a, a1, H), beta, delta,
        second(dt, dt1, H), second(de, de1, H), second(dv, dv1, H), second(da, da1, H), dbeta, ddelta,
    )  # fmt: skip
    t3, e3, v3, a3, dt3, de3, dv3, da3 = moved(
        third(t, t1, t2, H), third(e, e1, e2, H), third(v, v1, v2, H), third(a, a1, a2, H), beta, delta,
        third(dt, dt1, dt2, H), third(de, de1, de2, H), third(dv, dv1, dv2, H), third(da, da1, da2, H), dbeta, ddelta,
    )  # fmt: skip
    t4, e4, v4, a4, dt4, de4, dv4, da4 = moved(
        fourth(t, t1, t2, t3, H), fourth(e, e1, e2, e3, H), fourth(v, v1, v2, v3, H), fourth(a, a1, a2, a3, H), beta,
        delta, fourth(dt, dt1, dt2, dt3, H), fourth(de, de1, de2, de3, H), fourth(dv, dv1, dv2, dv3, H),
        fourth(da, da1, da2, da3, H), dbeta, ddelta,
    )  # fmt: skip
    return (
        done(t, t1, t2, t3, t4, H), done(e, e1, e2, e3, e4, H), done(v, v1, v2, v3, v4, H), done(a, a1, a2, a3, a4, H),
        done(dt, dt1, dt2, dt3, dt4, H), done(de, de1, de2, de3, de4, H), done(dv, dv1, dv2, dv3, dv4, H),
        done(da, da1, da2, da3, da4, H),
    )  # fmt: skip


@triton.jit
def lanes_of(hosts, LANES: tl.constexpr):
    """The hosts of this program, and which lanes hold one; the others repeat the last."""
    h = tl.program_id(0).to(tl.int64) * LANES + tl.arange(0, LANES)
    return tl.minimum(h, hosts - 1), h < hosts


@triton.jit
def four(rows, at, stride):
    """Four rows."""
    return (
        tl.load(rows + at), tl.load(rows + stride + at), tl.load(rows + 2 * stride + at), tl.load(rows + 3 * stride + at)
    )  # fmt: skip


@triton.jit
def store_four(rows, at, stride, ok, t, e, v, a):
    """Write four rows."""
    tl.store(rows + at, t, mask=ok)
    tl.store(rows + stride + at, e, mask=ok)
    tl.store(rows + 2 * stride + at, v, mask=ok)
    tl.store(rows + 3 * stride + at, a, mask=ok)


@triton.jit(do_not_specialize=["hosts", "days", "steps"])
def course_kernel(own, out, hosts, days, steps, H: tl.constexpr, LANES: tl.constexpr):
    """`own [4, hosts]` to `out [4, hosts, days]`. Grid: hosts / LANES."""
    h, ok = lanes_of(hosts, LANES)
    e, a, beta, delta = four(own, h, hosts)
    t, v = tl.zeros_like(e), tl.zeros_like(e) + INOCULUM
    for day in range(days):
        for _ in range(steps):
            t, e, v, a = step(t, e, v, a, beta, delta, H)
        store_four(out, h * days + day, hosts.to(tl.int64) * days, ok, t, e, v, a)


@triton.jit(do_not_specialize=["hosts", "directions", "days", "steps"])
def tangent_kernel(own, down, out, hosts, directions, days, steps, H: tl.constexpr, LANES: tl.constexpr):
    """`down [4, directions, hosts]` to `out [4, directions, hosts, days]`. Grid: hosts / LANES, directions."""
    h, ok = lanes_of(hosts, LANES)
    e, a, beta, delta = four(own, h, hosts)
    t, v = tl.zeros_like(e), tl.zeros_like(e) + INOCULUM
    lane, lanes = tl.program_id(1).to(tl.int64) * hosts + h, hosts.to(tl.int64) * directions
    de, da, dbeta, ddelta = four(down, lane, lanes)
    dt, dv = tl.zeros_like(de), tl.zeros_like(de)
    for day in range(days):
        for _ in range(steps):
            t, e, v, a, dt, de, dv, da = step_moved(t, e, v, a, beta, delta, dt, de, dv, da, dbeta, ddelta, H)
        store_four(out, lane * days + day, lanes * days, ok, dt, de, dv, da)


@triton.jit(do_not_specialize=["hosts", "days", "steps"])
def pullback_kernel(own, bar, out, hosts, days, steps, H: tl.constexpr, LANES: tl.constexpr):
    """`bar [4, hosts, days]` to `out [4, hosts]`, by the tangents of the four numbers of a host. Grid: hosts / LANES, 4."""
    h, ok = lanes_of(hosts, LANES)
    e, a, beta, delta = four(own, h, hosts)
    t, v = tl.zeros_like(e), tl.zeros_like(e) + INOCULUM
    row = tl.program_id(1)
    zero = tl.zeros_like(e)
    one = zero + 1
    de, da = tl.where(row == 0, one, zero), tl.where(row == 1, one, zero)
    dbeta, ddelta = tl.where(row == 2, one, zero), tl.where(row == 3, one, zero)
    dt, dv, total = zero, zero, zero
    for day in range(days):
        for _ in range(steps):
            t, e, v, a, dt, de, dv, da = step_moved(t, e, v, a, beta, delta, dt, de, dv, da, dbeta, ddelta, H)
        bt, be, bv, ba = four(bar, h * days + day, hosts.to(tl.int64) * days)
        total += bt * dt + be * de + bv * dv + ba * da
    tl.store(out + row.to(tl.int64) * hosts + h, total, mask=ok)


def course(own: Tensor, days: int, steps: int) -> Tensor:
    """States at the end of each day.

    Args:
        own: `[4, hosts]`, rows as `HostNumbers.own`.
        days: D.
        steps: of a day.

    Returns:
        `[4, hosts, D]`, rows as `STATE`.
    """
    own, hosts = own.contiguous(), own.shape[1]
    out = own.new_empty(4, hosts, days)
    if hosts:
        with torch.cuda.device_of(own):
            course_kernel[(triton.cdiv(hosts, LANES),)](
                own, out, hosts, days, steps, H=1.0 / steps, LANES=LANES, num_warps=1
            )
    return out


def tangent(own: Tensor, down: Tensor, days: int, steps: int) -> Tensor:
    """Derivative of `course` along directions `down [4, directions, hosts]`: `[4, directions, hosts, D]`."""
    own, down, (_, directions, hosts) = own.contiguous(), down.to(own.dtype).contiguous(), down.shape
    out = own.new_empty(4, directions, hosts, days)
    if hosts and directions:
        with torch.cuda.device_of(own):
            tangent_kernel[(triton.cdiv(hosts, LANES), directions)](
                own, down, out, hosts, directions, days, steps, H=1.0 / steps, LANES=LANES, num_warps=1
            )
    return out


def pullback(own: Tensor, bar: Tensor, steps: int) -> Tensor:
    """Gradient `[4, hosts]` of `sum(bar * course)` for `bar [4, hosts, D]`."""
    own, bar, (_, hosts, days) = own.contiguous(), bar.to(own.dtype).contiguous(), bar.shape
    out = torch.empty_like(own)
    if hosts:
        with torch.cuda.device_of(own):
            pullback_kernel[(triton.cdiv(hosts, LANES), 4)](
                own, bar, out, hosts, days, steps, H=1.0 / steps, LANES=LANES, num_warps=1
            )
    return out
