"""After the fit: draws with Jacobians to the end of the forecast, scores, sensitivity; files only, no drawing."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from rich.console import Console
from torch import Tensor

from calib import FitResult, Flow, judge_k_hat
from calib._atomic import atomic_path, atomic_write_json
from calib._common_error import CommonError
from calib._hamiltonian import Chains
from calib._hub import hub_rows, quantile_table
from calib._idata import FORECAST_DRAWS, save_inference_data, to_inference_data
from calib._jacobian_file import load_jacobian, save_jacobian
from calib._noise import derive_seed
from calib._runfolder import RunFolder
from calib._scores import Forecast, score_run
from epi.data.observations import series
from epi.inference.held_out import held_out
from epi.inference.likelihood import Inference
from epi.inference.refine import draw
from epi.inference.sampler import summary
from epi.inference.saved_runs import kept_runs
from epi.inference.setup import JUDGED, Study, judge_flow, report_failed, steps
from epi.inference.synthetic import recovery
from epi.model.model import figures_law
from epi.model.observation import PLACES, Expected
from epi.model.parameters import KNOTS
from epi.outputs.derivatives import sensitivity_table
from epi.outputs.stream_information import taught
from epi.study import calendar
from epi.study.labels import label
from epi.study.streams import AREAS, SIGNALS

BASELINE_FROM = "2022-01-30"
"""First week of the baseline's history."""
SITE_DIMS = {
    "age_contact": ["age"],
    "district_effect": ["district"],
    "district_seed": ["district"],
    "drift": ["knot"],
    "severity_band": ["age"],
    "wastewater_area_effect": ["area"],
}
UNITS = {
    "cases_district": "people a week", "cases_age": "people a week", "admissions_age": "people a week", "deaths_age": "people a week",
    "infections_district": "people a week", "occupancy_district": "people", "wastewater_area": "million genome copies a person a day",
    "border_cohort": "infections per 1,000 workers a week", "population_district": "people", "population_age": "people",
}  # fmt: skip
LIKELIHOOD_DRAWS = 15
"""Draws of each chain whose log likelihood is kept, evenly over the chain: enough for leave-one-out, a tenth of the size."""
FEWEST_WEEKS = 3
"""Known weeks from which the baseline of a score can be made."""


def simulate_draws(study: Study, z: Tensor, run: RunFolder, console: Console, *, purpose: str) -> Tensor:
    """Expected counts `[S, M]` to the last week at draws `z [S, D]`, one run each."""
    seed = derive_seed(study.config.seed, 0, f"simulate-{purpose}")

    def simulate(part: Tensor, start: int) -> Tensor:
        streams = torch.arange(start, start + len(part))
        return study.full.bind(seed, streams)(study.space.to_theta(part)).flat()

    with run.phase(purpose), torch.no_grad(), steps(console, purpose.replace("_", " "), len(z)) as advance:

        def made(runs: int, now: bool) -> None:
            advance(runs)
            if now:
                run.count(purpose, runs)

        file = run.path / f"{purpose}.safetensors"
        return kept_runs(file, study.fingerprint(), z, study.config.particles, simulate, made)


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
    if inference.local is None:
        run.notice(
            "The fit had no warm start, so there is no local mean to judge it by importance weights or to draw from."
        )
        found: Chains | None = None
        with torch.no_grad():
            z, many = flow.sample(config.draws, generator), flow.sample(JUDGED, generator)
    else:
        inference, errors, found = draw(study, inference, flow, run, console)
        _judge(inference, flow, run, config.seed)
        run.update(sampler=summary(found), common_errors=_shares(errors))
        z, many = (found.draws(min(n, found.z.shape[0] * found.z.shape[1]), generator) for n in (config.draws, JUDGED))
    z, off, many = z[:, : study.space.dim], z[:, study.space.dim :], many[:, : study.space.dim]
    with torch.no_grad():
        log_q = flow.log_prob(z)
    country = replace(study, full=study.country_full or study.full)
    flat = simulate_draws(country, z, run, console, purpose="forecast")
    good = torch.isfinite(flat).all(1)
    report_failed(good, run, "posterior draws")
    z, off, log_q, flat = z[good], off[good], log_q[good], flat[good]
    if inference.local is not None and inference.local.bend is not None:
        run.update(held_out=held_out(study, inference, z, flat))
    if not config.scores_only:
        _differentiate(study, z[: config.jacobian_draws], run, console)
    with run.phase("files"):
        predicted = observations(study, z, flat, "posterior")
        posterior = _chains(study, inference, errors, found) if found else _one_chain(study, inference, z, flat, log_q)
        _save_posterior(study, z, posterior, predicted, prior, run)
        scores = score_unseen(study, predicted, run)
    if not config.scores_only:
        with run.phase("sensitivity"):
            _sensitivity(study, run)
            with atomic_path(run.file("signals.csv")) as temporary:
                taught(study, inference, z, load_jacobian(run.file("jacobian.nc"))).to_csv(temporary, index=False)
    if study.truth is not None:
        kept = recovery(study.space.names, study.truth.numpy(), many.numpy())
        atomic_write_json(run.file("recovery.json"), kept)
        run.update(recovery={key: kept[key] for key in ("inside", "of", "share", "chance_of_so_few")})
    return scores


def _differentiate(study: Study, z: Tensor, run: RunFolder, console: Console) -> None:
    """Write the Jacobians of the forecast at draws `z [S, D]`, under two random streams."""
    sampled, jacobian = jacobian_draws(study, z, run, console, purpose="forecast_jacobian")
    again, second = jacobian_draws(study, z, run, console, purpose="forecast_jacobian_second")
    fine = torch.isfinite(sampled + again).all(1) & torch.isfinite(jacobian + second).flatten(1).all(1)
    report_failed(fine, run, "posterior draws with Jacobians")
    with run.phase("files"):
        _save_jacobian(study, z[fine], sampled[fine], jacobian[fine], second[fine], run)


def observations(study: Study, z: Tensor, flat: Tensor, stream: str) -> dict[str, np.ndarray]:
    """Counts drawn around expected counts `[S, M]`: `{signal: [S * replicates, W, places]}`; infections are not observed."""
    theta = study.space.to_theta(z)
    expected = Expected.from_flat(flat, study.full.weeks)
    out = {"infections_district": expected.infections_district.numpy()}
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(derive_seed(study.config.seed, 0, f"observe-{stream}") % 2**63)
        for signal in SIGNALS:
            draws = figures_law(signal, getattr(expected, signal), theta).sample((study.config.replicates,))
            out[signal] = draws.transpose(0, 1).flatten(0, 1).numpy()
    return out


def _judge(inference: Inference, flow: Flow, run: RunFolder, seed: int) -> None:
    """Importance weights of many draws under the likelihood of the fit's own local mean: no simulation."""
    found = judge_flow(inference, flow, seed)
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


def _shares(errors: CommonError) -> dict[str, float | int]:
    """What a manifest keeps of the errors that figures share."""
    shared = errors.loading.square().sum(1)
    return {"count": errors.count, "share_of_variance": float((shared / (shared + errors.rest)).median())}


def _pointwise(
    study: Study, inference: Inference, z: Tensor, flat: Tensor | None, errors: tuple[CommonError, Tensor] | None
) -> dict[str, Tensor]:
    """Log likelihood `{signal: [S, W, places]}`, NaN where the likelihood has no observation.

    By the local mean with its errors, or of single runs if there is none.
    """
    theta, data, weeks = study.space.to_theta(z), study.fit_data, study.short.weeks
    if errors is None:
        assert flat is not None
        every = Expected.from_flat(flat, study.full.weeks)
        expected = Expected(*(getattr(every, f.name)[:, :weeks] for f in fields(Expected)))
        variance: dict[str, Tensor | None] = dict.fromkeys(data.signals)
    else:
        fitted = inference.fitted_mean
        both = [torch.ones(len(z), len(fitted)).to(z) for _ in range(2)]
        for row, seen in zip(both, inference.off_by(z, *errors), strict=True):
            row[:, inference.which] = seen
        expected, relative = (Expected.from_flat(row, weeks) for row in both)
        variance = {s: getattr(relative, s).sqrt() for s in data.signals}
    result = {}
    for s in data.signals:
        value = figures_law(s, getattr(expected, s), theta, variance[s]).log_prob(data.counts[s].nan_to_num(1.0))
        result[s] = value.new_full((len(z), study.full.weeks, value.shape[2]), math.nan)
        result[s][:, :weeks] = torch.where(data.seen[s], value, math.nan)
    return result


@dataclass(frozen=True)
class _Posterior:
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


def _chains(study: Study, inference: Inference, errors: CommonError, found: Chains) -> _Posterior:
    """Every draw of the chains, in single precision, and the log likelihood of some."""
    every = found.z.transpose(0, 1)
    kept = np.unique(np.linspace(0, every.shape[1] - 1, LIKELIHOOD_DRAWS).round().astype(int))
    some = every[:, torch.from_numpy(kept)].flatten(0, 1)
    z, off = some[:, : study.space.dim], some[:, study.space.dim :]
    pointwise = _pointwise(study, inference, z, None, (errors, off))
    stats = {"lp": found.log_density, "energy": found.energy, "diverging": found.diverging}
    return _Posterior(
        every[..., : study.space.dim],
        {name: x.mT.numpy() for name, x in stats.items()},
        {s: x.unflatten(0, (len(every), len(kept))).float().numpy() for s, x in pointwise.items()},
        kept,
    )


def _one_chain(study: Study, inference: Inference, z: Tensor, flat: Tensor, log_q: Tensor) -> _Posterior:
    """Independent draws of a fit without chains: as one chain, with the log likelihood of their own simulations."""
    pointwise = _pointwise(study, inference, z, flat, None)
    joint = torch.stack([x.nansum((1, 2)) for x in pointwise.values()]).sum(0)
    joint = joint - 0.5 * (z**2 + math.log(2 * math.pi)).sum(1)
    stats = {"lp": joint[None].numpy(), "log_q": log_q[None].numpy()}
    return _Posterior(z[None], stats, {s: x[None].numpy() for s, x in pointwise.items()}, np.arange(len(z)))


def _save_jacobian(study: Study, z: Tensor, flat: Tensor, jacobian: Tensor, second: Tensor, run: RunFolder) -> None:
    weeks = [str(w.date()) for w in study.full.observation.weeks]
    labels = [(signal, week, place) for signal, places in PLACES.items() for week in weeks for place in places]
    signal, week, place = zip(*labels, strict=True)
    save_jacobian(
        run.file("jacobian.nc"),
        flat.cpu(),
        jacobian,
        z.cpu(),
        study.space.names,
        {"signal": signal, "week": week, "place": place},
        second,
    )


def _save_posterior(
    study: Study,
    z: Tensor,
    posterior: _Posterior,
    predicted: dict[str, np.ndarray],
    prior: tuple[Tensor, Tensor],
    run: RunFolder,
) -> None:
    """Write `posterior.nc`: chains as chains, and the draws `z [S, D]` of the forecast with what they predict."""
    weeks, space = study.full.observation.weeks, study.space
    masked = np.asarray(weeks == np.datetime64(calendar.MASKED_WEEK))

    def sites(z: Tensor, kind: type = np.float64) -> dict[str, np.ndarray]:
        theta = space.to_theta(z.flatten(0, 1))
        return {name: x.unflatten(0, z.shape[:2]).numpy().astype(kind) for name, x in theta.items()}

    def replicated(counts: dict[str, np.ndarray], infections: bool) -> dict[str, np.ndarray]:
        """`[S * replicates, W, places]` to `[1, S, replicates, W, places]`; infections are the same in every replicate."""
        split = {
            name: x.reshape(1, -1, study.config.replicates, *x.shape[1:])
            for name, x in counts.items()
            if name in SIGNALS
        }
        return split | ({"infections_district": counts["infections_district"][None]} if infections else {})

    people = study.figures.population
    groups = {
        "posterior": sites(posterior.z, np.float32 if len(posterior.z) > 1 else np.float64),
        FORECAST_DRAWS: sites(z[None]),
        "prior": sites(prior[0][None]),
        "posterior_predictive": replicated(predicted, True),
        "prior_predictive": replicated(observations(study, *prior, "prior"), False),
        "log_likelihood": posterior.log_likelihood,
        "sample_stats": posterior.stats,
        "observed_data": {name: study.data.counts[name].numpy() for name in SIGNALS},
        "constant_data": {
            "fitted_week": study.data.fitted.numpy(), "masked_week": masked,
            "population_district": people.sum(1), "population_age": people.sum(0),
            **{f"seen_{name}": study.data.seen[name].numpy() for name in SIGNALS},
        },
    }  # fmt: skip
    axes = {name: "district" if name not in SIGNALS else SIGNALS[name].axis for name in PLACES}
    dims = {name: ["week", axis] for name, axis in axes.items()} | SITE_DIMS
    dims |= {f"seen_{name}": dims[name] for name in SIGNALS}
    dims |= {
        "fitted_week": ["week"],
        "masked_week": ["week"],
        "population_district": ["district"],
        "population_age": ["age"],
    }
    coords = {"week": weeks.to_numpy(), "knot": list(KNOTS), "area": list(AREAS)}
    coords |= {axis: list(PLACES[name]) for name, axis in axes.items()}
    tree = to_inference_data(
        groups,
        coords,
        dims,
        units={p.name: p.unit for p in space.parameters if p.unit} | UNITS,
        descriptions={p.name: label(p.name) for p in space.parameters} | {name: s.title for name, s in SIGNALS.items()},
        attrs={"study": "nz_calibration"},
        group_coords={"log_likelihood": {"draw": posterior.kept}},
    )
    save_inference_data(tree, run.file("posterior.nc"), {"study": "nz_calibration"})


def score_unseen(study: Study, predicted: dict[str, np.ndarray], run: RunFolder) -> dict[str, Any]:
    """Score the weeks that the fit never saw, and write the forecast in hub columns."""
    import pandas as pd

    weeks = study.full.observation.weeks
    known = np.asarray(weeks <= np.datetime64(calendar.FORECAST_DATE))
    rng = np.random.default_rng(derive_seed(study.config.seed, 0, "baseline"))
    forecasts, rows = {}, []
    for signal in SIGNALS:
        figures = study.data.counts[signal].numpy()
        table = series(study.figures, signal).loc[BASELINE_FROM : str(calendar.FORECAST_DATE)].to_numpy(float)
        # a baseline has no gaps: levels of nothing are nothing, and a series that has hardly begun has no baseline
        history = np.nan_to_num(figures[known] if study.truth is not None else table)
        if len(history) < FEWEST_WEEKS:
            history = np.full((0, len(PLACES[signal])), np.nan)
        forecasts[signal] = Forecast(predicted[signal][:, ~known], figures[~known], history, PLACES[signal])
        rows.append(
            hub_rows(quantile_table(predicted[signal][:, ~known]), calendar.FORECAST_DATE, signal, PLACES[signal])
        )
    with atomic_path(run.file("forecast.csv")) as temporary:
        pd.concat(rows).to_csv(temporary, index=False)
    scores = score_run(forecasts, rng)
    atomic_write_json(run.file("scores.json"), scores)
    return scores


def _sensitivity(study: Study, run: RunFolder) -> None:
    """Rank the parameters from the kept Jacobians alone."""
    before = sum(run.manifest["simulations"].values())
    first = calendar.weeks()[int(np.flatnonzero(calendar.weeks() > np.datetime64(calendar.FORECAST_DATE))[0])]
    rng = np.random.default_rng(derive_seed(study.config.seed, 0, "sensitivity"))
    table = sensitivity_table(load_jacobian(run.file("jacobian.nc")), str(first.date()), rng)
    with atomic_path(run.file("sensitivity.csv")) as temporary:
        table.to_csv(temporary, index=False)
    run.update(sensitivity_simulations=sum(run.manifest["simulations"].values()) - before)
