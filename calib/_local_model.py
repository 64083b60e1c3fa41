"""What a simulator gives between the points where it was run: second-order pieces around each run, blended.

The modified Shepard method (Franke & Nielson 1980; Renka 1988): around every run the outputs are a Taylor polynomial of
degree two, and at a point asked for the pieces of the nearest runs are averaged with weights that fall to zero at the next
nearest. Where runs bring their Jacobian, first derivatives are exact and second derivatives come from differences of
neighbouring Jacobians; without, both come from a weighted least-squares fit to neighbouring values.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from calib._compiled import blend
from calib._reachable import Reachable

NEAREST = 8  # pieces blended at a point, at most
RIDGE = 1e-6  # relative, of the least-squares fits
SMALLEST = 1e-12  # absolute: neighbours may stand on one point
LARGEST = 30_000_000  # numbers in one gathered block, so that memory stays flat


@dataclass(frozen=True, eq=False)
class Runs:
    """Runs of a simulator.

    Attributes:
        z: `[S, D]`, where.
        outputs: `[S, M]`, finite.
        jacobian: d outputs / dz, `[S, M, D]`; None if it was not computed.
        failed: where other runs were made that gave no finite outputs, `[F, D]`; None if that was not kept.
    """

    z: Tensor
    outputs: Tensor
    jacobian: Tensor | None
    failed: Tensor | None = None

    def __len__(self) -> int:
        return len(self.z)

    def join(self, other: Runs) -> Runs:
        """Both together."""
        both = self.jacobian is not None and other.jacobian is not None
        failed = [runs.failed for runs in (self, other) if runs.failed is not None]
        return Runs(
            torch.cat([self.z, other.z]),
            torch.cat([self.outputs, other.outputs]),
            torch.cat([self.jacobian, other.jacobian]) if both else None,  # type: ignore[list-item]
            torch.cat(failed) if failed else None,
        )

    def take(self, index: Tensor) -> Runs:
        """Some of them, and all that failed."""
        jacobian = None if self.jacobian is None else self.jacobian[index]
        return Runs(self.z[index], self.outputs[index], jacobian, self.failed)


class LocalModel:
    """Outputs between runs.

    Args:
        runs: at least two.
        scale: `[D, D]` lower Cholesky factor of the covariance that tells what is near: distances are those of
            `scale^-1 z`. The identity if None.
        curvature: whether second derivatives are fitted; they need about D runs with Jacobians near one another, or
            `D (D + 3)` without.

    Raises:
        ValueError: fewer than two runs.
    """

    def __init__(self, runs: Runs, scale: Tensor | None = None, curvature: bool = True) -> None:
        if len(runs) < 2:
            raise ValueError(f"{len(runs)} run was given for a local model, expected at least 2: simulate more points.")
        self.dim = runs.z.shape[1]
        self.scale = torch.eye(self.dim).to(runs.z) if scale is None else scale
        self.reachable = Reachable(runs.z, runs.failed, self.scale)
        self.z = self._whiten(runs.z)
        self.outputs = runs.outputs
        self.nearest = min(NEAREST, len(runs) - 1)
        slope = None if runs.jacobian is None else runs.jacobian @ self.scale
        if slope is not None:
            self.slope = slope
            self.hessian: Tensor | None
            self.reach: Tensor | None
            self.hessian, self.reach = self._from_slopes() if curvature else (None, None)
        else:
            self.slope, self.hessian, self.reach = self._from_values(curvature)
        self.pairs = torch.tril_indices(self.dim, self.dim).unbind(0)
        self.pieces = self._coefficients()
        self.columns = self.z.mT.contiguous()

    def _whiten(self, z: Tensor) -> Tensor:
        return torch.linalg.solve_triangular(self.scale, z.mT, upper=False).mT

    def _neighbours(self, count: int) -> tuple[Tensor, Tensor, Tensor]:
        """Index `[S, K]`, offset `[S, K, D]` and weight `[S, K]` of the nearest other runs."""
        count = min(count, len(self.z) - 1)
        apart = torch.cdist(self.z, self.z).fill_diagonal_(math.inf)
        near, index = apart.topk(count, largest=False)
        index = index[:, :count]
        far = near[:, -1:].clamp_min(1e-12)
        return index, self.z[index] - self.z[:, None], (1.05 - near / far) / (near / far + 0.1)

    def _from_slopes(self) -> tuple[Tensor, Tensor]:
        """Second derivatives `[S, M, D, D]` from differences of slopes, and the distance they were seen over `[S]`."""
        index, offset, weight = self._neighbours(3 * self.dim + 2)
        change = self.slope[index] - self.slope[:, None]  # [S, K, M, D]
        weighted = offset * weight[..., None]
        gram = weighted.mT @ offset
        ridge = 1e-3 * gram.diagonal(dim1=-2, dim2=-1).mean(-1)[:, None, None] + SMALLEST
        gram = gram + ridge * torch.eye(self.dim).to(gram)
        product = torch.einsum("skmd,ske->smde", change, weighted)
        hessian = torch.linalg.solve(gram[:, None], product.mT).mT
        return 0.5 * (hessian + hessian.mT), offset.norm(dim=-1).amax(-1)

    def _from_values(self, curvature: bool) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Slopes `[S, M, D]` and second derivatives by weighted least squares on neighbouring values."""
        row, column = torch.tril_indices(self.dim, self.dim)
        curved = curvature and len(self.z) > self.dim + len(row) + 2
        unknown = self.dim + (len(row) if curved else 0)
        index, offset, weight = self._neighbours(max(2 * unknown, unknown + 4))
        reach = offset.norm(dim=-1).amax(-1).clamp_min(1e-12)
        unit = offset / reach[:, None, None]
        design = torch.cat([unit, unit[..., row] * unit[..., column]], -1) if curved else unit
        weighted = design * weight[..., None]
        gram = weighted.mT @ design
        ridge = RIDGE * gram.diagonal(dim1=-2, dim2=-1).mean(-1)[:, None, None] + SMALLEST
        gram = gram + ridge * torch.eye(unknown).to(gram)
        change = self.outputs[index] - self.outputs[:, None]
        found = torch.linalg.solve(gram, weighted.mT @ change).mT  # [S, M, unknown]
        slope = found[..., : self.dim] / reach[:, None, None]
        if not curved:
            return slope, None, None
        half = found[..., self.dim :] / reach[:, None, None] ** 2
        hessian = torch.zeros(*half.shape[:2], self.dim, self.dim).to(half)
        hessian[..., row, column] += half
        hessian[..., column, row] += half  # the diagonal twice: z' bend z / 2 has coefficient bend_ii / 2
        return slope, hessian, reach

    def __call__(self, z: Tensor) -> Tensor:
        """Outputs `[P, M]` at `z [P, D]`, differentiable in z."""
        if not len(z):
            return self.outputs[:0]
        if _plain(z, self.pieces, self.columns):
            reach = self.columns[0] if self.reach is None else self.reach
            arrays = (self._whiten(z).contiguous(), self.columns, self.pieces, reach.contiguous())
            curved = self.reach is not None
            return torch.from_numpy(blend(*(a.detach().numpy() for a in arrays), self.nearest, curved))
        block = max(1, LARGEST // (self.nearest * self.pieces.shape[1]))
        return torch.cat([self._some(part) for part in z.split(block)])

    def _coefficients(self) -> Tensor:
        """Every piece as coefficients of 1, offsets and (with curvature) their products, `[S, F, M]`."""
        parts = [self.outputs[:, None], self.slope.mT]
        if self.hessian is not None:
            row, column = self.pairs
            factor = torch.where(row == column, 0.5, 1.0).to(self.hessian)
            parts.append((self.hessian[..., row, column] * factor).mT)
        return torch.cat(parts, 1).contiguous()

    def _some(self, z: Tensor) -> Tensor:
        point = self._whiten(z)
        near, index = torch.cdist(point.detach(), self.z).topk(self.nearest + 1, largest=False)
        index = index[:, :-1]
        offset = point[:, None] - self.z[index]  # [P, K, D]
        apart = (offset**2).sum(-1).clamp_min(1e-20).sqrt()
        weight = ((1.0 / apart - 1.0 / near[:, -1:].clamp_min(1e-10)).clamp_min(0.0)) ** 2 + 1e-30
        weight = (weight / weight.sum(-1, keepdim=True))[..., None]
        features = [weight, weight * offset]
        if self.reach is not None:
            row, column = self.pairs
            # Beyond where it was seen, curvature goes on as a straight line.
            held = (self.reach[index] / apart).clamp(max=1.0)[..., None]
            features.append(weight * held * offset[..., row] * offset[..., column])
        # Points that share a piece are multiplied with it together: gathering a copy of it for each would cost far more.
        node = index.flatten()
        order = node.argsort()
        sizes = torch.bincount(node, minlength=len(self.z)).tolist()
        groups = torch.cat(features, -1).flatten(0, 1)[order].split(sizes)
        value = torch.cat([group @ self.pieces[i] for i, group in enumerate(groups) if len(group)])
        return torch.zeros(len(z), value.shape[1]).to(value).index_add(0, order // self.nearest, value)

    def distance(self, z: Tensor) -> Tensor:
        """Distance to the nearest run, `[P]`, in units of the scale."""
        return torch.cdist(self._whiten(z), self.z).amin(-1)


def _plain(*given: Tensor) -> bool:
    """Whether compiled loops may take these: float64 on the CPU, no derivative wanted."""
    wanted = torch.is_grad_enabled() and any(a.requires_grad for a in given)
    return not wanted and all(a.dtype == torch.float64 and a.device.type == "cpu" for a in given)
