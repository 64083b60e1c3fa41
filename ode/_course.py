"""Which solver takes a course: plain tensors anywhere, or one kernel where the hosts are on a GPU.

The kernel is an `autograd.Function` with rules for reverse mode, forward mode and vmap. Hosts are independent, so a batch axis of
vmap is more hosts, and a batch of tangents at the same hosts is more directions.
"""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from typing import Any, Literal, NoReturn

import torch
from torch import Tensor

from ode._dynamics import HostNumbers, dynamics_of
from ode._runge_kutta import rk4

Solver = Literal["auto", "plain", "kernel"]
"""`plain`: tensor operations, any device, any order of derivative. `kernel`: one kernel, CUDA, first derivatives. `auto`: the kernel for
single or double precision on a CUDA device where triton is installed, else plain."""


def daily_states(hosts: HostNumbers, *, days: int, steps: int, solver: Solver = "auto") -> Tensor:
    """States of all hosts at the end of each day, `[4, *batch, K, D]`, natural logarithms with rows as `STATE`.

    Raises:
        ValueError: if there is no such solver, or the kernel was asked for and cannot run.
    """
    if takes_kernel(hosts.own, solver):
        own = hosts.own
        out: Tensor = _Course.apply(own.flatten(1), days, steps)
        return out.unflatten(1, own.shape[1:])
    model = dynamics_of(hosts).flatten()
    return rk4(model.rates, model.initial, days=days, steps_per_day=steps).unflatten(1, hosts.own.shape[1:])


def takes_kernel(own: Tensor, solver: Solver) -> bool:
    """Whether the kernel solves these hosts: the one place where this is decided.

    Raises:
        ValueError: if there is no such solver, or the kernel was asked for and cannot run.
    """
    fits = own.dtype in (torch.float32, torch.float64)
    if solver == "auto":
        return own.is_cuda and fits and _has_triton()
    if solver == "plain":
        return False
    if solver != "kernel":
        raise ValueError(f"solver is {solver!r}, but 'auto', 'plain' or 'kernel' was expected; choose one of them.")
    if not _has_triton():
        raise ValueError("The kernel needs the package triton, which is not installed; use solver='plain'.")
    if not fits:
        raise ValueError(
            f"The parameters are {own.dtype}, but the kernel takes float32 or float64; use solver='plain'."
        )
    if not own.is_cuda and not _interpreted():
        raise ValueError(
            f"The parameters are on {own.device}, but the kernel runs on a CUDA device; use solver='plain', or set TRITON_INTERPRET=1 "
            "before triton is imported to interpret it."
        )
    return True


@cache
def _has_triton() -> bool:
    return find_spec("triton") is not None


def _interpreted() -> bool:
    import triton

    return bool(triton.knobs.runtime.interpret)


class _Course(torch.autograd.Function):
    """`own [4, hosts]` to `[4, hosts, D]`."""

    @staticmethod
    def forward(own: Tensor, days: int, steps: int) -> Tensor:
        from ode import _triton

        return _triton.course(own, days, steps)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, int, int], output: Tensor) -> None:
        own, ctx.days, ctx.steps = inputs
        ctx.save_for_backward(own)
        ctx.save_for_forward(own)

    @staticmethod
    def backward(ctx: Any, bar: Tensor) -> tuple[Tensor, None, None]:
        return _Pullback.apply(*ctx.saved_tensors, bar, ctx.steps), None, None

    @staticmethod
    def jvp(ctx: Any, down: Tensor, *_: None) -> Tensor:
        out: Tensor = _Tangent.apply(*ctx.saved_tensors, down.unsqueeze(1), ctx.days, ctx.steps)
        return out.squeeze(1)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int, None, None], own: Tensor, days: int, steps: int) -> tuple[Tensor, int]:
        out = _Course.apply(own.movedim(in_dims[0], 1).flatten(1), days, steps)
        return out.unflatten(1, (info.batch_size, -1)), 1


class _FirstOrder(torch.autograd.Function):
    """A first derivative, which has none of its own: better a sentence than a wrong number."""

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, *_: Any) -> NoReturn:
        raise ValueError(
            "A second derivative of a course was asked for, but the kernel has first ones; use solver='plain'."
        )

    @staticmethod
    def jvp(ctx: Any, *_: Any) -> NoReturn:
        _FirstOrder.backward(ctx)


class _Tangent(_FirstOrder):
    """`own [4, hosts]`, `down [4, directions, hosts]` to `[4, directions, hosts, D]`."""

    @staticmethod
    def forward(own: Tensor, down: Tensor, days: int, steps: int) -> Tensor:
        from ode import _triton

        return _triton.tangent(own, down, days, steps)

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[Any, ...], own: Tensor, down: Tensor, days: int, steps: int
    ) -> tuple[Tensor, int]:
        size, of_own, of_down = info.batch_size, *in_dims[:2]
        if of_own is None:  # more directions at the same hosts
            out = _Tangent.apply(own, down.movedim(of_down, 1).flatten(1, 2), days, steps)
            return out.unflatten(1, (size, -1)), 1
        down = down.unsqueeze(2).expand(-1, -1, size, -1) if of_down is None else down.movedim(of_down, 2)
        out = _Tangent.apply(own.movedim(of_own, 1).flatten(1), down.flatten(2), days, steps)
        return out.unflatten(2, (size, -1)), 2


class _Pullback(_FirstOrder):
    """`own [4, hosts]`, `bar [4, hosts, D]` to the gradient `[4, hosts]`."""

    @staticmethod
    def forward(own: Tensor, bar: Tensor, steps: int) -> Tensor:
        from ode import _triton

        return _triton.pullback(own, bar, steps)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], own: Tensor, bar: Tensor, steps: int) -> tuple[Tensor, int]:
        own, bar = (
            x.unsqueeze(1).expand(-1, info.batch_size, *x.shape[1:]) if dim is None else x.movedim(dim, 1)
            for x, dim in zip((own, bar), in_dims[:2], strict=True)
        )
        return _Pullback.apply(own.flatten(1), bar.flatten(1, 2), steps).unflatten(1, (info.batch_size, -1)), 1
