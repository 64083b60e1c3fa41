"""Fresh simulations at draws of a fit, and what they say of it by the real likelihood."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from calib._flows import Flow
from calib._importance import importance
from calib._local_model import Runs
from calib._noise import derive_seed
from calib._reuse import Source, posterior
from calib._verdict import MIN_DRAWS, Evidence

MODELLED = 4000  # draws of the flow weighted by the emulator, which cost no simulation
REPEATED, TWICE = 6, 20  # draws that are simulated twice, to see noise of the simulator: at most, and one in so many
PRIOR = 5  # one fresh simulation in so many is at a draw of the prior
RIGHT = 0.9  # effective share of an emulator's draws at which its own weights tell k-hat


def gather(
    source: Source,
    flow: Flow,
    runs: Runs | None,
    scale: Tensor | None,
    *,
    budget: int,
    seed: int,
    loss_weight: float,
    weight: float,
    stopped_because: str,
) -> Evidence:
    """Simulate at draws of a fit that no method has seen.

    k-hat of a hundred weights is noisy. Where the fresh simulations show that the emulator is right, k-hat is taken from
    thousands of its weights instead, which cost no simulation.

    Args:
        source: simulator and likelihood.
        flow: the fit.
        runs: what the emulator rests on; None without one.
        scale: of the emulator.
        budget: simulations that may be spent.
        seed: of draws and simulations.
        loss_weight: weight of the log likelihood.
        weight: of the likelihood at the end of the fit.
        stopped_because: why the fit ended.

    Returns:
        The evidence.
    """
    generator = torch.Generator().manual_seed(derive_seed(seed, 0, "check"))
    coordinates, prior = source.coordinates, budget // PRIOR
    twice = min(REPEATED, budget // TWICE)
    draws = budget - prior - twice
    with torch.no_grad():
        z, log_q = flow.sample_with_log_prob(flow.noise(draws, generator))
        z, log_q = z.double(), log_q.double()
        wide = torch.randn(prior, coordinates.dim, generator=generator, dtype=torch.float64)
        x = coordinates.to_x(torch.cat([z, wide]))
        outputs = source.simulate(x, derive_seed(seed, 0, "check-simulate"))
        second = source.simulate(x[:twice], derive_seed(seed, 1, "check-simulate"))
        value, other = loss_weight * source.value(outputs), loss_weight * source.value(second)
        reached = flow.log_prob(wide.to(flow.like)).double()
    x, value, wide_value = x[:draws], value[:draws], value[draws:]
    log_joint = value - 0.5 * (z**2).sum(-1)
    finite = torch.isfinite(log_joint)
    failed = float((~torch.isfinite(outputs[:draws]).all(1)).double().mean())
    noise = _noise(value[:twice], other)
    if int(finite.sum()) < MIN_DRAWS:
        return Evidence(stopped_because, weight, draws, int(finite.sum()), failed=failed, noise=noise)
    weights = importance(log_joint, log_q)
    share, shift, stretch = _moved(z, torch.zeros_like(log_q), log_joint - log_q)
    told = Evidence(
        stopped_because,
        weight,
        draws,
        int(finite.sum()),
        failed=failed,
        effective_share=share,
        k_hat=_or_none(weights.k_hat),
        k_hat_draws=weights.draws - weights.dropped,
        shift=shift,
        stretch=stretch,
        missed=_missed(wide, wide_value, reached, log_joint - log_q, log_q),
        noise=noise,
    )
    return (
        told
        if runs is None
        else _with_emulator(
            told, source, flow, runs, scale, x, z, log_q, value, outputs[:draws], generator, loss_weight
        )
    )


def _with_emulator(
    told: Evidence,
    source: Source,
    flow: Flow,
    runs: Runs,
    scale: Tensor | None,
    x: Tensor,
    z: Tensor,
    log_q: Tensor,
    value: Tensor,
    outputs: Tensor,
    generator: torch.Generator,
    loss_weight: float,
) -> Evidence:
    """What the same simulations say of the emulator, and of draws that it corrects."""
    coordinates, model = source.coordinates, source.model(runs, scale)
    with torch.no_grad():
        predicted = (loss_weight * source.value(model(x))).masked_fill(~model.reachable(x), -math.inf)
        more, more_q = flow.sample_with_log_prob(flow.noise(MODELLED, generator))
        more_x = coordinates.to_x(more.double())
        modelled = posterior(source, model, loss_weight)(more_x) - coordinates.log_slope(more_x)
    fit = predicted - 0.5 * (z**2).sum(-1) - log_q
    share, shift, stretch = _moved(z, fit, value - 0.5 * (z**2).sum(-1) - log_q)
    mass = _normalised(fit)
    ran = torch.isfinite(outputs).all(
        1
    )  # where a run failed there is nothing to predict: that shows in share and shift
    off = torch.where(ran, predicted - value, 0.0).abs().nan_to_num(nan=1e9, posinf=1e9).clamp(max=1e9)
    found: dict[str, Any] = {"model_error": float((off * mass).sum()), "corrected_share": share}
    found |= {"corrected_shift": shift, "corrected_stretch": stretch}
    if share >= RIGHT and int(torch.isfinite(modelled).sum()) >= MIN_DRAWS:
        many = importance(modelled, more_q)
        found |= {"k_hat": _or_none(many.k_hat), "k_hat_draws": many.draws - many.dropped}
    return Evidence(**(vars(told) | found))


def _or_none(k_hat: float) -> float | None:
    return k_hat if np.isfinite(k_hat) else (None if k_hat < 0 else 9.99)


def _normalised(log_weight: Tensor) -> Tensor:
    finite = torch.isfinite(log_weight)
    if not finite.any():
        return torch.full_like(log_weight, 1.0 / len(log_weight))
    return torch.softmax(torch.where(finite, log_weight, -math.inf), 0)


def _moved(z: Tensor, log_before: Tensor, log_after: Tensor) -> tuple[float, float, float]:
    """From one weighting of draws to another: effective share, largest shift of a mean, largest change of a spread.

    Args:
        z: draws of the fit, `[S, D]`.
        log_before: log weights of what is judged, relative to the fit, `[S]`.
        log_after: log weights of the posterior, relative to the fit, `[S]`.
    """
    before, after = _normalised(log_before), _normalised(log_after)
    ratio = torch.where(before > 0, after / before.clamp_min(1e-300), 0.0)
    lost = float(after[before <= 0].sum())
    share = float((before * ratio).sum() ** 2 / (before * ratio**2).sum().clamp_min(1e-300)) * (1.0 - lost)
    old, new = before @ z, after @ z
    old_sd = (before @ (z - old) ** 2).clamp_min(1e-300).sqrt()
    new_sd = (after @ (z - new) ** 2).clamp_min(1e-300).sqrt()
    stretch = (new_sd / old_sd).log().abs().max().clamp(max=50.0).exp()
    return share, float(((new - old).abs() / torch.minimum(old_sd, new_sd)).max()), float(stretch)


def _noise(one: Tensor, two: Tensor) -> float:
    """Standard deviation of the log likelihood between runs at the same parameters."""
    both = torch.isfinite(one) & torch.isfinite(two)
    return float(((one - two)[both] ** 2).mean().div(2).sqrt()) if both.any() else 0.0


def _missed(wide: Tensor, value: Tensor, reached: Tensor, log_weight: Tensor, log_q: Tensor) -> float:
    """Share of the posterior where the fit has no draws, from draws `wide` of the prior and their log likelihood.

    Args:
        wide: draws of the prior, `[S, D]`.
        value: their log likelihood, `[S]`.
        reached: log density of the fit there, `[S]`.
        log_weight: log posterior less log fit at draws of the fit, up to the normal density's constant.
        log_q: log density of the fit at its own draws.
    """
    if not len(wide):
        return 0.0
    inside = log_weight[torch.isfinite(log_weight)]
    evidence = (
        float(torch.logsumexp(inside, 0)) - math.log(len(log_weight)) - 0.5 * wide.shape[1] * math.log(2 * math.pi)
    )
    outside = (reached < float(log_q.min()) - 1.0) & torch.isfinite(value)
    if not outside.any():
        return 0.0
    found = float(torch.logsumexp(value[outside], 0)) - math.log(len(wide))
    return 1.0 / (1.0 + math.exp(min(700.0, evidence - found)))
