"""The data released with noise: posterior and forecast by the likelihood that knows the noise and by one that does not."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from calib import HUB_LEVELS, weighted_interval_score
from calib.multifidelity import EmulatorPosterior, Recorder, StreamObservations, run_chains
from calib.privacy import NoisyObservations, Released, StreamInformation, naive, release
from epi.model import observation_distribution
from experiments.federated._build import Ready

DELTA = 1e-6
PER_PERSON = 2
"""Entries that one person may change in each stream: counted once, or twice after a second infection in another week."""
FORECAST_DRAWS, REPLICATES = 32, 20


@dataclass(frozen=True, eq=False)
class Shown:
    """A release of a study's fitted counts.

    Attributes:
        released: what may be shown.
        streams: the released counts in the place of the data.
        sd: `[counts]` noise of each.
    """

    released: Released
    streams: StreamObservations
    sd: Tensor


def public_information(ready: Ready) -> dict[str, StreamInformation]:
    """What each stream tells at the medians of the priors, by the public emulator."""
    z = torch.zeros(1, ready.posterior.problem.space.dim, dtype=torch.float64)
    own, emulator = _streams(ready), ready.posterior.fitted
    variance = emulator(z)[0] ** 2 / own.weight(z, emulator(z))[0]
    slope, out = emulator.jacobian(z)[0], {}
    for name, at in _positions(ready).items():
        out[name] = StreamInformation(slope[at], variance[at].clamp_min(1.0))
    return out


def show(ready: Ready, epsilon: float, seed: int | None) -> Shown:
    """Release the counts of all streams with noise allocated by what they tell."""
    own, at = _streams(ready), _positions(ready)
    counts = {name: own.data[i] for name, i in at.items()}
    found = release(
        counts, per_person=PER_PERSON, epsilon=epsilon, delta=DELTA, information=public_information(ready), seed=seed
    )
    data, sd = own.data.clone(), torch.zeros(own.counts, dtype=torch.float64)
    for name, i in at.items():
        data[i], sd[i] = found.counts[name], found.sd[name]
    return Shown(found, _with_data(own, data), sd)


def posterior_draws(ready: Ready, observations: Any, seed: int) -> Tensor:
    """`[S, D]` draws of the posterior with other observations, by the same emulator."""
    problem = replace(ready.posterior.problem, observations=observations)
    own = EmulatorPosterior(problem, ready.posterior.emulator)
    with torch.no_grad():
        centre = ready.flow.sample(64, torch.Generator().manual_seed(0)).mean(0)
    found = run_chains(own, ready.flow, own.shared_error(centre), seed, Recorder(), ready.settings.chain_draws)
    return found.z[..., : problem.space.dim].flatten(0, 1)


def table(ready: Ready, epsilons: list[float], seed: int) -> tuple[pd.DataFrame, list[str]]:
    """Mean posterior sd over that without noise, and WIS of the forecast weeks, by epsilon and likelihood; and the statements."""
    exact = posterior_draws(ready, _streams(ready), seed)
    rows = [
        {
            "epsilon": float("inf"),
            "likelihood": "no noise",
            "spent": float("inf"),
            "sd_ratio": 1.0,
            "shift_sd": 0.0,
            "wis": wis(ready, exact, seed),
        }
    ]
    statements = []
    for epsilon in epsilons:
        shown = show(ready, epsilon, seed)
        statements.append(shown.released.statement)
        for name, own in (("noise-aware", NoisyObservations(shown.streams, shown.sd)), ("naive", naive(shown.streams))):
            z = posterior_draws(ready, own, seed)
            rows.append({
                "epsilon": epsilon, "likelihood": name, "spent": shown.released.epsilon,
                "sd_ratio": float((z.std(0) / exact.std(0)).mean()),
                "shift_sd": float(((z.mean(0) - exact.mean(0)) / exact.std(0)).square().mean().sqrt()),
                "wis": wis(ready, z, seed),
            })  # fmt: skip
    return pd.DataFrame(rows), statements


def wis(ready: Ready, z: Tensor, seed: int) -> float:
    """Mean weighted interval score of the first fitted stream over the forecast weeks, against the counts without noise."""
    study = ready.study
    simulator = study.country_full or study.full
    chosen = z[torch.randperm(len(z), generator=torch.Generator().manual_seed(seed))[:FORECAST_DRAWS]]
    theta = simulator.space.to_theta(chosen)
    name = study.fit_data.streams[0]
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        expected = simulator.bind(seed, torch.arange(len(chosen)))(theta)[name]
        drawn = (
            observation_distribution(study.declared.stream(name), expected, theta).sample((REPLICATES,)).flatten(0, 1)
        )
    first = study.short.weeks
    quantiles = np.moveaxis(np.quantile(drawn[:, first:].numpy(), HUB_LEVELS, axis=0), 0, -1)
    return float(np.nanmean(weighted_interval_score(quantiles, study.data.counts[name][first:].numpy()).wis))


def _streams(ready: Ready) -> StreamObservations:
    own = ready.posterior.problem.observations
    if not isinstance(own, StreamObservations) or own.counts != len(own.data):
        raise ValueError("the streams of the fit are not all counts, expected counts of people: leave the others out.")
    return own


def _positions(ready: Ready) -> dict[str, Tensor]:
    """Where the observations of each stream stand."""
    which, layout = _streams(ready).which, ready.study.short.layout
    out = {}
    for name in ready.study.fit_data.streams:
        part = layout.slices[name]
        out[name] = ((which >= part.start) & (which < part.stop)).nonzero()[:, 0]
    return out


def _with_data(own: StreamObservations, data: Tensor) -> StreamObservations:
    """The same streams with other numbers."""
    flat, kept = torch.full((int(own.which.max()) + 1,), torch.nan, dtype=torch.float64), []
    flat[own.which] = data
    for stream, places in own.streams:
        size = stream.data.numel()
        block = torch.nn.functional.pad(flat, (0, max(0, stream.outputs.stop - len(flat))), value=torch.nan)
        series = block[stream.outputs.start : stream.outputs.start + size].view(stream.data.shape)
        kept.append((replace(stream, data=series), places))
    return replace(own, data=data, streams=tuple(kept))
