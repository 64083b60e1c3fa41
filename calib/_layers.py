"""Invertible layers that flows are made of: affine maps, and effects whose scale is itself unknown."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

Back = Callable[[Tensor, Tensor], Tensor]
"""Derivatives in `z [P, D]` and in the second output `[P]`, a layer's log determinant or a flow's log density, to that in `u [P, D]`."""


class Layer(nn.Module, ABC):
    """One invertible map u -> z.

    Attributes:
        rates: learning rates of some weights relative to the others', by name; the empty name means all of them. Many weights that act on one
            coordinate together must each move less.
    """

    rates: dict[str, float] = {}  # noqa: RUF012 (replaced, never changed)

    @abstractmethod
    def push(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """Map `u [*batch, D]` to `(z [*batch, D], log |det dz/du| [*batch])`."""

    def push_with_back(self, u: Tensor) -> tuple[Tensor, Tensor, Back]:
        """`push` without a graph, and its reverse mode; layers that are asked for thousands of times have it in closed form.

        Returns:
            `z [P, D]`, the log determinant `[P]`, and a function from derivatives in both to that in u, which can be asked once.
        """
        with torch.enable_grad():
            leaf = u.detach().requires_grad_()
            z, log_det = self.push(leaf)

        def back(to_z: Tensor, to_log_det: Tensor) -> Tensor:
            moved = [(x, by) for x, by in ((z, to_z), (log_det, to_log_det)) if x.requires_grad]
            (to_u,) = torch.autograd.grad([x for x, _ in moved], leaf, [by for _, by in moved], materialize_grads=True)
            return to_u

        return z.detach(), log_det.detach(), back

    @abstractmethod
    def pull(self, z: Tensor) -> Tensor:
        """Inverse of `push`: `z [*batch, D]` to `u [*batch, D]`."""

    @abstractmethod
    def pull_score(self, u: Tensor, score: Tensor) -> Tensor:
        """Carry the derivative of a log density through the layer.

        With log q(z) = log q(u) - log |det J(u)|, the derivative in z is J^-T (score - d log |det J| / du).

        Args:
            u: `[particle, D]`.
            score: derivative of log q(u) in u, `[particle, D]`.

        Returns:
            Derivative of log q(z) in z = push(u), `[particle, D]`.
        """


class Diagonal(Layer):
    """z = loc + scale * u, entry by entry."""

    def __init__(self, dim: int, scale: float) -> None:
        super().__init__()
        self.loc = nn.Parameter(torch.zeros(dim, dtype=torch.float64))
        self.log_scale = nn.Parameter(torch.full((dim,), math.log(scale), dtype=torch.float64))

    def push(self, u: Tensor) -> tuple[Tensor, Tensor]:
        return self.loc + self.log_scale.exp() * u, self.log_scale.sum().expand(u.shape[:-1])

    @torch.no_grad()
    def push_with_back(self, u: Tensor) -> tuple[Tensor, Tensor, Back]:
        scale = self.log_scale.exp()
        return *self.push(u), lambda to_z, to_log_det: to_z * scale

    def pull(self, z: Tensor) -> Tensor:
        return (z - self.loc) * (-self.log_scale).exp()

    def pull_score(self, u: Tensor, score: Tensor) -> Tensor:
        return score * (-self.log_scale).exp()


class FullRank(Layer):
    """z = loc + S (I + N) u with S diagonal and N strictly lower triangular, so any Gaussian.

    Scaling the rows keeps the entries of N of order one however narrow the posterior is.
    """

    strict: Tensor

    def __init__(self, dim: int, scale: float) -> None:
        super().__init__()
        self.loc = nn.Parameter(torch.zeros(dim, dtype=torch.float64))
        self.log_scale = nn.Parameter(torch.full((dim,), math.log(scale), dtype=torch.float64))
        self.lower = nn.Parameter(torch.zeros(dim, dim, dtype=torch.float64))
        self.rates = {"lower": min(1.0, 2 / math.sqrt(dim))}
        self.register_buffer("strict", torch.ones(dim, dim, dtype=torch.float64).tril(-1), persistent=False)

    def push(self, u: Tensor) -> tuple[Tensor, Tensor]:
        mixed = u + u @ (self.lower * self.strict).mT
        return self.loc + self.log_scale.exp() * mixed, self.log_scale.sum().expand(u.shape[:-1])

    @torch.no_grad()
    def push_with_back(self, u: Tensor) -> tuple[Tensor, Tensor, Back]:
        scale, unit = self.log_scale.exp(), self.lower * self.strict

        def back(to_z: Tensor, to_log_det: Tensor) -> Tensor:
            mixed = scale * to_z
            return mixed + mixed @ unit

        return self.loc + scale * (u + u @ unit.mT), self.log_scale.sum().expand(u.shape[:-1]), back

    def pull(self, z: Tensor) -> Tensor:
        mixed = (z - self.loc) * (-self.log_scale).exp()
        unit = self.lower * self.strict  # unitriangular solve takes the diagonal as one
        flat = mixed.reshape(-1, mixed.shape[-1])
        solved = torch.linalg.solve_triangular(unit, flat.mT, upper=False, unitriangular=True).mT
        return solved.reshape(mixed.shape)

    def pull_score(self, u: Tensor, score: Tensor) -> Tensor:
        unit = (self.lower * self.strict).mT
        solved = torch.linalg.solve_triangular(unit, score.mT, upper=True, unitriangular=True).mT
        return solved * (-self.log_scale).exp()


class PartlyCentred(Layer):
    """z_b = u_b exp(-c u_s) for blocks b of effects whose log scale z_s is itself unknown.

    Effects `scale(z_s) * z_b` are known from data or from their prior: then `u_b` follows the effects themselves (c the slope of the
    log scale: centred) or z_b (c = 0: not centred). The exponent c is fitted, so that a Gaussian in u bends with the funnel.
    (Partially centred parameterisation: Papaspiliopoulos, Roberts and Skoeld 2007, Stat Sci 22:59; fitted by variational inference:
    Gorinova, Moore and Hoffman 2020, ICML.)

    Args:
        dim: number of coordinates D.
        hierarchy: `(s, first, last, slope)` for each block: index of the log scale, block `first:last`, d log scale / d z_s.
    """

    source: Tensor
    block: Tensor

    def __init__(self, dim: int, hierarchy: Sequence[tuple[int, int, int, float]]) -> None:
        super().__init__()
        slopes = torch.tensor([slope for *_, slope in hierarchy], dtype=torch.float64)
        self.exponent = nn.Parameter(0.5 * slopes)
        # of every coordinate: its log scale, and which block it is of; those of none have themselves, with the exponent 0
        source, block = torch.arange(dim), torch.full((dim,), len(hierarchy))
        for number, (scale, first, last, _) in enumerate(hierarchy):
            source[first:last], block[first:last] = scale, number
        self.register_buffer("source", source, persistent=False)
        self.register_buffer("block", block, persistent=False)

    def _rate(self) -> Tensor:
        """`[D]` exponent of every coordinate."""
        return torch.nn.functional.pad(self.exponent, (0, 1)).index_select(0, self.block)

    def push(self, u: Tensor) -> tuple[Tensor, Tensor]:
        log = -(u.index_select(-1, self.source) * self._rate())
        return u * log.exp(), log.sum(-1)

    @torch.no_grad()
    def push_with_back(self, u: Tensor) -> tuple[Tensor, Tensor, Back]:
        rate = self._rate()
        log = -(u.index_select(-1, self.source) * rate)
        factor = log.exp()
        z = u * factor

        def back(to_z: Tensor, to_log_det: Tensor) -> Tensor:
            by_log = (to_z * z + to_log_det[:, None]) * rate
            return (to_z * factor).index_add_(-1, self.source, by_log, alpha=-1)

        return z, log.sum(-1), back

    def pull(self, z: Tensor) -> Tensor:
        # log scales are of no block themselves
        return z * (z.index_select(-1, self.source) * self._rate()).exp()

    def pull_score(self, u: Tensor, score: Tensor) -> Tensor:
        rate = self._rate()
        out = score * (u.index_select(-1, self.source) * rate).exp()
        return out.index_add(-1, self.source, (u * score + 1) * rate)


class LowRank(Layer):
    """z = loc + S (I + U V') u with U, V of rank r: directions may widen or narrow, at 2 r D numbers."""

    def __init__(self, dim: int, scale: float, rank: int, generator: torch.Generator) -> None:
        super().__init__()
        self.loc = nn.Parameter(torch.zeros(dim, dtype=torch.float64))
        self.log_scale = nn.Parameter(torch.full((dim,), math.log(scale), dtype=torch.float64))
        self.rates = {"u": min(1.0, 2 / math.sqrt(dim)), "v": min(1.0, 2 / math.sqrt(dim))}
        self.u = nn.Parameter(torch.zeros(dim, rank, dtype=torch.float64))
        self.v = nn.Parameter(torch.randn(dim, rank, generator=generator, dtype=torch.float64) / math.sqrt(dim))

    def _small(self) -> Tensor:
        return torch.eye(self.v.shape[1], dtype=self.v.dtype, device=self.v.device) + self.v.mT @ self.u

    def push(self, u: Tensor) -> tuple[Tensor, Tensor]:
        mixed = u + (u @ self.v) @ self.u.mT
        log_det = self.log_scale.sum() + torch.linalg.slogdet(self._small()).logabsdet
        return self.loc + self.log_scale.exp() * mixed, log_det.expand(u.shape[:-1])

    def pull(self, z: Tensor) -> Tensor:
        mixed = (z - self.loc) * (-self.log_scale).exp()  # Woodbury: (I + U V')^-1 = I - U (I + V'U)^-1 V'
        inner = torch.linalg.solve(self._small(), (mixed @ self.v).unsqueeze(-1)).squeeze(-1)
        return mixed - inner @ self.u.mT

    def pull_score(self, u: Tensor, score: Tensor) -> Tensor:
        inner = torch.linalg.solve(self._small().mT, (score @ self.u).unsqueeze(-1)).squeeze(-1)
        return (score - inner @ self.v.mT) * (-self.log_scale).exp()
