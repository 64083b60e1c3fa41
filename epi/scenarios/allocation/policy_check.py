"""The gradient of a policy compared with differences with common random numbers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date

import torch

from calib.numerics import derive_seed
from epi.scenarios.allocation.policy import LAYERS, Expectation


@dataclass(frozen=True)
class Compared:
    """Change of expected admissions per unit of stringency in one week and layer, mean and standard error over seeds.

    Attributes:
        cell: `layer, week from ...`. period: which admissions.
        gradient, difference: `(mean, standard error)`.
    """

    cell: str
    period: str
    gradient: tuple[float, float]
    difference: tuple[float, float]


def check_gradient(
    problem: Expectation,
    *,
    draws: int,
    seeds: int,
    seed: int,
    size: float = 0.3,
    split: date | None = None,
    advance: Callable[[int], None] | None = None,
) -> list[Compared]:
    """Compare reverse mode at no stringency with differences of `size`, in the community, early and late in the policy's weeks.

    Args:
        problem: expected admissions.
        draws: posterior draws of each mean.
        seeds: epidemics of each; the same random numbers with and without the restriction.
        seed: names them.
        size: stringency of the difference.
        split: admissions to this week (default: the study's last) and after it are compared apart.
        advance: told how many simulations were done.
    """
    nothing = torch.zeros(len(problem.first), len(LAYERS), dtype=torch.float64)
    layer = LAYERS.index("community")
    cells = [(len(problem.first) // 4, layer), (3 * len(problem.first) // 4, layer)]
    at = torch.arange(draws) * (problem.draws // draws)
    split = split or problem.simulator.base.study.calendar.last_week
    early = torch.tensor([week.date() <= split for week in problem.simulator.base.observation.weeks])
    slopes, changes = [], []
    for k in range(seeds):
        luck = derive_seed(seed, k, "policy-check")
        leaf = nothing.clone().requires_grad_()
        weekly = problem.weekly(leaf, at, luck).mean(0)
        parts = [weekly[early].sum(), weekly[~early].sum()]
        grads = [torch.autograd.grad(part, leaf, retain_graph=True)[0] for part in parts]
        slopes.append([[float(g[cell]) for g in grads] for cell in cells])
        rows = []
        for cell in cells:
            u = nothing.clone()
            u[cell] = size
            with torch.no_grad():
                moved = (problem.weekly(u, at, luck).mean(0) - weekly) / size
            rows.append([float(moved[early].sum()), float(moved[~early].sum())])
        changes.append(rows)
        if advance:
            advance(draws * (1 + len(cells)))
    table = [torch.tensor(x, dtype=torch.float64) for x in (slopes, changes)]  # [seeds, cells, periods]
    centre = [x.mean(0) for x in table]
    error = [x.std(0) / seeds**0.5 for x in table]
    return [
        Compared(
            f"{LAYERS[cell[1]]}, week from {problem.first[cell[0]]}",
            period,
            *((float(centre[m][i, j]), float(error[m][i, j])) for m in (0, 1)),
        )
        for i, cell in enumerate(cells)
        for j, period in enumerate((f"to {split}", f"after {split}"))
    ]
