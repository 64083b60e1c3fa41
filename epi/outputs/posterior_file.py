"""`posterior.nc`: chains as chains with their log likelihood, and the draws of the forecast with what they predict."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from calib import Chains, RunFolder
from calib.multifidelity import EmulatorPosterior, SharedError
from calib.storage import FORECAST_DRAWS, save_inference_data, to_inference_data
from epi.inference.setup import Study
from epi.model import observation_distribution

LIKELIHOOD_DRAWS = 15
"""Draws of each chain whose log likelihood is kept, evenly over the chain: enough for leave-one-out, a tenth of the size."""


@dataclass(frozen=True)
class KeptPosterior:
    """What is kept of the posterior.

    Attributes:
        z: `[chain, draw, D]`.
        stats: `{name: [chain, draw]}`, the group `sample_stats`.
        log_likelihood: `{stream: [chain, kept, W, places]}`.
        kept: the draws of each chain whose log likelihood that is.
    """

    z: Tensor
    stats: dict[str, np.ndarray]
    log_likelihood: dict[str, np.ndarray]
    kept: np.ndarray


def of_chains(study: Study, posterior: EmulatorPosterior, errors: SharedError, found: Chains) -> KeptPosterior:
    """Every draw of the chains, and the log likelihood of some, by the emulator with its errors."""
    every = found.z.transpose(0, 1)
    kept = np.unique(np.linspace(0, every.shape[1] - 1, LIKELIHOOD_DRAWS).round().astype(int))
    some = every[:, torch.from_numpy(kept)].flatten(0, 1)
    z, off = some[:, : study.space.dim], some[:, study.space.dim :]
    which = posterior.problem.observations.which
    both = [torch.ones(len(z), len(posterior.emulator.intercept)).to(z) for _ in range(2)]
    for row, own in zip(both, posterior.outputs_given(z, errors, off), strict=True):
        row[:, which] = own
    expected, relative = (study.short.layout.split(row) for row in both)
    pointwise = _pointwise(study, z, expected, {s: relative[s].sqrt() for s in study.fit_data.streams})
    stats = {"lp": found.log_density, "energy": found.energy, "diverging": found.diverging}
    return KeptPosterior(
        every[..., : study.space.dim],
        {name: x.mT.numpy() for name, x in stats.items()},
        {s: x.unflatten(0, (len(every), len(kept))).float().numpy() for s, x in pointwise.items()},
        kept,
    )


def of_independent_draws(study: Study, z: Tensor, flat: Tensor, log_q: Tensor) -> KeptPosterior:
    """Independent draws `z [S, D]` of a fit without chains: as one chain, with the log likelihood of their own simulations."""
    pointwise = _pointwise(study, z, fitted_weeks(study, flat), dict.fromkeys(study.fit_data.streams))
    joint = torch.stack([x.nansum((1, 2)) for x in pointwise.values()]).sum(0)
    joint = joint - 0.5 * (z**2 + math.log(2 * math.pi)).sum(1)
    stats = {"lp": joint[None].numpy(), "log_q": log_q[None].numpy()}
    return KeptPosterior(z[None], stats, {s: x[None].numpy() for s, x in pointwise.items()}, np.arange(len(z)))


def fitted_weeks(study: Study, flat: Tensor) -> dict[str, Tensor]:
    """Of expected counts `[S, M]` over all weeks those of the fitted ones, by stream."""
    return {name: x[:, : study.short.weeks] for name, x in study.full.layout.split(flat).items()}


def _pointwise(
    study: Study, z: Tensor, expected: dict[str, Tensor], error: dict[str, Tensor | None]
) -> dict[str, Tensor]:
    """Log likelihood `{stream: [S, W, places]}`, NaN where the likelihood has no observation."""
    theta, data, out = study.space.to_theta(z), study.fit_data, {}
    for s in data.streams:
        fn = observation_distribution(study.declared.stream(s), expected[s], theta, error[s], data.tested.get(s))
        value = fn.log_prob(data.counts[s].nan_to_num(1.0))
        out[s] = value.new_full((len(z), study.full.weeks, value.shape[2]), math.nan)
        out[s][:, : study.short.weeks] = torch.where(data.in_likelihood[s], value, math.nan)
    return out


def save_posterior(
    study: Study,
    z: Tensor,
    kept: KeptPosterior,
    predicted: dict[str, np.ndarray],
    prior: Tensor,
    prior_predicted: dict[str, np.ndarray],
    run: RunFolder,
) -> None:
    """Write `posterior.nc`.

    Args:
        study: the problem.
        z: `[S, D]` draws of the forecast.
        kept: the posterior.
        predicted: observations drawn for them, `{stream: [S * replicates, W, places]}`, and infections `[S, W, places]`.
        prior: `[S, D]` draws of the prior.
        prior_predicted: the same of these.
        run: where to.
    """
    declared, layout, space = study.declared, study.full.layout, study.space
    weeks, axis, infections = study.full.observation.weeks, declared.region.axis, declared.infections
    observed = {s.name: s for s in declared.observed}

    def sites(z: Tensor, kind: type = np.float64) -> dict[str, np.ndarray]:
        theta = space.to_theta(z.flatten(0, 1))
        return {name: x.unflatten(0, z.shape[:2]).numpy().astype(kind) for name, x in theta.items()}

    def replicated(counts: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """`[S * replicates, W, places]` to `[1, S, replicates, W, places]`."""
        return {n: counts[n].reshape(1, -1, study.config.replicates, *counts[n].shape[1:]) for n in observed}

    people = study.epidemic_data.population
    groups = {
        # single precision: there are many
        "posterior": sites(kept.z, np.float32 if len(kept.z) > 1 else np.float64),
        FORECAST_DRAWS: sites(z[None]),
        "prior": sites(prior[None]),
        # infections are the same in every replicate
        "posterior_predictive": replicated(predicted) | {infections: predicted[infections][None]},
        "prior_predictive": replicated(prior_predicted),
        "log_likelihood": kept.log_likelihood,
        "sample_stats": kept.stats,
        "observed_data": {name: study.data.counts[name].numpy() for name in observed},
        "constant_data": {
            "fitted_week": study.data.fitted.numpy(), "masked_week": declared.calendar.masked(weeks),
            f"population_{axis}": people.sum(1), "population_age": people.sum(0),
            **{f"in_likelihood_{name}": study.data.in_likelihood[name].numpy() for name in observed},
        },
    }  # fmt: skip
    dims = {name: ["week", by] for name, by in layout.axes.items()}
    dims |= {p.name: [p.axis] for p in declared.parameters() if p.labels}
    dims |= {f"in_likelihood_{name}": dims[name] for name in observed}
    dims |= {"fitted_week": ["week"], "masked_week": ["week"], f"population_{axis}": [axis], "population_age": ["age"]}
    coords = {"week": weeks.to_numpy()} | {p.axis: list(p.labels) for p in declared.parameters() if p.labels}
    coords |= {by: list(layout.places[name]) for name, by in layout.axes.items()}
    tree = to_inference_data(
        groups,
        coords,
        dims,
        units={p.name: p.unit for p in space.parameters if p.unit} | {name: s.unit for name, s in observed.items()},
        descriptions={p.name: declared.label(p.name) for p in space.parameters}
        | {n: s.title for n, s in observed.items()},
        attrs={"study": declared.name},
        group_coords={"log_likelihood": {"draw": kept.kept}},
    )
    save_inference_data(tree, run.file("posterior.nc"), {"study": declared.name})
