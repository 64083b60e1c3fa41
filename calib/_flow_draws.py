"""A flow fitted to given draws by maximum likelihood (forward Kullback-Leibler divergence: no mode is left out)."""

from __future__ import annotations

import copy
import math

import torch
from torch import Tensor

from calib._flows import Flow
from calib._layers import Diagonal, FullRank
from calib._noise import derive_seed


def fit_affine(flow: Flow, z: Tensor) -> None:
    """Set the affine layer at the end of a flow to mean and covariance of draws `[S, D]`, in place.

    For the full-rank Gaussian that is the maximum of the likelihood.

    Raises:
        ValueError: the flow ends in another layer.
    """
    layer = flow.layers[-1]
    centre = z.mean(0)
    covariance = z.T.cov().reshape(flow.dim, flow.dim)
    with torch.no_grad():
        if isinstance(layer, Diagonal):
            layer.loc.copy_(centre)
            layer.log_scale.copy_(0.5 * covariance.diagonal().log())
            return
        if not isinstance(layer, FullRank):
            raise ValueError(
                f"flow {flow.name!r} has no affine layer to start from draws; use a Gaussian or a spline flow."
            )
        small = 1e-10 * covariance.diagonal().mean() * torch.eye(flow.dim).to(z)
        factor = torch.linalg.cholesky(covariance + small)
        scale = factor.diagonal()
        layer.loc.copy_(centre)
        layer.log_scale.copy_(scale.log())
        layer.lower.copy_((factor / scale[:, None]).tril(-1))


def fit_flow(
    flow: Flow,
    z: Tensor,
    *,
    seed: int,
    steps: int = 1200,
    batch: int = 512,
    learning_rate: float = 5e-3,
    held: float = 0.1,
) -> tuple[Flow, float]:
    """Fit a flow to draws.

    The affine layer starts at the draws' moments; the rest is trained with a rate that falls as a cosine. A tenth of the draws
    is kept apart, and the weights that describe those best are the ones returned: more steps than needed do no harm.

    Args:
        flow: made with `direction="density"` if it is autoregressive; it is not changed.
        z: draws `[S, D]`.
        seed: of the batches.
        steps: updates.
        batch: draws an update.
        learning_rate: of Adam, at the start.
        held: share of the draws kept apart.

    Returns:
        The fitted flow without gradients, and the mean log density of the draws kept apart, nats.
    """
    fitted = copy.deepcopy(flow)
    generator = torch.Generator().manual_seed(derive_seed(seed, 0, "flow-draws"))
    z = z[torch.randperm(len(z), generator=generator)].to(flow.like)
    apart = max(1, int(held * len(z)))
    test, train = z[:apart], z[apart:]
    fit_affine(fitted, train)
    best, state = _mean(fitted, test), copy.deepcopy(fitted.state_dict())
    if len(fitted.layers) > 1:
        adam = torch.optim.Adam(fitted.parameters(), lr=learning_rate)
        for step in range(steps):
            for group in adam.param_groups:
                warm = min(1.0, (step + 1) / 20)
                group["lr"] = learning_rate * warm * 0.5 * (1 + math.cos(math.pi * step / steps))
            pick = torch.randint(len(train), (min(batch, len(train)),), generator=generator)
            adam.zero_grad(set_to_none=True)
            loss = -fitted.log_prob(train[pick]).mean()
            if not torch.isfinite(loss):
                continue
            loss.backward()
            torch.nn.utils.clip_grad_norm_(fitted.parameters(), 5.0)
            adam.step()
            if step % 50 == 49 or step == steps - 1:
                reached = _mean(fitted, test)
                if reached > best:
                    best, state = reached, copy.deepcopy(fitted.state_dict())
        fitted.load_state_dict(state)
    for p in fitted.parameters():
        p.requires_grad_(False)
    return fitted, best


def _mean(flow: Flow, z: Tensor) -> float:
    with torch.no_grad():
        value = float(flow.log_prob(z).mean())
    return value if math.isfinite(value) else -math.inf
