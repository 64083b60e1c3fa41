"""Third doses by region and age under a budget: expected admissions and their gradient."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from epi.model.simulator import Simulator
from epi.model.transmission import host_tables
from epi.scenarios.allocation.dose_people import DosePeople
from epi.scenarios.allocation.dose_run import TARGETS, DoseRun, simulate, switched
from epi.scenarios.allocation.pooling import pooled


@dataclass(frozen=True, eq=False)
class Doses:
    """Expected admissions when shares `u [R, A]` of those with two doses have a third, over posterior draws and random streams.

    Attributes:
        simulator: the study's.
        people: its population, with those told apart who may be given a dose.
        theta: posterior draws, `[S, *event]`.
        level: `[S, A]` factor on admissions per infection, see `with_level`; None for 1.
        since: days between the dose and exposure.
        target: what is counted, `admissions` or `deaths` (the names below say admissions).
        batch: simulations at once.
    """

    simulator: Simulator
    people: DosePeople
    theta: Mapping[str, Tensor]
    level: Tensor | None = None
    since: float = 14.0
    target: str = "admissions"
    batch: int = 8

    @property
    def draws(self) -> int:
        """Number of posterior draws S."""
        return len(next(iter(self.theta.values())))

    def admissions(self, u: Tensor, at: Tensor, seed: int) -> Tensor:
        """`[len(at)]` expected admissions of all weeks at the draws `at`, draw by draw with the random stream of its place."""
        return self.weekly(u, at, seed).sum((-1, -2))

    def weekly(self, u: Tensor, at: Tensor, seed: int) -> Tensor:
        """`[len(at), W, A]` the same by week and age."""
        with torch.no_grad():
            return torch.cat([run.target for run in self._runs(u, at, seed)]).to(u)

    def gradient(self, u: Tensor, at: Tensor, seed: int) -> tuple[float, Tensor]:
        """Mean admissions at the draws `at`, and its derivative in `u [R, A]`, pooled over regions and ages by what a dose averts."""
        mean, slope = self.slopes(u, at, seed)
        eligible = self.people.eligible
        each = slope / eligible.clamp_min(1e-9)
        error = each.std(0) / len(at) ** 0.5
        return mean, pooled(each.mean(0), error, eligible) * eligible

    def slopes(self, u: Tensor, at: Tensor, seed: int) -> tuple[float, Tensor]:
        """Mean admissions, and the derivative of each draw's in `u`, `[len(at), R, A]`: see `switched`."""
        total, rows = 0.0, []
        for run in self._runs(u, at, seed, track=True):
            admitted = run.target.sum()
            grads = torch.autograd.grad(admitted, run.leaves)
            total += float(admitted.detach())
            with torch.no_grad():
                rows.append(switched(run, grads, u, self.people).to(u))
        return total / len(at), torch.cat(rows)

    def with_level(self, seed: int, advance: Callable[[int], None] | None = None) -> Doses:
        """The same with admissions per infection such that, without doses by a policy, there are as many as the study has.

        The study multiplies the infections of an age band by the mean risk over who is infected as the wave begins. Told apart by doses, who
        is infected changes as the wave goes on. One factor for each draw and age band keeps what was fitted; it takes a simulation a draw.
        """
        nothing = torch.zeros(self.people.agents.shape, dtype=torch.float64)
        rows = []
        with torch.no_grad():
            for start in range(0, self.draws, self.batch):
                at = torch.arange(start, min(start + self.batch, self.draws))
                run = next(replace(self, level=None)._runs(nothing, at, seed))
                theta = {name: value[at].to(run.risk) for name, value in self.theta.items()}
                hosts = host_tables(theta, self.simulator.context)
                usual = TARGETS[self.target](theta, hosts, self.simulator.observation)
                usual = (run.sent.sum((2, 3)) * usual).sum(1)
                rows.append((usual / run.target.sum(1).clamp_min(1e-9)).to(nothing))
                if advance:
                    advance(len(at))
        return replace(self, level=torch.cat(rows))

    def only(self, at: Tensor) -> Doses:
        """The same over some of the draws."""
        theta = {name: value[at] for name, value in self.theta.items()}
        return replace(self, theta=theta, level=None if self.level is None else self.level[at])

    def _runs(self, u: Tensor, at: Tensor, seed: int, track: bool = False) -> Iterator[DoseRun]:
        for start in range(0, len(at), self.batch):
            chosen = at[start : start + self.batch]
            theta = {name: value[chosen] for name, value in self.theta.items()}
            level = None if self.level is None else self.level[chosen]
            streams = torch.arange(start, start + len(chosen))
            yield simulate(self.simulator, self.people, theta, u, level, self.since, self.target, seed, streams, track)
