"""After the fit: draws with Jacobians to the end of the forecast, scores, sensitivity; files only, no drawing."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np
import torch
from rich.console import Console
from torch import Tensor

from calib import Chains, FitResult, Flow, Forecast, RunFolder, hub_rows, judge_k_hat, quantile_table, score_run
from calib.multifidelity import (
    ASSESSED,
    EmulatorPosterior,
    SharedError,
    assess_flow,
    draw,
    held_out,
    saved_runs,
    summary,
)
from calib.numerics import derive_seed
from calib.storage import (
    atomic_path,
    atomic_write_json,
    load_jacobian,
    save_jacobian,
)
from epi.inference.likelihood import Inference
from epi.inference.recorder import report_failed, steps
from epi.inference.setup import Study
from epi.inference.synthetic import recovery
from epi.model import observation_distribution
from epi.outputs.derivatives import sensitivity_table
from epi.outputs.derived import write_derived
from epi.outputs.posterior_file import fitted_weeks, of_chains, of_independent_draws, save_posterior
from epi.outputs.stream_information import stream_information

BASELINE_WEEKS = 1
"""Weeks before the study's first from which a baseline's history begins."""
FEWEST_WEEKS = 3
"""Known weeks from which the baseline of a score can be made."""
NEAR_WEEKS = 4
"""Weeks ahead that are scored together, those after them being another period."""


def simulate_draws(
    study: Study, z: Tensor, run: RunFolder, console: Console, *, purpose: str, derived: bool = False
) -> Tensor:
    """Expected counts `[S, M]` to the last week at draws `z [S, D]`, one run each; after them derived quantities if asked for."""
    seed = derive_seed(study.config.seed, 0, f"simulate-{purpose}")

    def simulate(part: Tensor, start: int) -> Tensor:
        streams = torch.arange(start, start + len(part))
        if derived:
            return torch.cat(study.full.with_derived(study.space.to_theta(part), seed, streams), -1)
        return study.full.layout.flat(study.full.bind(seed, streams)(study.space.to_theta(part)))

    with run.phase(purpose), torch.no_grad(), steps(console, purpose.replace("_", " "), len(z)) as advance:

        def made(runs: int, now: bool) -> None:
            advance(runs)
            if now:
                run.count(purpose, runs)

        file = run.path / f"{purpose}.safetensors"
        return saved_runs(file, study.fingerprint(), z, study.config.particles, simulate, made)


def jacobian_draws(study: Study, z: Tensor, run: RunFolder, console: Console, *, purpose: str) -> tuple[Tensor, Tensor]:
    """As `simulate_draws`, on the population that Jacobians are taken on; with them `[S, M, D]` in single precision."""
    seed, values, jacobians = derive_seed(study.config.seed, 0, f"simulate-{purpose}"), [], []
    with run.phase(purpose), torch.no_grad():
        for part, streams in _batches(study, z, run, console, purpose):
            value, jacobian = study.sample_full.jacobian(part, seed, streams)
            values.append(value)
            jacobians.append(jacobian.float())
    return torch.cat(values), torch.cat(jacobians)


def _batches(
    study: Study, z: Tensor, run: RunFolder, console: Console, purpose: str
) -> Iterator[tuple[Tensor, Tensor]]:
    with steps(console, purpose.replace("_", " "), len(z)) as advance:
        for start in range(0, len(z), study.config.particles):
            part = z[start : start + study.config.particles]
            yield part, torch.arange(start, start + len(part))
            run.count(purpose, len(part))
            advance(len(part))


def prior_predictive(study: Study, run: RunFolder, console: Console) -> tuple[Tensor, Tensor]:
    """Draws of the prior `z [S, D]` and their expected counts `[S, M]`, failed ones left out and counted."""
    generator = torch.Generator().manual_seed(derive_seed(study.config.seed, 0, "prior"))
    z = torch.randn(study.config.prior_draws, study.space.dim, generator=generator, dtype=torch.float64)
    flat = simulate_draws(study, z, run, console, purpose="prior_predictive")
    good = torch.isfinite(flat).all(1)
    report_failed(good, run, "prior draws")
    return z[good], flat[good]


def conclude(
    study: Study,
    result: FitResult,
    inference: Inference,
    prior: tuple[Tensor, Tensor],
    run: RunFolder,
    console: Console,
) -> dict[str, Any]:
    """Simulate the posterior draws to the end of the forecast, some with Jacobians, and write every data file of the run.

    Args:
        study: the problem.
        result: the fit.
        inference: the likelihood that it was made with.
        prior: of `prior_predictive`.
        run: where to.
        console: for progress.

    Returns:
        The scores, as in `scores.json`.
    """
    config, flow = study.config, copy.deepcopy(result.flow)
    generator = torch.Generator().manual_seed(derive_seed(config.seed, 0, "posterior"))
    posterior = inference.posterior
    if posterior is None:
        run.notice(
            "The fit had no warm start, so there is no emulator to judge it by importance weights or to draw from."
        )
        chains: Chains | None = None
        with torch.no_grad():
            z, many = flow.sample(config.draws, generator), flow.sample(ASSESSED, generator)
    else:
        drawn = draw(posterior, flow, study.settings, study.recorder(run, console))
        posterior, errors, found = drawn.posterior, drawn.errors, drawn.chains
        chains = found
        inference = replace(inference, posterior=posterior)
        _judge(posterior, flow, run, config.seed)
        run.update(sampler=summary(found), common_errors=_shares(errors))
        z, many = (
            found.draws(min(n, found.z.shape[0] * found.z.shape[1]), generator) for n in (config.draws, ASSESSED)
        )
    z, many = z[:, : study.space.dim], many[:, : study.space.dim]
    with torch.no_grad():
        log_q = flow.log_prob(z)
    country = replace(study, full=study.country_full or study.full)
    flat = simulate_draws(country, z, run, console, purpose="forecast", derived=True)
    flat, more = flat.split([study.full.layout.size, flat.shape[1] - study.full.layout.size], 1)
    good = torch.isfinite(flat).all(1)
    report_failed(good, run, "posterior draws")
    z, log_q, flat, more = z[good], log_q[good], flat[good], more[good]
    if posterior is not None and posterior.emulator.quadratic is not None:
        run.update(held_out=held_out(posterior, z, study.short.layout.flat(fitted_weeks(study, flat))))
    if not config.scores_only:
        _differentiate(study, z[: config.jacobian_draws], run, console)
    with run.phase("files"):
        predicted = observations(study, z, flat, "posterior")
        if chains is None or posterior is None:
            kept_posterior = of_independent_draws(study, z, flat, log_q)
        else:
            kept_posterior = of_chains(study, posterior, errors, chains)
        save_posterior(study, z, kept_posterior, predicted, prior[0], observations(study, *prior, "prior"), run)
        scores = score_unseen(study, predicted, run)
        write_derived(study.full.observation, more, run.path)
    if not config.scores_only:
        with run.phase("sensitivity"):
            _sensitivity(study, run)
            with atomic_path(run.file("stream_information.csv")) as temporary:
                stream_information(study, inference, z, load_jacobian(run.file("jacobian.nc"))).to_csv(
                    temporary, index=False
                )
    if study.truth is not None:
        kept = recovery(study.space.names, study.truth.numpy(), many.numpy())
        atomic_write_json(run.file("recovery.json"), kept)
        run.update(recovery={key: kept[key] for key in ("inside", "of", "share", "chance_of_so_few")})
    return scores


def _differentiate(study: Study, z: Tensor, run: RunFolder, console: Console) -> None:
    """Write the Jacobians of the forecast at draws `z [S, D]`, under two random streams."""
    sampled, jacobian = jacobian_draws(study, z, run, console, purpose="forecast_jacobian")
    repeated, second = jacobian_draws(study, z, run, console, purpose="forecast_jacobian_second")
    fine = torch.isfinite(sampled + repeated).all(1) & torch.isfinite(jacobian + second).flatten(1).all(1)
    report_failed(fine, run, "posterior draws with Jacobians")
    with run.phase("files"):
        _save_jacobian(study, z[fine], sampled[fine], jacobian[fine], second[fine], run)


def observations(study: Study, z: Tensor, flat: Tensor, stream: str) -> dict[str, np.ndarray]:
    """Counts drawn around expected counts `[S, M]`: `{stream: [S * replicates, W, places]}`; infections are not observed."""
    theta = study.space.to_theta(z)
    expected, declared = study.full.layout.split(flat), study.declared
    tested = study.full.observation.tested
    out = {declared.infections: expected[declared.infections].numpy()}
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(derive_seed(study.config.seed, 0, f"observe-{stream}") % 2**63)
        for s in declared.observed:
            fn = observation_distribution(s, expected[s.name], theta, tested=tested.get(s.name))
            draws = fn.sample((study.config.replicates,))
            out[s.name] = draws.transpose(0, 1).flatten(0, 1).numpy()
    return out


def _judge(posterior: EmulatorPosterior, flow: Flow, run: RunFolder, seed: int) -> None:
    """Importance weights of many draws under the emulator's likelihood: no simulation."""
    found = assess_flow(posterior, flow, seed)
    verdict = judge_k_hat(found.k_hat, found.draws)
    run.update(
        importance={
            "k_hat": found.k_hat if math.isfinite(found.k_hat) else None,
            "word": verdict.word,
            "text": verdict.text,
            "effective": found.effective,
            "draws": found.draws,
            "threshold": verdict.threshold,
            "elbo": found.elbo,
            "log_evidence": found.log_evidence,
        }
    )


def _shares(errors: SharedError) -> dict[str, float | int]:
    """What a manifest keeps of the shared errors."""
    shared = errors.loading.square().sum(1)
    return {"count": errors.count, "share_of_variance": float((shared / (shared + errors.rest)).median())}


def _save_jacobian(study: Study, z: Tensor, flat: Tensor, jacobian: Tensor, second: Tensor, run: RunFolder) -> None:
    stream, week, place = zip(*study.full.layout.labels(), strict=True)
    save_jacobian(
        run.file("jacobian.nc"),
        flat.cpu(),
        jacobian,
        z.cpu(),
        study.space.names,
        {"stream": stream, "week": week, "place": place},
        second,
    )


def forecast_periods(weeks: int) -> tuple[tuple[int, int], ...]:
    """First and last weeks ahead of the periods that are scored: up to four weeks, and the rest.

    >>> forecast_periods(11), forecast_periods(7), forecast_periods(3)
    (((1, 4), (5, 11)), ((1, 4), (5, 7)), ((1, 3),))
    """
    near = (1, min(weeks, NEAR_WEEKS))
    return (near, (NEAR_WEEKS + 1, weeks)) if weeks > NEAR_WEEKS else (near,)


def score_unseen(study: Study, predicted: dict[str, np.ndarray], run: RunFolder) -> dict[str, Any]:
    """Score the weeks that the fit never saw, and write the forecast in hub columns."""
    import pandas as pd

    weeks = study.full.observation.weeks
    declared, calendar = study.declared, study.declared.calendar
    known = calendar.early(weeks)
    begin = calendar.first_week - timedelta(weeks=BASELINE_WEEKS)
    rng = np.random.default_rng(derive_seed(study.config.seed, 0, "baseline"))
    forecasts, rows = {}, []
    for stream, places in ((s.name, s.places(declared)) for s in declared.observed):
        observations = study.data.counts[stream].numpy()
        table = study.epidemic_data.series[stream].loc[str(begin) : str(calendar.forecast_from)].to_numpy(float)
        # a baseline has no gaps: levels of nothing are nothing, and a series that has hardly begun has no baseline
        history = np.nan_to_num(observations[known] if study.truth is not None else table)
        if len(history) < FEWEST_WEEKS:
            history = np.full((0, len(places)), np.nan)
        forecasts[stream] = Forecast(predicted[stream][:, ~known], observations[~known], history, places)
        rows.append(hub_rows(quantile_table(predicted[stream][:, ~known]), calendar.forecast_from, stream, places))
    with atomic_path(run.file("forecast.csv")) as temporary:
        pd.concat(rows).to_csv(temporary, index=False)
    scores = score_run(forecasts, rng, forecast_periods(int((~known).sum())))
    atomic_write_json(run.file("scores.json"), scores)
    return scores


def _sensitivity(study: Study, run: RunFolder) -> None:
    """Rank the parameters from the kept Jacobians alone."""
    before = sum(run.manifest["simulations"].values())
    weeks = study.full.observation.weeks
    first = weeks[int(np.flatnonzero(weeks > np.datetime64(study.declared.calendar.forecast_from))[0])]
    rng = np.random.default_rng(derive_seed(study.config.seed, 0, "sensitivity"))
    table = sensitivity_table(load_jacobian(run.file("jacobian.nc")), str(first.date()), rng)
    with atomic_path(run.file("sensitivity.csv")) as temporary:
        table.to_csv(temporary, index=False)
    run.update(sensitivity_simulations=sum(run.manifest["simulations"].values()) - before)
