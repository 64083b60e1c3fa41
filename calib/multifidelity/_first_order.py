"""What fresh runs say of a posterior, to first order: how far its mean would move, and whether chance is as large as it says."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from calib.multifidelity._posterior import EmulatorPosterior
from calib.multifidelity._shared_error import SharedError


@dataclass(frozen=True)
class Correction:
    """Of the parameter that is off most.

    Attributes:
        shift: of a mean if the emulator were corrected by the mean of the fresh runs, posterior standard deviations.
        stretch: factor between what single runs move a mean by and what the emulator's residuals say; above 1 whichever is larger.
        skewness: largest of what single runs move a mean by, in directions in which chance matters; 0 of normal residuals.
        noise: largest share of a posterior variance that is due to chance in the simulator, and so to the model of that chance.
        misfit: variance of what the emulator misses, chance left out, over that of chance and data, mean over outputs.
    """

    shift: float
    stretch: float
    skewness: float
    noise: float
    misfit: float = 0.0


def correction(
    posterior: EmulatorPosterior, errors: SharedError, drawn: Tensor, z: Tensor, outputs: Tensor
) -> Correction:
    """Compare fresh runs with the emulator in the directions that parameters depend on.

    With slopes J of the linked outputs, V their error covariance (data and simulator) and C the posterior covariance, an error e of the
    emulator moves the posterior mean by `C J' V^-1 e`.

    Args:
        posterior: by the emulator.
        errors: that the observations share.
        drawn: `[N, D]` posterior draws.
        z: `[S, D]` where fresh runs were made; the second half repeats the first, so that pairs show chance alone.
        outputs: `[S, M]` those runs.
    """
    fitted, problem = posterior.fitted, posterior.problem
    observations = problem.observations
    centre = drawn.mean(0, keepdim=True)
    mean, predictive, _ = fitted.predict_factors(centre)
    slope = fitted.link_slope(centre)[0]
    one = errors.loading @ errors.loading.mT + errors.rest.diag()
    share = (errors.share + predictive[0]).sqrt()
    total = (1 / observations.weight(centre, mean)[0]).diag() + share[:, None] * one * share
    gain = torch.atleast_2d(drawn.mT.cov()) @ torch.linalg.solve(total, slope).mT  # [D, F]
    run, expected = outputs[:, observations.which], fitted(z)
    log = fitted.link == "log"
    off = run.clamp_min(problem.floor).log() - expected.log() if log else run - expected
    sd = drawn.std(0)
    moved = (off @ gain.mT) / sd
    stated = ((gain @ one) * gain).sum(1).clamp_min(0.0).sqrt() / sd
    noticed = stated > 0.05  # less chance than this matters to no parameter
    ratio = (moved.std(0) / stated.clamp_min(1e-12))[noticed]
    stretch = float(ratio.log().abs().max().exp()) if bool(noticed.any()) else 1.0
    unit = ((moved - moved.mean(0)) / moved.std(0).clamp_min(1e-12))[:, stated > 0.3]
    skewness = float((unit**3).mean(0).abs().max()) if unit.shape[1] else 0.0
    first, second = off.chunk(2)
    chance = 0.5 * (first - second).square().mean(0)
    data = total.diagonal() - one.diagonal() * share.square()
    missed = (off.square().mean(0) - chance).clamp_min(0.0)
    misfit = float((missed / (chance + data)).mean())
    return Correction(float(moved.mean(0).abs().max()), stretch, skewness, float(stated.square().max()), misfit)
