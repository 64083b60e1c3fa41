"""Simulators that compute their own derivatives: by hand, by finite differences, by another language."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from calib._gradients import attach_jacobian
from calib._rows import as_numbers, as_rows

Theta = Mapping[str, Tensor]


@dataclass(frozen=True, eq=False)
class BringsJacobian:
    """A simulator that brings the Jacobian of its outputs, for `calibrate`; also with an executor.

    Attributes:
        simulate: `(theta {name: [P, *event]}, seed) -> (outputs [P, M], {name: [P, M, *event]})`, derivatives by the parameters
            in their own units. Theta carries no graph. Of one draw, wrapped by `EachDraw`: `([M], {name: [M, *event]})`.

    Examples:
        >>> import torch
        >>> from torch.distributions import Independent, Normal
        >>> from calib import calibrate
        >>> days = torch.arange(1.0, 4.0)
        >>> def decay(theta, seed):
        ...     value = torch.exp(-theta["rate"][:, None] * days)
        ...     return value.numpy(), {"rate": -days.numpy() * value.numpy()}
        >>> found = calibrate(BringsJacobian(decay), {"rate": Normal(1.0, 0.5)}, torch.tensor([0.6, 0.4, 0.2]),
        ...     likelihood=lambda out: Independent(Normal(out, 0.05), 1), budget=300)
        >>> found.report["gradient"], found.verdict.state
        ('reverse', 'good')
    """

    simulate: Callable[..., Any]

    def __call__(self, theta: Theta, seed: int) -> Tensor:
        """Outputs and, after them, their Jacobian row by row, `[P, M + M * Q]`.

        Raises:
            TypeError: the simulator gives no pair of outputs and a dict of derivatives.
            ValueError: their shapes do not fit.
        """
        plain = {name: value.detach() for name, value in theta.items()}
        count = len(next(iter(plain.values())))
        raw = self.simulate(plain, seed)
        if isinstance(raw, list) and len(raw) == count and all(_is_pair(one) for one in raw):
            raw = (
                [one[0] for one in raw],
                {name: torch.stack([_numbers(name, one[1].get(name)) for one in raw]) for name in plain},
            )
        if not _is_pair(raw):
            raise TypeError(
                f"the simulator gave a {type(raw).__name__}, expected a pair: outputs, and a dict of their derivatives by parameter."
            )
        outputs = as_rows(raw[0], count).detach()
        columns = []
        for name, value in plain.items():
            part = _numbers(name, raw[1].get(name))
            expected = (*outputs.shape, *value.shape[1:])
            if tuple(part.shape) != expected:
                raise ValueError(
                    f"the derivatives by {name!r} have shape {tuple(part.shape)}, expected {expected}: [draw, output, *parameter]."
                )
            columns.append(part.reshape(*outputs.shape, -1))
        return torch.cat([outputs, torch.cat(columns, 2).flatten(1)], 1)


def _is_pair(raw: Any) -> bool:
    return isinstance(raw, tuple) and len(raw) == 2 and isinstance(raw[1], Mapping)


def _numbers(name: str, raw: Any) -> Tensor:
    if raw is None:
        raise ValueError(f"the simulator gave no derivatives by {name!r}, expected them by every parameter.")
    return as_numbers(raw, f"the derivatives by {name!r}").detach()


def unpack(theta: Theta, packed: Tensor, differentiated: bool) -> Tensor:
    """Outputs `[P, M]` of what `BringsJacobian` gave, with their derivatives in theta where these are wanted."""
    flat = torch.cat([value.reshape(len(packed), -1).double() for value in theta.values()], 1)
    size = packed.shape[1] // (1 + flat.shape[1])
    outputs = packed[:, :size]
    if not differentiated:
        return outputs
    return attach_jacobian(flat, outputs, packed[:, size:].reshape(len(packed), size, -1))
