"""What the method asks of a simulator and of data: one frozen value."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import torch
from torch import Tensor

from calib._short_repr import short_repr
from calib._space import ParameterSpace
from calib.multifidelity._compiled import Compiled
from calib.multifidelity._emulator import Emulator, EmulatorSettings, FeatureMap, Link, identity
from calib.multifidelity._shared_error import SharedError

Role = Literal["values", "start", "slopes"]
"""What a fidelity is run for: outputs alone, which set intercept and curvature of the emulator; outputs with Jacobians in the warm start;
outputs with Jacobians in the refinement rounds."""


@dataclass(frozen=True)
class Fidelity:
    """One version of the simulator.

    Attributes:
        name: by which the simulator knows it.
        roles: what it is run for.
        cost: of a run without Jacobian, in runs of the cheapest fidelity.
        batch: runs without Jacobian made at once.
    """

    name: str
    roles: tuple[Role, ...] = ("values", "start", "slopes")
    cost: float = 1.0
    batch: int = 64


class Simulate(Protocol):
    """Outputs of one run for each row of z."""

    def __call__(self, z: Tensor, seed: int, fidelity: Fidelity, first: int = 0) -> Tensor:
        """`[P, M]` at `z [P, D]`; row p takes random-number stream `first + p` of the seed. Rows that failed are not finite."""
        ...


class SimulateJacobian(Protocol):
    """Outputs of one run for each row of z, and their derivatives."""

    def __call__(self, z: Tensor, seed: int, fidelity: Fidelity, first: int = 0) -> tuple[Tensor, Tensor]:
        """`[P, M]` and `[P, M, D]` at `z [P, D]`, as `Simulate`."""
        ...


class Observations(Protocol):
    """Data and their distribution given expected outputs.

    Attributes:
        which: `[F]` the output that each observation is compared with.
        integrates_error: whether `log_likelihood` integrates over an error of the outputs with the variance that it is given. Where it does
            not, errors are drawn along with the parameters, as many as it takes.
    """

    @property
    def which(self) -> Tensor:
        """`[F]`."""
        ...

    @property
    def integrates_error(self) -> bool:
        """See the class."""
        ...

    def log_likelihood(self, z: Tensor, mean: Tensor, variance: Tensor | None = None) -> Tensor:
        """`[P]` at `z [P, D]` with expected outputs `mean [P, F]`, differentiable in both.

        `variance [P, F]` is that of the expected outputs, relative to their squares with the log link; None where they are exact.
        """
        ...

    def information(self, z: Tensor, mean: Tensor, jacobian: Tensor, variance: Tensor | None = None) -> Tensor:
        """`[P, D, D]` Fisher information in z, with all outputs: `mean [P, M]`, `jacobian [P, M, D]` and `variance [P, M]`."""
        ...

    def weight(self, z: Tensor, mean: Tensor) -> Tensor:
        """`[P, F]` information of the data about each linked output."""
        ...

    def compiled(self, emulator: Emulator, errors: SharedError | None) -> Compiled | None:
        """The likelihood by an emulator of the outputs compared, compiled; None if there is no such thing."""
        ...


@runtime_checkable
class AskedAtEmulator(Protocol):
    """Observations whose likelihood is known at points of an emulator alone: data of others, which a gradient in each output would tell."""

    def at_emulator(self, emulator: Emulator) -> Callable[[Tensor], Tensor]:
        """Log likelihood `z [P, D] -> [P]` with the mean outputs of an emulator of all outputs, differentiable once."""
        ...


@dataclass(frozen=True, eq=False)
class Problem:
    """A stochastic simulator of one or more fidelities, and data.

    The data are compared with the mean outputs over random-number streams. How far one run of the real system deviates from that mean enters
    the error variance: `people_per_agent` says how much larger the variance of a run of the simulator is than that of the real system.

    Attributes:
        space: the parameters; z ~ N(0, I).
        observations: the data and their distribution given expected outputs.
        simulate: outputs.
        fidelities: each role is held by at most one. Without a fidelity for "start" and "slopes" no Jacobian is asked for.
        jacobian: outputs with derivatives, or None.
        feature_map: features in which linked outputs are nearly straight lines.
        link: "log" for positive outputs that grow multiplicatively, else "identity".
        floor: with the log link the smallest output that the likelihood tells from zero.
        compared_from: with the log link, expected outputs from which on held-out runs are compared with the emulator.
        wanted: `[M]` mask of outputs whose curvature is fitted; None for all.
        people_per_agent: `[M]` for the fidelity of the values, variance of a run's residual over that of the real system; None for 1.
        smear: with the log link, whether the emulator's intercept is that of the mean of runs, or of their median: what the real system
            departs from where its variance is that of a run.
        hierarchy: effects with a spread of their own, as `make_flow` takes them.
        fingerprint: anything that tells this problem from another; saved work of a different one is refused.
    """

    __repr__ = short_repr

    space: ParameterSpace
    observations: Observations
    simulate: Simulate
    fidelities: tuple[Fidelity, ...] = (Fidelity("only"),)
    jacobian: SimulateJacobian | None = None
    feature_map: FeatureMap = identity
    link: Link = "log"
    floor: float = 0.0
    compared_from: float = 0.0
    wanted: Tensor | None = None
    people_per_agent: Tensor | None = None
    smear: bool = True
    hierarchy: Sequence[tuple[int, int, int, float]] = ()
    fingerprint: str = ""

    def __post_init__(self) -> None:
        roles = [role for f in self.fidelities for role in f.roles]
        if "values" not in roles or len(set(roles)) != len(roles):
            raise ValueError(
                f"the fidelities hold the roles {', '.join(roles) or 'none'}, expected each at most once and 'values' among them: "
                "give each role to one fidelity."
            )
        if self.jacobian is not None and not {"start", "slopes"} <= set(roles):
            raise ValueError(
                "a Jacobian was given, but no fidelity has the roles 'start' and 'slopes': add them to one."
            )

    def fidelity(self, role: Role) -> Fidelity:
        """The fidelity that is run for a role.

        Raises:
            ValueError: there is none.
        """
        for fidelity in self.fidelities:
            if role in fidelity.roles:
                return fidelity
        raise ValueError(f"no fidelity has the role {role!r}: add it to one.")

    @property
    def emulator_settings(self) -> EmulatorSettings:
        """How its outputs are emulated."""
        return EmulatorSettings(self.floor, self.feature_map, self.link, self.wanted, self.smear)

    def values(self, z: Tensor, seed: int, first: int = 0) -> Tensor:
        """Outputs `[P, M]` at `z [P, D]`, one run each of the fidelity for values; rows take random-number streams from `first` on."""
        fidelity, rows = self.fidelity("values"), []
        with torch.no_grad():
            for start in range(0, len(z), fidelity.batch):
                rows.append(self.simulate(z[start : start + fidelity.batch], seed, fidelity, first + start))
        return torch.cat(rows)

    @property
    def variance_share(self) -> Tensor:
        """`[F]` variance of the real system's own residual over that of a run."""
        which = self.observations.which
        if self.people_per_agent is None:
            return torch.ones(len(which), dtype=torch.float64)
        return (1 / self.people_per_agent)[which]
