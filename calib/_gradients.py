"""Ways to give a simulator's outputs a gradient: attached Jacobians, forward mode, the score function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.autograd.forward_ad as fwad
from torch import Tensor


class _Attach(torch.autograd.Function):
    """Outputs whose backward pass is a product with a Jacobian computed beforehand."""

    @staticmethod
    def forward(ctx: Any, theta: Tensor, outputs: Tensor, jacobian: Tensor) -> Tensor:
        ctx.save_for_backward(jacobian)
        ctx.batch = theta.shape[:-1]
        return outputs.clone()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (jacobian,) = ctx.saved_tensors
        count = jacobian.shape[-1]
        flat = jacobian.reshape(*ctx.batch, -1, count)
        return (grad.reshape(*ctx.batch, 1, -1) @ flat).squeeze(-2), None, None


def attach_jacobian(theta: Tensor, outputs: Tensor, jacobian: Tensor) -> Tensor:
    """Outputs that know their derivative with respect to theta though no graph was recorded.

    With theta = g_q(noise), reverse mode then multiplies `J_f` into the flow's `g_q`: the whole derivative of
    the outputs with respect to the flow's weights is `J_f g_q`, in memory of the size of the Jacobian.

    Args:
        theta: `[*batch, Q]`, part of a graph.
        outputs: `[*batch, *out]`, computed at theta without a graph.
        jacobian: d outputs / d theta, `[*batch, *out, Q]`.

    Returns:
        A copy of the outputs, `[*batch, *out]`, differentiable with respect to theta (once).

    Raises:
        ValueError: if the shapes do not fit.
    """
    batch = theta.shape[:-1]
    expected = (*outputs.shape, theta.shape[-1])
    if outputs.shape[: len(batch)] != batch or tuple(jacobian.shape) != expected:
        raise ValueError(
            f"theta {tuple(theta.shape)}, outputs {tuple(outputs.shape)} and Jacobian "
            f"{tuple(jacobian.shape)} do not fit: expected "
            "[*batch, Q], [*batch, *out] and [*batch, *out, Q]"
        )
    return _Attach.apply(theta, outputs.detach(), jacobian.detach())


def forward_jacobian(f: Callable[[Tensor], Tensor], z: Tensor) -> tuple[Tensor, Tensor]:
    """Value and Jacobian of a function by forward mode: one pass per column, all rows at once, no tape.

    Rows must not touch one another, and a random f must draw the same numbers at each call (pass it a seed).

    Args:
        f: `[*batch, Q] -> [*batch, *out]`, each row a function of its own row alone.
        z: `[*batch, Q]`.

    Returns:
        Value `[*batch, *out]` and Jacobian `[*batch, *out, Q]`, both without a graph.

    Raises:
        ValueError: if the output carries no tangent (f is cut from its input, or leaves forward mode), or if
            f is not the same
            at each call.

    Examples:
        >>> import torch
        >>> from calib import forward_jacobian
        >>> value, slope = forward_jacobian(lambda z: z**2, torch.tensor([[1.0, 3.0]]))
        >>> slope
        tensor([[[2., 0.],
                 [0., 6.]]])
    """
    point = z.detach()
    value: Tensor | None = None
    columns = []
    with torch.no_grad():
        for q in range(z.shape[-1]):
            tangent = torch.zeros_like(point)
            tangent[..., q] = 1.0
            with fwad.dual_level():
                out = fwad.unpack_dual(f(fwad.make_dual(point, tangent)))
                if out.tangent is None:
                    # torchdiffeq's adjoint does this without a word; a zero here would be a wrong gradient
                    raise ValueError(
                        "the function's output carries no forward-mode tangent: its value is cut from its "
                        "input (detach, an "
                        "autograd.Function without jvp); use the reverse or the score path"
                    )
                primal, column = out.primal.clone(), out.tangent.clone()
            if value is None:
                value = primal
            elif not torch.equal(value.nan_to_num(), primal.nan_to_num()):
                raise ValueError(
                    "the function gave different values at the same point: a random simulator must take "
                    "its noise or a seed, "
                    "the same for every column"
                )
            columns.append(column)
    if value is None:
        raise ValueError(f"z has shape {tuple(z.shape)}, expected at least one coordinate on its last axis")
    return value, torch.stack(columns, dim=-1)


def forward_attached(f: Callable[[Tensor], Tensor], z: Tensor) -> Tensor:
    """`f(z)` with its gradient from forward mode: `forward_jacobian`, then `attach_jacobian`.

    Args:
        f: `[*batch, Q] -> [*batch, *out]`.
        z: `[*batch, Q]`, part of a graph.

    Returns:
        `[*batch, *out]`, differentiable with respect to z.

    Raises:
        ValueError: as `forward_jacobian`.
    """
    value, jacobian = forward_jacobian(f, z)
    return attach_jacobian(z, value, jacobian)


def score_function(log_weight: Tensor, log_q: Tensor) -> Tensor:
    """Surrogate whose gradient estimates the gradient of E_q[log_weight] without derivatives of it.

    Each particle is weighed by its advantage over the mean of the others, which keeps the estimate unbiased
    (leave-one-out baseline; Kool, van Hoof & Welling 2019).

    Args:
        log_weight: `[particle]`, any function of the particles; used without its graph.
        log_q: log q at the particles held fixed, `[particle]`, differentiable in the weights of q.

    Returns:
        `[particle]`; the mean has the value of the mean of `log_weight` and the score-function gradient.

    Raises:
        ValueError: if there are fewer than two particles.
    """
    count = log_weight.shape[0]
    if count < 2:
        raise ValueError(f"the score function needs at least 2 particles for its baseline, got {count}")
    weight = log_weight.detach()
    advantage = (weight - weight.mean()) * (count / (count - 1))  # equals weight_p - mean of the others
    return weight + advantage * (log_q - log_q.detach())
