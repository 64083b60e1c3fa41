"""The study from tables to report, phase by phase; each phase leaves its files in the run's folder."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from datetime import date
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from torch import Tensor

from calib import (
    FitConfig,
    FitResult,
    Flow,
    ParameterSpace,
    ProgressCallback,
    RunFolder,
    StopRule,
    fit,
    make_flow,
    start_flow,
)
from calib.multifidelity import (
    EmulatorPosterior,
    FeatureMap,
    Problem,
    Settings,
    assess_flow,
    prepare,
    warm_start,
)
from calib.numerics import derive_seed
from calib.storage import atomic_path
from epi.data import Data, EpidemicData, load_data, observed
from epi.errors import DataError, StudyError
from epi.inference.features import Roles, make_features, roles_of
from epi.inference.likelihood import Inference
from epi.inference.problem import make_problem
from epi.inference.recorder import RunRecorder
from epi.inference.settings import Config
from epi.model import Simulator, make_context, make_observation, parameter_space
from epi.population.build import build_population
from epi.study import Cases, load_study
from epi.study import Study as Declared
from sim import Population


@dataclass(frozen=True, eq=False)
class Study:
    """Everything a run needs, built once.

    Attributes:
        config: settings. epidemic_data: the real data. population: the agents. space: the parameters.
        short, full: simulators over the fitted weeks and over all weeks, on the run's device.
        sample_short, sample_full: the same on a sample, for Jacobians; they are `short` and `full` unless asked otherwise.
        country_short, country_full: on the population whose runs set intercept and curvature of the emulator and make the forecast;
            None if that is `short` and `full` and no other sample.
        slope_short: over the fitted weeks, for the Jacobians of the rounds.
        feature_map: features in which log expected counts are nearly straight.
        data: observations of all weeks to be calibrated (real or synthetic).
        truth: `[D]` z of a synthetic epidemic, else None.
    """

    config: Config
    epidemic_data: EpidemicData
    population: Population
    space: ParameterSpace
    short: Simulator
    full: Simulator
    sample_short: Simulator
    sample_full: Simulator
    country_short: Simulator | None
    country_full: Simulator | None
    slope_short: Simulator
    feature_map: FeatureMap
    data: Data
    truth: Tensor | None

    @property
    def declared(self) -> Declared:
        """The study as it was declared."""
        return self.epidemic_data.study

    @property
    def fit_data(self) -> Data:
        """The counts of the weeks up to the forecast date."""
        return self.data.until(self.short.weeks)

    def inference(self) -> Inference:
        """The likelihood of the fitted weeks, by the run's simulator."""
        return Inference(self.short, self.fit_data, batch=self.config.particles)

    @cached_property
    def problem(self) -> Problem:
        """The likelihood of the fitted weeks as `calib.multifidelity` wants it."""
        simulators = {
            "values": self.country_short or self.short, "start": self.sample_short, "slopes": self.slope_short,
        }  # fmt: skip
        return make_problem(
            simulators,
            self.fit_data,
            self.feature_map,
            hierarchy(self.space, roles_of(self.declared)),
            self.fingerprint(),
        )

    @property
    def settings(self) -> Settings:
        """What `calib.multifidelity` may spend."""
        c = self.config
        return Settings(
            seed=c.seed, warm_steps=c.warm_start, warm_runs=c.warm_particles, level_runs=c.level_runs, rounds=c.rounds,
            round_runs=c.round_runs, round_jacobians=c.round_jacobians, jacobian_batch=c.warm_particles, chain_draws=c.chain_draws,
            flow=c.flow, fit=fit_settings(c, local=True), threads=c.threads,
        )  # fmt: skip

    def recorder(self, run: RunFolder, console: Console) -> RunRecorder:
        """Where its inference reports to."""
        return RunRecorder(run, console, self.fingerprint())

    def fingerprint(self) -> str:
        """A hash of the tables, the data, the priors and what shapes the likelihood: work of another problem is refused."""
        digest = hashlib.sha256(self.space.describe().to_json().encode())
        for table in sorted(self.epidemic_data.folder.glob("*.csv")):
            digest.update(table.read_bytes())
        for name in sorted(self.data.counts):
            digest.update(self.data.counts[name].double().cpu().numpy().tobytes())
            digest.update(self.data.in_likelihood[name].cpu().numpy().tobytes())
        keys = (
            "scale",
            "jacobian_scale",
            "level_scale",
            "level_runs",
            "rounds",
            "round_runs",
            "round_jacobians",
            "slope_scale",
            "balance",
            "seed",
            "synthetic",
            "warm_start",
            "warm_particles",
            "average",
            "estimator",
        )
        settings = [self.population.agents, *(getattr(self.config, k) for k in keys)]
        digest.update(json.dumps(settings).encode())
        return digest.hexdigest()[:16]


def read_data(config: Config) -> EpidemicData:
    """The tables of the run, which must hold every week of the study.

    Raises:
        DataError: a table is damaged (see `load_data`) or lacks a week of the study.
    """
    study = load_study(config.study)
    epidemic_data, calendar = load_data(study, Path(config.data) if config.data else None), study.calendar
    for s in study.observed:
        have = epidemic_data.series[s.name].index
        missing = calendar.weeks().difference(have)
        if s.complete and len(missing):
            raise DataError(
                f"{s.table} covers the weeks ending {have[0].date()} to {have[-1].date()}, and the study needs "
                f"{calendar.first_week} to {calendar.last_week}; add the week ending {missing[0].date()} and the others missing."
            )
    return epidemic_data


def make_simulator(
    config: Config, epidemic_data: EpidemicData, people: Population, space: ParameterSpace, last: date, device: str
) -> Simulator:
    """A simulator of `people` to the day `last`, on a device, in the precision that the configuration gives that device."""
    calendar = epidemic_data.study.calendar
    days, index = calendar.days_until(last), calendar.weeks(last=last)
    at, dtype = torch.device(device), config.dtype if device == config.device else torch.float64
    return Simulator(
        people,
        make_context(epidemic_data, people, days, at, dtype),
        make_observation(epidemic_data, people, days, index, at, dtype),
        space,
        estimator=config.estimator,
    )


def build(config: Config, epidemic_data: EpidemicData, run: RunFolder, console: Console) -> Study:
    """Build the population and the simulators, and simulate synthetic data if asked to."""
    with run.phase("population"):
        population, quality = build_population(epidemic_data, config.scale, config.seed, balance=config.balance)
    for line in quality.lines():
        console.print(line, highlight=False)
    calendar, space = epidemic_data.study.calendar, parameter_space(epidemic_data.study)

    def simulator(people: Population, last: date) -> Simulator:
        return make_simulator(config, epidemic_data, people, space, last, config.device)

    short, full = (simulator(population, last) for last in (calendar.forecast_from, calendar.last_week))
    sample_short, sample_full = short, full
    if config.jacobian_scale is not None:
        sample, _ = build_population(epidemic_data, config.jacobian_scale, config.seed, balance=config.balance)
        sample_short, sample_full = (simulator(sample, last) for last in (calendar.forecast_from, calendar.last_week))
    country_short, country_full = (short, full) if sample_short is not short else (None, None)
    if config.country_scale > config.scale:
        country, _ = build_population(epidemic_data, config.country_scale, config.seed, balance=config.balance)
        country_short, country_full = (
            simulator(country, last) for last in (calendar.forecast_from, calendar.last_week)
        )
    slope_short = sample_short
    if config.rounds and config.slope_scale > (config.jacobian_scale or config.scale):
        if country_short is not None and config.slope_scale == config.country_scale:
            slope_short = country_short
        else:
            wider, _ = build_population(epidemic_data, config.slope_scale, config.seed, balance=config.balance)
            slope_short = simulator(wider, calendar.forecast_from)
    weeks = full.observation.weeks
    data, truth = observed(epidemic_data, weeks, config.streams), None
    if not data.streams:
        raise StudyError(
            f"Data stream {', '.join(config.streams)} has no figure up to {calendar.forecast_from} to be fitted to; name another one too."
        )
    if config.synthetic is not None:
        from epi.inference.synthetic import synthetic_data

        with run.phase("synthetic"):
            country, _ = build_population(epidemic_data, 1.0, config.seed)
            truth, data = synthetic_data(full, simulator(country, calendar.last_week), data, config.synthetic)
            run.count("synthetic")
    table = space.describe()
    run.update(
        agents=population.agents,
        population=quality.lines(),
        parameters=[
            {"name": r["name"], "label": r["name"].replace("_", " "), "unit": r["unit"], "family": r["family"], "prior_median": r["median"],
             "prior_low": r["low"], "prior_high": r["high"], "reason": r["reason"]}
            for r in table.to_dict("records")
        ],
    )  # fmt: skip
    return Study(
        config,
        epidemic_data,
        population,
        space,
        short,
        full,
        sample_short,
        sample_full,
        country_short,
        country_full,
        slope_short,
        # in double precision everywhere: it must be the same in every process
        make_features(
            short
            if config.device == "cpu"
            else make_simulator(config, epidemic_data, population, space, calendar.forecast_from, "cpu")
        ),
        data,
        truth,
    )


def calibrate(study: Study, run: RunFolder, console: Console, *, resume: bool) -> tuple[FitResult, Inference]:
    """Warm start, rounds of high-fidelity runs, then variational inference; each goes on where a run was stopped.

    Returns:
        The fit, and the likelihood that it was made with.
    """
    config, problem, settings = study.config, study.problem, study.settings
    inference, recorder = study.inference(), study.recorder(run, console)
    flow = make_flow(config.flow, study.space.dim, seed=config.seed, hierarchy=problem.hierarchy)
    local = config.gradient == "local"
    if config.warm_start and config.average:
        posterior, flow, _ = prepare(problem, settings, recorder)
        inference = replace(inference, posterior=posterior)
        if not local:
            with run.phase("local_fit"), recorder.fit_progress() as progress:
                flow = _local_fit(posterior, settings, flow, run, progress)
    elif config.warm_start:
        with run.phase("warm_start"):
            warm = warm_start(problem, settings, recorder)
        start_flow(flow, warm.z, warm.covariance)
    before = run.manifest["simulations"].get("fit", 0)
    fitted = (
        inference.posterior.fit_problem() if local and inference.posterior else inference.problem(problem.fingerprint)
    )
    with run.phase("fit"), recorder.fit_progress() as progress:
        own = fit_settings(config, local=local)
        result = fit(fitted, flow, own, folder=run.path, resume=resume, progress=progress)
    made = 0 if local else result.simulations
    run.count("fit", max(0, made - before))
    run.update(
        fit={
            "steps": result.steps, "stopped_because": result.stopped_because, "elbo": _number(result.elbo), "timings": result.timings,
            "simulations": made, "skipped_steps": result.skipped, "dropped_particles": result.dropped,
        }
    )  # fmt: skip
    if result.skipped:
        run.skip("fit steps", result.skipped)
    for text, number in result.errors.items():
        run.notice(f"The simulator raised {text!r} for {number} particles of the fit; they were left out.")
    if result.stopped_because != "converged":
        run.notice(
            f"The fit ended at its limit ({result.stopped_because.replace('_', ' ')}, {result.steps} steps) and not because the ELBO had "
            "settled: intervals may still be too wide or too narrow. Give it more time with --max-seconds and --max-steps."
        )
    _write_history(run, result)
    return result, inference


def hierarchy(space: ParameterSpace, roles: Roles) -> list[tuple[int, int, int, float]]:
    """The effects with a spread of their own as `make_flow` wants them."""
    rows, basis = [], torch.eye(space.dim, dtype=torch.float64)
    for effect, sd in roles.hierarchy.items():
        block, at = space.slice_of(effect), space.slice_of(sd).start
        ends = space.to_theta(torch.stack([basis[at], 0 * basis[at]]))[sd].log()
        rows.append((at, block.start, block.stop, float(ends[0] - ends[1])))
    return rows


def fit_settings(config: Config, *, local: bool) -> FitConfig:
    """Of a fit to the emulator (many cheap steps of many particles), or of one with fresh simulations in every step."""
    settings = FitConfig(
        seed=config.seed,
        learning_rate=config.learning_rate,
        max_steps=config.max_steps,
        max_seconds=config.max_seconds,
        warmup_steps=10,
        checkpoint_seconds=15.0,
    )
    if local:
        return replace(settings, particles=64, stop=StopRule(min_steps=300, min_window=150))
    return replace(
        settings,
        particles=config.particles,
        gradient="forward" if config.gradient == "forward" else "reverse",
        stop=StopRule(min_steps=60, min_window=40),
    )


def _local_fit(
    posterior: EmulatorPosterior, settings: Settings, flow: Flow, run: RunFolder, progress: ProgressCallback | None
) -> Flow:
    """Where fits with fresh simulations start: the fit to the emulator's posterior alone (`J_f g_q` with saved Jacobians)."""
    result = fit(posterior.fit_problem(), flow, settings.fit, progress=progress)
    found = assess_flow(posterior, result.flow, settings.seed)
    run.update(
        local_fit={
            "steps": result.steps, "stopped_because": result.stopped_because, "elbo": _number(found.elbo), "k_hat": _number(found.k_hat),
        }
    )  # fmt: skip
    return result.flow.requires_grad_(True)


def _write_history(run: RunFolder, result: FitResult) -> None:
    import pandas as pd

    with atomic_path(run.file("history.csv")) as temporary:
        pd.DataFrame(result.history).to_csv(temporary, index=False)


def _number(x: float) -> float | None:
    return float(x) if np.isfinite(x) else None


def simulator_noise(study: Study, z: Tensor, run: RunFolder) -> None:
    """Measure what chance alone does at one parameter value: relative sd of the expected cases between random streams."""
    runs, batch = study.config.noise_runs, study.config.particles
    theta = study.space.to_theta(z.expand(batch, -1))
    counted = next((s.name for s in study.declared.streams if isinstance(s, Cases)), study.declared.infections)
    stream, rows = study.declared.stream(counted), []
    dispersion = study.declared.dispersion(counted) if stream.observed else None
    with run.phase("noise"), torch.no_grad():
        for start in range(0, runs, batch):
            streams = torch.arange(start, start + batch)
            simulate = study.short.bind(derive_seed(study.config.seed, 0, "noise-runs"), streams)
            rows.append(simulate(theta)[counted])
            run.count("noise", batch)
    cases = torch.cat(rows)[:runs]
    fitted = study.fit_data.fitted
    relative = (cases.std(0) / cases.mean(0).clamp_min(1.0))[fitted].mean(0)
    national = (cases.sum(-1).std(0) / cases.sum(-1).mean(0))[fitted].mean()
    run.update(
        simulator_noise={
            "runs": runs,
            "relative_sd_national": float(national),
            f"relative_sd_{stream.by}": dict(zip(stream.places(study.declared), relative.tolist(), strict=True)),
            f"dispersion_{stream.by}": None if dispersion is None else float(study.space.to_theta(z)[dispersion]),
        }
    )
