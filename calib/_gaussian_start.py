"""Start a flow as a given Gaussian."""

from __future__ import annotations

import torch
from torch import Tensor

from calib._flows import Flow
from calib._layers import FullRank, Layer


def start_flow(flow: Flow, mean: Tensor, covariance: Tensor) -> None:
    """Set the full-rank layer of a flow, in place, so that its draws are about those of a Gaussian.

    Args:
        flow: "gaussian" or "gaussian-nsf", whose other layers start as the identity; a layer for
            hierarchies after it is linearised at the mean.
        mean: `[D]`.
        covariance: `[D, D]`.

    Raises:
        ValueError: the flow has no full-rank layer.
    """
    layer, after = _full_rank(flow)
    with torch.no_grad():
        z, factor = mean, torch.linalg.cholesky(covariance)
        for further in reversed(after):
            slope = torch.func.jacrev(further.pull)(z)
            z, factor = further.pull(z), slope @ factor
        factor = torch.linalg.cholesky(factor @ factor.mT)
        scale = factor.diagonal()
        layer.loc.copy_(z)
        layer.log_scale.copy_(scale.log())
        layer.lower.copy_((factor / scale[:, None]).tril(-1))


def _full_rank(flow: Flow) -> tuple[FullRank, list[Layer]]:
    """The full-rank layer of a flow and the layers after it."""
    for at in reversed(range(len(flow.layers))):
        layer = flow.layers[at]
        if isinstance(layer, FullRank):
            return layer, [after for after in flow.layers[at + 1 :] if isinstance(after, Layer)]
    raise ValueError(
        f"flow {flow.name!r} has no full-rank layer to start from; use gaussian or gaussian-nsf, or no warm start."
    )
