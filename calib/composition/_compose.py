"""Blocks before a simulator: weights to physical parameters, and the simulator's Jacobian in those alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution

from calib._brings_jacobian import BringsJacobian, unpack
from calib._noise import derive_seed
from calib._rows import as_rows
from calib._short_repr import short_repr
from calib._space import Parameter, ParameterSpace
from calib.composition._block import Block

STEP = 1e-3
"""Of differences, in units of a prior's standard deviation or of a block's value."""
START = 0.2
"""Weights of networks start at draws of their prior times this: away from the centre, where they have no derivative, and near it."""


@dataclass(eq=False)
class Composed:
    """A simulator whose blocks of parameters come from functions; itself a simulator of the other parameters and the weights.

    `calibrate(composed, composed.space, data, ...)` takes it as any simulator, and `fit_function` finds the posterior of the functions.

    Attributes:
        model: `(theta {name: [P, *event]}, seed) -> outputs [P, M]`, or a `BringsJacobian`.
        plain: the parameters with priors of their own; None if blocks give all.
        blocks: the others.
        runs: rows simulated so far.
    """

    __repr__ = short_repr

    model: Callable[..., Any]
    plain: ParameterSpace | None
    blocks: tuple[Block, ...]
    runs: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        own = () if self.plain is None else self.plain.parameters
        self.space = ParameterSpace((*own, *(p for block in self.blocks for p in block.function.parameters)))

    @property
    def coordinates(self) -> int:
        """Number n of physical coordinates: z of the plain parameters, then the values of the blocks."""
        return self._plain + sum(prod(block.shape) for block in self.blocks)

    @property
    def _plain(self) -> int:
        return 0 if self.plain is None else self.plain.dim

    def __call__(self, theta: Mapping[str, Tensor], seed: int) -> Tensor:
        """Outputs `[P, M]` at plain parameters and weights; where weights carry a graph, so do outputs."""
        given = {} if self.plain is None else {p.name: theta[p.name] for p in self.plain.parameters}
        return self._run(given | {b.name: b.value(theta) for b in self.blocks}, seed)

    def start(self, seed: int) -> Tensor:
        """Where a fit starts, `[D]`: the prior's centre, weights of networks at a fifth of a draw of their prior."""
        z = torch.zeros(self.space.dim, dtype=torch.float64)
        for i, name in enumerate(name for block in self.blocks for name in block.function.drawn):
            where = self.space.slice_of(name)
            generator = torch.Generator().manual_seed(derive_seed(seed, i, "network-start"))
            z[where] = START * torch.randn(where.stop - where.start, generator=generator, dtype=torch.float64)
        return z

    def physical(self, z: Tensor) -> Tensor:
        """Physical coordinates `[*batch, n]` at `z [*batch, D]` of `space`."""
        theta = self.space.to_theta(z)
        values = [b.value(theta).flatten(-len(b.shape)) for b in self.blocks]
        return torch.cat([z[..., : self._plain], *values], -1)

    def theta_of(self, coordinates: Tensor) -> dict[str, Tensor]:
        """The simulator's parameters `[*batch, *event]` at physical coordinates `[*batch, n]`."""
        theta = {} if self.plain is None else self.plain.to_theta(coordinates[..., : self._plain])
        at = self._plain
        for block in self.blocks:
            size = prod(block.shape)
            theta[block.name] = coordinates[..., at : at + size].unflatten(-1, block.shape)
            at += size
        return theta

    def slice_of(self, name: str) -> slice:
        """Where the values of a block stand among physical coordinates.

        Raises:
            ValueError: there is no such block.
        """
        at = self._plain
        for block in self.blocks:
            if block.name == name:
                return slice(at, at + prod(block.shape))
            at += prod(block.shape)
        raise ValueError(f"there is no block {name!r}: choose among {', '.join(b.name for b in self.blocks)}.")

    def outputs(self, coordinates: Tensor, seed: int) -> Tensor:
        """Outputs `[P, M]` at physical coordinates `[P, n]`, without a graph."""
        with torch.no_grad():
            return self._run(self.theta_of(coordinates), seed)

    def jacobian(self, coordinates: Tensor, seed: int) -> tuple[Tensor, Tensor]:
        """Outputs `[M]` and their derivatives `[M, n]` at physical coordinates `[n]`.

        One run where the simulator brings or carries derivatives, else `2 n + 1` runs (central differences, common random numbers). The
        blocks' weights play no part: their derivatives follow by the chain rule.
        """
        point = coordinates.detach()[None]
        if isinstance(self.model, BringsJacobian):
            theta = self.theta_of(point)
            packed = as_rows(self.model(theta, seed), 1)
            self.runs += 1
            size = packed.shape[1] // (1 + sum(v[0].numel() for v in theta.values()))
            by_theta = packed[0, size:].reshape(size, -1)
            inner = torch.func.jacrev(lambda x: _flat(self.theta_of(x)))(point[0])
            return packed[0, :size], by_theta @ inner
        with torch.enable_grad():
            leaf = point.clone().requires_grad_()
            out = self._run(self.theta_of(leaf), seed)
            if out.requires_grad:
                eye = torch.eye(out.shape[1], dtype=out.dtype)[:, None]
                (rows,) = torch.autograd.grad(out, leaf, eye, is_grads_batched=True)
                return out[0].detach(), rows[:, 0]
        shift = STEP * torch.eye(point.shape[1], dtype=point.dtype)
        both = torch.cat([self.outputs(p, seed) for p in torch.cat([point + shift, point - shift]).split(1)])
        up, down = both.chunk(2)
        return out[0].detach(), ((up - down) / (2 * STEP)).mT

    def _run(self, theta: Mapping[str, Tensor], seed: int) -> Tensor:
        count = len(next(iter(theta.values())))
        self.runs += count
        out = as_rows(self.model(theta, seed), count)
        if isinstance(self.model, BringsJacobian):
            return unpack(theta, out, torch.is_grad_enabled() and any(v.requires_grad for v in theta.values()))
        return out


def _flat(theta: Mapping[str, Tensor]) -> Tensor:
    """`[Q]`, in the order of the parameters."""
    return torch.cat([value.flatten() for value in theta.values()])


def _space_of(prior: ParameterSpace | Mapping[str, Distribution]) -> ParameterSpace:
    if isinstance(prior, ParameterSpace):
        return prior
    return ParameterSpace(tuple(Parameter(name, given) for name, given in prior.items()))


def compose(
    model: Callable[..., Any],
    prior: ParameterSpace | Mapping[str, Distribution] | None,
    blocks: Sequence[Block] | Block,
) -> Composed:
    """Put blocks before a simulator.

    Args:
        model: `(theta {name: [P, *event]}, seed) -> outputs [P, M]`, or a `BringsJacobian`.
        prior: of the parameters that no block gives; None or empty if there are none.
        blocks: each gives the parameter of its name, `[P, *shape]`.

    Returns:
        A simulator of the other parameters and the weights of the blocks.

    Raises:
        ValueError: there is no block, or two parameters have one name.

    Examples:
        Levels of three regions over five weeks as a smooth function of time:

        >>> import torch
        >>> from torch.distributions import Independent, Normal
        >>> from calib.composition import Block, compose, fit_function, gaussian_process
        >>> block = Block("level", (3, 5), gaussian_process(1.0, length=2.0))
        >>> composed = compose(lambda theta, seed: theta["level"].flatten(1), None, block)
        >>> data = torch.sin(torch.arange(5.0)).repeat(3)
        >>> found = fit_function(composed, data, lambda out: Independent(Normal(out, 0.1), 1))
        >>> found.mean("level").shape, bool((found.mean("level")[0] - data[:5]).abs().max() < 0.1)
        (torch.Size([3, 5]), True)
    """
    chosen = (blocks,) if isinstance(blocks, Block) else tuple(blocks)
    if not chosen:
        raise ValueError("no block was given to compose: give at least one, or calibrate the simulator itself.")
    plain = _space_of(prior) if prior else None
    names = [block.name for block in chosen] + ([] if plain is None else [p.name for p in plain.parameters])
    for i, name in enumerate(names):
        if name in names[:i]:
            raise ValueError(
                f"parameter {name!r} is given twice, by a block and by another block or a prior: keep one of them."
            )
    return Composed(model, plain, chosen)
