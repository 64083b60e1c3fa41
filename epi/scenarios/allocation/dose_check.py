"""The gradient of doses compared with differences of discrete allocations with common random numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from calib.numerics import derive_seed
from epi.scenarios.allocation.doses import Doses
from epi.study import Study


@dataclass(frozen=True)
class DoseCheck:
    """Admissions averted per 1,000 doses given in some cells, `(mean, standard error)` over seeds, by gradient and by differences."""

    cells: str
    gradient: tuple[float, float]
    difference: tuple[float, float]


def directions(study: Study) -> Iterator[tuple[str, Tensor]]:
    """Sets of cells `[R, A]`, 0 or 1: every age band, and the area with most regions against the rest."""
    for age, name in enumerate(study.ages.names[1:], 1):
        cells = torch.zeros(len(study.region), len(study.ages), dtype=torch.float64)
        cells[:, age] = 1.0
        yield f"ages {name}", cells
    if not study.region.areas:
        return
    area, members = max(study.region.areas.items(), key=lambda item: len(item[1]))
    inside = torch.tensor([[float(name in members)] for name in study.region.names], dtype=torch.float64)
    for name, where in ((area, inside), (f"outside {area}", 1 - inside)):
        yield name, where.expand(-1, len(study.ages)).clone()


def check_doses(
    problem: Doses,
    *,
    base: float,
    size: float,
    draws: int,
    seeds: int,
    seed: int,
    cells: Sequence[tuple[str, Tensor]] | None = None,
    advance: Callable[[int], None] | None = None,
) -> list[DoseCheck]:
    """Compare at the share `base` everywhere with differences from `base - size` to `base + size`, agents boosted one by one.

    Args:
        problem: expected admissions.
        base: share of those with two doses.
        size: step to either side, cut at 0 and 1.
        draws: posterior draws of each mean.
        seeds: epidemics of each; the same random numbers on either side.
        seed: names them.
        cells: sets of cells to compare on; None for those of `directions`.
        advance: told how many simulations were done.
    """
    at = torch.arange(draws) * (problem.draws // draws)
    eligible = problem.people.eligible
    usual = torch.full_like(eligible, base)
    cells = list(directions(problem.simulator.study)) if cells is None else cells
    rows = []
    for k in range(seeds):
        luck = derive_seed(seed, k, "doses-check")
        _, slope = problem.slopes(usual, at, luck)
        row = []
        for _, where in cells:
            up, down = ((usual + sign * size * where).clamp(0.0, 1.0) for sign in (1, -1))
            moved = problem.admissions(down, at, luck).mean() - problem.admissions(up, at, luck).mean()
            doses = float((eligible * (up - down)).sum())
            by_slope = -float((slope.mean(0) * where).sum()) / float((eligible * where).sum())
            row.append([1e3 * by_slope, 1e3 * float(moved) / doses])
        rows.append(row)
        if advance:
            advance(draws * (1 + 2 * len(cells)))
    table = torch.tensor(rows, dtype=torch.float64)  # [seeds, cells, 2]
    mean, error = table.mean(0), table.std(0) / seeds**0.5
    return [
        DoseCheck(name, *((float(m), float(e)) for m, e in zip(mean[i].tolist(), error[i].tolist(), strict=True)))
        for i, (name, _) in enumerate(cells)
    ]
