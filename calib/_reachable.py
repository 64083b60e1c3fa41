"""Where a simulator gives no outputs: a region, learnt from the runs that failed.

A solver that leaves its range, or parameters without a meaning, fail in a region, and the posterior has no draws there. Elsewhere
a run fails by chance, which says nothing about its place. The two are told apart by whether neighbours foretell failures.
"""

from __future__ import annotations

import torch
from torch import Tensor

VOTERS = 5  # nearest runs that are asked
FORETOLD = 0.5  # share of the failures' own share that may be foretold wrongly


class Reachable:
    """Whether most of the nearest runs gave outputs.

    Args:
        z: runs with outputs, `[S, D]`.
        failed: runs without, `[F, D]`; None for none.
        scale: `[D, D]` lower factor: distances are those of `scale^-1 z`.

    Attributes:
        region: whether failures are foretold by neighbours; else every place counts as reachable.

    Examples:
        >>> x = torch.linspace(0.0, 1.0, 101)[:, None]
        >>> reachable = Reachable(x[x[:, 0] <= 0.6], x[x[:, 0] > 0.6], torch.eye(1))
        >>> reachable(torch.tensor([[0.2], [0.8]])).tolist()
        [True, False]
    """

    def __init__(self, z: Tensor, failed: Tensor | None, scale: Tensor) -> None:
        self.scale, self.finite, self.region = scale, len(z), False
        if failed is None or len(failed) <= VOTERS or len(z) <= VOTERS:
            return
        self.places = self._whiten(torch.cat([z, failed]))
        nearest = torch.cdist(self.places, self.places).fill_diagonal_(torch.inf)
        foretold = self._vote(nearest)
        gave = torch.arange(len(self.places)) < len(z)
        wrong = float((foretold != gave).double().mean())
        self.region = wrong <= FORETOLD * min(len(z), len(failed)) / len(self.places)

    def __call__(self, z: Tensor) -> Tensor:
        """At `z [P, D]`: `[P]` bool."""
        if not self.region:
            return torch.ones(len(z), dtype=torch.bool)
        return self._vote(torch.cdist(self._whiten(z), self.places))

    def _whiten(self, z: Tensor) -> Tensor:
        return torch.linalg.solve_triangular(self.scale, z.mT, upper=False).mT

    def _vote(self, distance: Tensor) -> Tensor:
        nearest = distance.topk(VOTERS, largest=False).indices
        return (nearest < self.finite).sum(1) > VOTERS // 2
