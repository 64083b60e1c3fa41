"""Autoregressive layers: univariate maps whose shape depends on the coordinates before (networks of zuko)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from zuko.flows.autoregressive import MaskedAutoregressiveTransform
from zuko.transforms import MonotonicAffineTransform, MonotonicRQSTransform

from calib._layers import Layer


class Autoregressive(Layer):
    """z_i = f(u_i; u_<i) with f monotone: one pass to sample, D passes to invert (Kingma et al. 2016).

    The last layer of the hyper-network starts at zero, where f is the identity.
    """

    def __init__(
        self,
        dim: int,
        univariate: Callable[..., Any],
        shapes: list[tuple[int, ...]],
        hidden: int,
        reverse: bool,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.reverse = reverse
        self.rates = {"": 0.1}
        order = torch.arange(dim)
        with torch.random.fork_rng(devices=[]):  # zuko's own start draws from the global state; it is replaced below
            self.net = MaskedAutoregressiveTransform(
                features=dim,
                order=order.flip(0) if reverse else order,
                univariate=univariate,
                shapes=shapes,
                hidden_features=(hidden, hidden),
                activation=nn.SiLU,
            )
        self.net.double()
        linear = [m for m in self.net.modules() if hasattr(m, "bias")]
        for m in linear:
            bound = 1 / math.sqrt(m.weight.shape[-1])
            draw = torch.rand(m.weight.shape, generator=generator, dtype=torch.float64)
            m.weight.data = (2 * draw - 1) * bound
            m.bias.data.zero_()
        # With one dimension there is no network, only the numbers that it would have put out.
        for last in [linear[-1].weight] if linear else self.net.parameters():
            last.data.zero_()

    def push(self, u: Tensor) -> tuple[Tensor, Tensor]:
        z, log_slope = self.net().call_and_ladj(u)
        return z, log_slope

    def pull(self, z: Tensor) -> Tensor:
        return self.net().inv(z)

    def pull_score(self, u: Tensor, score: Tensor) -> Tensor:
        with torch.enable_grad():
            leaf = u.detach().requires_grad_()
            z, log_det = self.push(leaf)
            (slope,) = torch.autograd.grad(log_det.sum(), leaf, retain_graph=True, materialize_grads=True)
            rows = torch.eye(u.shape[-1], dtype=u.dtype, device=u.device)[:, None].expand(-1, *u.shape)
            (jacobian,) = torch.autograd.grad(z, leaf, rows, is_grads_batched=True)  # [row, particle, column]
        transposed, right = jacobian.permute(1, 2, 0), (score - slope).unsqueeze(-1)
        # J is triangular in the order of the layer, so its transpose is in the other
        return torch.linalg.solve_triangular(transposed, right, upper=not self.reverse).squeeze(-1)


class Inverted(Layer):
    """An autoregressive layer the other way round: one pass for the density, D passes to sample.

    What maximum likelihood on given draws wants (Papamakarios et al. 2017), where `Autoregressive` is for the ELBO.
    """

    def __init__(self, inner: Autoregressive) -> None:
        super().__init__()
        self.inner = inner

    def push(self, u: Tensor) -> tuple[Tensor, Tensor]:
        z = self.inner.pull(u)
        return z, -self.inner.push(z)[1]

    def pull(self, z: Tensor) -> Tensor:
        return self.inner.push(z)[0]

    def pull_score(self, u: Tensor, score: Tensor) -> Tensor:
        with torch.enable_grad():
            leaf = self.inner.pull(u).detach().requires_grad_()
            back, log_det = self.inner.push(leaf)  # log q(z) = log q(u) + log |det du/dz|
            (out,) = torch.autograd.grad((back * score).sum() + log_det.sum(), leaf)
        return out


def spline(dim: int, hidden: int, bins: int, reverse: bool, generator: torch.Generator) -> Autoregressive:
    return Autoregressive(dim, MonotonicRQSTransform, [(bins,), (bins,), (bins - 1,)], hidden, reverse, generator)


def affine(dim: int, hidden: int, reverse: bool, generator: torch.Generator) -> Autoregressive:
    return Autoregressive(dim, MonotonicAffineTransform, [(), ()], hidden, reverse, generator)
