"""The local mean that the posterior rests on, against runs that it was not learnt from: those that the forecast is made of."""

from __future__ import annotations

from torch import Tensor

from epi.inference.likelihood import Inference
from epi.inference.setup import Study
from epi.model.distributions import SMALLEST_MEAN

LARGE = 5.0
"""Expected figures from which on a run is compared: smaller ones stray by the floor under their logarithm."""


def held_out(study: Study, inference: Inference, z: Tensor, flat: Tensor) -> dict[str, float | int]:
    """How far runs lie from the local mean in the figures seen, over what it says that a run and the mean itself stray.

    Args:
        study: the problem.
        inference: with its bent local mean.
        z: `[S, D]` posterior draws.
        flat: `[S, M]` runs at them over all weeks, of a population of the size that taught the mean, or larger.

    Returns:
        `draws`, and of the S root mean squares over figures: `median`, `largest`; `off_median`, the median draw's root mean square of
        log run minus log mean.
    """
    local, weeks = inference.fitted, inference.simulator.weeks
    every = study.full.layout.split(flat)
    run = study.short.layout.flat({name: x[:, :weeks] for name, x in every.items()})[:, inference.which]
    mean, unsure, noise = local.with_error(z)
    off = run.clamp_min(SMALLEST_MEAN).log() - mean.log()
    large = (mean > LARGE).to(off)
    said = noise * (1 + unsure[:, None])
    ratio, size = (((x * large).sum(1) / large.sum(1)).sqrt() for x in (off**2 / said, off**2))
    return {
        "draws": len(z),
        "median": float(ratio.median()),
        "largest": float(ratio.max()),
        "off_median": float(size.median()),
    }
