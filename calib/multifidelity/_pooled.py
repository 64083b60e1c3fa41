"""Several problems, such as studies of several regions or waves, under one prior: shared parameters differ by a learnt standard deviation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import Distribution

from calib._shared_space import shared_space
from calib._space import ParameterSpace
from calib.multifidelity._emulator import Emulator
from calib.multifidelity._problem import Fidelity, Problem
from calib.multifidelity._shared_error import SharedError


@dataclass(frozen=True, eq=False)
class PooledCoordinates:
    """Coordinates of the pool and of each of its problems.

    Attributes:
        space: of the pool.
        spaces: of the problems, by name.
        shared: parameters under one prior.
    """

    space: ParameterSpace
    spaces: Mapping[str, ParameterSpace]
    shared: tuple[str, ...]

    def own(self, name: str, z: Tensor) -> Tensor:
        """Coordinates `[*batch, D']` of one problem at those of the pool, `z [*batch, D]`: `m + sd * u` where a parameter is shared.

        Raises:
            ValueError: there is no such problem.
        """
        names = list(self.spaces)
        if name not in names:
            raise ValueError(f"there is no {name!r} in the pool: choose among {', '.join(names)}.")
        by_name = {p.name: p for p in self.space.parameters}
        parts = []
        for p in self.spaces[name].parameters:
            if p.name not in self.shared:
                parts.append(z[..., self.space.slice_of(f"{name}:{p.name}")])
                continue
            sd = by_name[f"{p.name}_sd"].map.forward(z[..., self.space.slice_of(f"{p.name}_sd")])
            offset = z[..., self.space.slice_of(f"{p.name}_by_region")].unflatten(-1, (len(names), p.size))
            parts.append(z[..., self.space.slice_of(p.name)] + sd * offset[..., names.index(name), :])
        return torch.cat(parts, -1)

    def inward(self, name: str, z: Tensor) -> Tensor:
        """`[P, D', D]` derivatives of `own` at `z [P, D]`."""
        found: Tensor = torch.func.vmap(torch.func.jacrev(lambda one: self.own(name, one)))(z)
        return found


@dataclass(frozen=True, eq=False)
class PooledObservations:
    """The data of all problems, one after the other (see `Observations`)."""

    coordinates: PooledCoordinates
    problems: Mapping[str, Problem]
    outputs: Mapping[str, slice]

    @property
    def which(self) -> Tensor:
        """See `Observations`."""
        return torch.cat([p.observations.which + self.outputs[n].start for n, p in self.problems.items()])

    @property
    def integrates_error(self) -> bool:
        """See `Observations`."""
        return all(p.observations.integrates_error for p in self.problems.values())

    def _parts(self, x: Tensor | None) -> list[Tensor | None]:
        """`[P, F]` in parts."""
        sizes = [len(p.observations.which) for p in self.problems.values()]
        return [None] * len(sizes) if x is None else list(x.split(sizes, -1))

    def log_likelihood(self, z: Tensor, mean: Tensor, variance: Tensor | None = None) -> Tensor:
        """See `Observations`: the sum over problems."""
        sizes = [len(p.observations.which) for p in self.problems.values()]
        rows = zip(self.problems.items(), mean.split(sizes, -1), self._parts(variance), strict=True)
        values = [p.observations.log_likelihood(self.coordinates.own(n, z), m, v) for (n, p), m, v in rows]
        return torch.stack(values).sum(0)

    def information(self, z: Tensor, mean: Tensor, jacobian: Tensor, variance: Tensor | None = None) -> Tensor:
        """See `Observations`.

        A problem's information is asked for in its own coordinates with derivatives of its outputs by the pool's, which is what its streams
        need, and its scatter by the chain rule.
        """
        total = z.new_zeros(len(z), z.shape[1], z.shape[1])
        for name, problem in self.problems.items():
            where, inward = self.outputs[name], self.coordinates.inward(name, z)
            # J = J' A, so J' = J A^+ in the directions that A reaches
            own_jacobian = jacobian[:, where] @ torch.linalg.pinv(inward)
            own = problem.observations.information(
                self.coordinates.own(name, z),
                mean[:, where],
                own_jacobian,
                None if variance is None else variance[:, where],
            )
            total = total + inward.mT @ own @ inward
        return total

    def weight(self, z: Tensor, mean: Tensor) -> Tensor:
        """See `Observations`."""
        sizes = [len(p.observations.which) for p in self.problems.values()]
        rows = zip(self.problems.items(), mean.split(sizes, -1), strict=True)
        return torch.cat([p.observations.weight(self.coordinates.own(n, z), m) for (n, p), m in rows], -1)

    def compiled(self, emulator: Emulator, errors: SharedError | None) -> None:
        """There is none."""
        return


def pooled_problem(
    problems: Mapping[str, Problem],
    outputs: Mapping[str, int],
    *,
    shared: Sequence[str],
    sd: Distribution | Mapping[str, Distribution] | None = None,
) -> tuple[Problem, PooledCoordinates]:
    """One problem made of several, for `sample`.

    Args:
        problems: by name, at least two, with fidelities of the same names.
        outputs: number of outputs M of each.
        shared: parameters that all have, with one prior.
        sd: prior of the standard deviation over problems, in units of the prior's; HalfNormal(1) if None.

    Returns:
        The problem, whose outputs are those of all one after the other, and the coordinates of each.

    Raises:
        ValueError: as `calib.pooled`; or the problems have other fidelities, links or floors.
    """
    first = next(iter(problems.values()), None)
    spaces = {name: problem.space for name, problem in problems.items()}
    space = shared_space(spaces, shared, sd)
    assert first is not None
    for name, other in problems.items():
        alike = (other.link, other.floor) == (first.link, first.floor)
        if not alike or [f.name for f in other.fidelities] != [f.name for f in first.fidelities]:
            raise ValueError(
                f"problem {name!r} has other fidelities, another link or another floor than the first: give all the same."
            )
    coordinates = PooledCoordinates(space, spaces, tuple(shared))
    slices, at = {}, 0
    for name in problems:
        slices[name] = slice(at, at + outputs[name])
        at += outputs[name]

    def own_fidelity(problem: Problem, fidelity: Fidelity) -> Fidelity:
        return next(f for f in problem.fidelities if f.name == fidelity.name)

    def simulate(z: Tensor, seed: int, fidelity: Fidelity, first: int = 0) -> Tensor:
        return torch.cat(
            [p.simulate(coordinates.own(n, z), seed, own_fidelity(p, fidelity), first) for n, p in problems.items()], -1
        )

    def jacobian(z: Tensor, seed: int, fidelity: Fidelity, first: int = 0) -> tuple[Tensor, Tensor]:
        values, slopes = [], []
        for name, problem in problems.items():
            assert problem.jacobian is not None
            value, slope = problem.jacobian(coordinates.own(name, z), seed, own_fidelity(problem, fidelity), first)
            values.append(value)
            slopes.append(slope @ coordinates.inward(name, z))
        return torch.cat(values, 1), torch.cat(slopes, 1)

    has_jacobian = all(p.jacobian is not None for p in problems.values())
    made: Callable[..., tuple[Tensor, Tensor]] | None = jacobian if has_jacobian else None
    problem = Problem(
        space,
        PooledObservations(coordinates, dict(problems), slices),
        simulate,
        first.fidelities,
        made,
        link=first.link,
        floor=first.floor,
        compared_from=first.compared_from,
        smear=first.smear,
        fingerprint="+".join(p.fingerprint for p in problems.values()),
    )
    return problem, coordinates
