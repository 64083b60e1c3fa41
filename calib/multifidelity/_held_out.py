"""The emulator that a posterior rests on, against runs that it was not fitted to."""

from __future__ import annotations

import torch
from torch import Tensor

from calib.multifidelity._posterior import EmulatorPosterior

FAR = 4.0
"""Stated standard deviations above a mean that is too small to be compared, from which on a run tells against the emulator."""


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
    stated = (noise * (1 + predictive[:, None])).sqrt()
    if fitted.link == "log":
        tiny = torch.finfo(mean.dtype).tiny  # of a mean that underflows
        off = run.clamp_min(max(problem.floor, tiny)).log() - mean.clamp_min(tiny).log()
        # logarithms of small means are off by the floor: these count only where a run lies far above them
        compared = (mean > problem.compared_from) | ((run > problem.compared_from) & (off > FAR * stated))
    else:
        off, compared = run - mean, torch.ones_like(mean, dtype=torch.bool)
    off, count = torch.where(compared, off, 0.0), compared.sum(1).clamp_min(1)
    ratio, size = ((x.square().sum(1) / count).sqrt() for x in (off / stated, off))
    return {
        "draws": len(z),
        "median": float(ratio.median()),
        "largest": float(ratio.max()),
        "rms": float(ratio.square().mean().sqrt()),
        "off_median": float(size.median()),
    }
