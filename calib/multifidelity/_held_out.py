"""The emulator that a posterior rests on, against runs that it was not fitted to."""

from __future__ import annotations

import torch
from torch import Tensor

from calib.multifidelity._posterior import EmulatorPosterior


def held_out(posterior: EmulatorPosterior, z: Tensor, outputs: Tensor) -> dict[str, float | int]:
    """How far runs lie from the emulator in the outputs compared, over the standard deviation that it states for a run there.

    Args:
        posterior: by the emulator.
        z: `[S, D]` posterior draws.
        outputs: `[S, M]` runs at them, of the fidelity for values or a higher one.

    Returns:
        `draws`, and of the S root mean squares over outputs: `median`, `largest`, `rms` (of all runs together);
        `off_median`, the median draw's root mean square of
        linked run minus linked mean.
    """
    fitted, problem = posterior.fitted, posterior.problem
    run = outputs[:, problem.observations.which]
    mean, predictive, noise = fitted.predict_factors(z)
    if fitted.link == "log":
        # the logarithms of small means are off by the floor: such means are held at the bound, where a large run still counts against them
        least = max(problem.compared_from, problem.floor, torch.finfo(mean.dtype).tiny)
        large = torch.maximum(run, mean) > least
        off = torch.where(large, run.clamp_min(problem.floor).log() - mean.clamp_min(least).log(), 0.0)
    else:
        off, large = run - mean, torch.ones_like(mean, dtype=torch.bool)
    stated = noise * (1 + predictive[:, None])
    count = large.sum(1).clamp_min(1)
    ratio, size = ((x.sum(1) / count).sqrt() for x in (off**2 / stated, off**2))
    return {
        "draws": len(z),
        "median": float(ratio.median()),
        "largest": float(ratio.max()),
        "rms": float(ratio.square().mean().sqrt()),
        "off_median": float(size.median()),
    }
