"""What is said of a calibration: k-hat of its flow, errors of the model its draws rest on, in words."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from calib._flows import Flow
from calib._importance import Importance, importance, judge_k_hat
from calib._local_model import LocalModel, Runs
from calib._noise import derive_seed
from calib._reuse import Source, posterior

JUDGED = 4000  # draws of the flow whose weights k-hat is taken from, where they cost no simulation


def check(
    source: Source,
    flow: Flow,
    runs: Runs | None,
    scale: Tensor | None,
    draws: int,
    seed: int,
    loss_weight: float,
    weight: float,
) -> dict[str, Any]:
    """Simulate at draws of the flow; k-hat of the flow, and what the local model says of simulations it has not seen.

    With a local model k-hat is taken on thousands of its values, which cost nothing, and the simulations judge the model:
    k-hat of a hundred simulated draws is too noisy to tell good from poor.
    """
    generator = torch.Generator().manual_seed(derive_seed(seed, 0, "check"))
    chart = source.chart
    with torch.no_grad():
        z, log_q = flow.sample_with_log_prob(flow.noise(draws, generator))
        x = chart.to_x(z)
        value = source.value(source.simulate(x, derive_seed(seed, 0, "check-simulate")))
    log_joint = loss_weight * value - 0.5 * (z**2).sum(-1)
    told: dict[str, Any] = {"k_hat": None, "effective_share": 0.0, "model_error": None, "check_draws": draws}
    if int(torch.isfinite(log_joint).sum()) < 25:
        return told | {
            "verdict": "fewer than 25 draws of the flow have a likelihood: the flow is off; raise the budget"
        }
    weights = importance(log_joint, log_q)
    if runs is None:
        return told | _judged(weights)
    model = LocalModel(runs, scale)
    with torch.no_grad():
        predicted = source.value(model(x))
        z, log_q = flow.sample_with_log_prob(flow.noise(JUDGED, generator))
        x = chart.to_x(z)
        cheap = posterior(source, model, loss_weight)(x) - chart.log_slope(x)
    error = np.abs(loss_weight * np.asarray(predicted - value, dtype=float))
    share = np.exp(weights.log_weights)
    good = np.isfinite(error) & (share > 0)
    told["model_error"] = float((error[good] * share[good]).sum() / share[good].sum())
    told |= _judged(importance(cheap, log_q) if int(torch.isfinite(cheap).sum()) >= 25 else weights)
    text = f"{told['verdict']}; corrected draws rest on runs that predict unseen log likelihoods to {told['model_error']:.2g} nats"
    if weight < 1.0:
        text += f"; the budget ended with the likelihood at {weight:.2g} of its weight, so the posterior is too wide: raise it"
    return told | {"verdict": text}


def _judged(weights: Importance) -> dict[str, Any]:
    k_hat = judge_k_hat(weights.k_hat, weights.draws)
    finite = weights.k_hat if np.isfinite(weights.k_hat) else None  # minus infinity: all weights equal
    share = weights.effective / weights.draws
    text = f"{k_hat.text}; {share:.0%} of its draws count"
    return {"k_hat": finite, "k_hat_word": k_hat.word, "effective_share": share, "verdict": text}
