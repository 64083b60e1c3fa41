"""A repair of chirho 0.3.0 on current torch.

Every `simulate` under `TorchDiffEq` of that release raises a TypeError, because it adds a tuple that holds `...` to a
`torch.Size`, and newer torch refuses that. chirho fixed it in commit eb5796b (pull request 597, September 2025), after
the release: once a release holds that commit, this module can go.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torchdiffeq
from chirho.dynamical.internals.backends import torchdiffeq as backend
from torch import Tensor


def torch_adds_ellipsis_to_size() -> bool:
    """Whether the expression that chirho 0.3.0 relies on works on this torch."""
    try:
        _ = (..., None) + torch.Size([])  # noqa: RUF005 - the very expression that chirho evaluates
    except TypeError:
        return False
    return True


def batched_odeint(
    func: Callable[[Tensor, tuple[Tensor, ...]], tuple[Tensor, ...]],
    y0: tuple[Tensor, ...],
    t: Tensor,
    *,
    event_fn: Callable[..., Tensor] | None = None,
    **odeint_kwargs: Any,
) -> backend.OdeintResult:
    """What chirho's `_batched_odeint` promises: state broadcast to its rates, solved, time moved to the end."""
    slope = func(t.unsqueeze(0) if t.ndim == 0 else t[..., 0], y0)
    batch = torch.broadcast_shapes(*(value.shape for value in slope))
    start = tuple(value.expand(batch) for value in y0)
    if event_fn is None:
        time, course = None, torchdiffeq.odeint(func, start, t, **odeint_kwargs)
    else:
        time, course = torchdiffeq.odeint_event(func, start, t, event_fn=event_fn, **odeint_kwargs)
    return backend.OdeintResult(tuple(value.movedim(0, -1) for value in course), time)


def repair_chirho() -> None:
    """Put `batched_odeint` in place of chirho's where the latter cannot run; otherwise change nothing."""
    if not torch_adds_ellipsis_to_size():
        backend._batched_odeint = batched_odeint
