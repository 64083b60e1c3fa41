"""The study from figures to report, phase by phase; each phase leaves its files in the run's folder."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from datetime import date
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor

from calib import (
    FitConfig,
    FitError,
    FitResult,
    Flow,
    Importance,
    ParameterSpace,
    StopRule,
    fit,
    importance,
    make_flow,
    rich_progress,
)
from calib._atomic import atomic_path
from calib._config import ProgressCallback
from calib._kept_tensors import load_tensors, save_tensors
from calib._local_mean import Chart, LocalMean
from calib._noise import derive_seed
from calib._runfolder import RunFolder
from calib._warm_start import WarmStart, cold_start, gauss_newton, start_flow
from epi.data import Data, EpidemicData, load_data, observed
from epi.errors import DataError, StudyError
from epi.inference.features import Roles, make_chart, roles_of
from epi.inference.likelihood import Inference
from epi.inference.settings import Config
from epi.model import Simulator, make_context, make_observation, parameter_space
from epi.model.distributions import SMALLEST_MEAN
from epi.population.build import build_population
from epi.study import Cases, load_study
from epi.study import Study as Declared
from sim import Population

WARM_START = "warm_start.safetensors"
JUDGED = 4000
"""Draws from which the importance weights of a fit are judged."""


@dataclass(frozen=True, eq=False)
class Study:
    """Everything a run needs, built once.

    Attributes:
        config: settings. figures: the real figures. population: the agents. space: the parameters.
        short, full: simulators over the fitted weeks and over all weeks, on the run's device.
        sample_short, sample_full: the same on a sample, for Jacobians; they are `short` and `full` unless asked otherwise.
        country_short, country_full: on the population whose runs set level and curvature of the local mean and make the forecast;
            None if that is `short` and `full` and no other sample.
        slope_short: over the fitted weeks, for the Jacobians of the rounds.
        chart: coordinates along which runs are carried.
        data: figures of all weeks to be calibrated (real or synthetic).
        truth: `[D]` z of a synthetic epidemic, else None.
    """

    config: Config
    figures: EpidemicData
    population: Population
    space: ParameterSpace
    short: Simulator
    full: Simulator
    sample_short: Simulator
    sample_full: Simulator
    country_short: Simulator | None
    country_full: Simulator | None
    slope_short: Simulator
    chart: Chart
    data: Data
    truth: Tensor | None

    @property
    def declared(self) -> Declared:
        """The study as it was declared."""
        return self.figures.study

    @property
    def fit_data(self) -> Data:
        """The counts of the weeks up to the forecast date."""
        return self.data.until(self.short.weeks)

    def inference(self, simulator: Simulator | None = None) -> Inference:
        """The likelihood of the fitted weeks, by the run's simulator or another."""
        return Inference(
            simulator or self.short,
            self.fit_data,
            batch=self.config.particles,
            country=self.country_short,
            chart=self.chart,
        )

    def local(
        self,
        warm: WarmStart,
        more: tuple[Tensor, Tensor] | None = None,
        slopes: tuple[Tensor, Tensor, Tensor] | None = None,
    ) -> LocalMean:
        """The mean expected counts that a warm start, `more` runs of the country and Jacobians around came to know."""
        return warm.local(SMALLEST_MEAN, self.chart, more, slopes, self.inference().fitted_mean)

    def fingerprint(self) -> str:
        """A hash of the tables, the data, the priors and what shapes the likelihood: work of another problem is refused."""
        digest = hashlib.sha256(self.space.describe().to_json().encode())
        for table in sorted(self.figures.folder.glob("*.csv")):
            digest.update(table.read_bytes())
        for name in sorted(self.data.counts):
            digest.update(self.data.counts[name].double().cpu().numpy().tobytes())
            digest.update(self.data.seen[name].cpu().numpy().tobytes())
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
        )
        settings = [self.population.agents, *(getattr(self.config, k) for k in keys)]
        digest.update(json.dumps(settings).encode())
        return digest.hexdigest()[:16]


def read_figures(config: Config) -> EpidemicData:
    """The tables of the run, which must hold every week of the study.

    Raises:
        DataError: a table is damaged (see `load_data`) or lacks a week of the study.
    """
    study = load_study(config.study)
    figures, calendar = load_data(study, Path(config.figures) if config.figures else None), study.calendar
    for s in study.observed:
        have = figures.series[s.name].index
        missing = calendar.weeks().difference(have)
        if s.complete and len(missing):
            raise DataError(
                f"{s.table} covers the weeks ending {have[0].date()} to {have[-1].date()}, and the study needs "
                f"{calendar.first_week} to {calendar.last_week}; add the week ending {missing[0].date()} and the others missing."
            )
    return figures


def make_simulator(
    config: Config, figures: EpidemicData, people: Population, space: ParameterSpace, last: date, device: str
) -> Simulator:
    """A simulator of `people` to the day `last`, on a device, in the precision that the configuration gives that device."""
    calendar = figures.study.calendar
    days, index = calendar.days_until(last), calendar.weeks(last=last)
    at, dtype = torch.device(device), config.dtype if device == config.device else torch.float64
    return Simulator(
        people,
        make_context(figures, people, days, at, dtype),
        make_observation(figures, people, days, index, at, dtype),
        space,
    )


def build(config: Config, figures: EpidemicData, run: RunFolder, console: Console) -> Study:
    """Build the population and the simulators, and simulate synthetic figures if asked to."""
    with run.phase("population"):
        population, quality = build_population(figures, config.scale, config.seed, balance=config.balance)
    for line in quality.lines():
        console.print(line, highlight=False)
    calendar, space = figures.study.calendar, parameter_space(figures.study)

    def simulator(people: Population, last: date) -> Simulator:
        return make_simulator(config, figures, people, space, last, config.device)

    short, full = (simulator(population, last) for last in (calendar.forecast_from, calendar.last_week))
    sample_short, sample_full = short, full
    if config.jacobian_scale is not None:
        sample, _ = build_population(figures, config.jacobian_scale, config.seed, balance=config.balance)
        sample_short, sample_full = (simulator(sample, last) for last in (calendar.forecast_from, calendar.last_week))
    country_short, country_full = (short, full) if sample_short is not short else (None, None)
    if config.country_scale > config.scale:
        country, _ = build_population(figures, config.country_scale, config.seed, balance=config.balance)
        country_short, country_full = (
            simulator(country, last) for last in (calendar.forecast_from, calendar.last_week)
        )
    slope_short = sample_short
    if config.rounds and config.slope_scale > (config.jacobian_scale or config.scale):
        if country_short is not None and config.slope_scale == config.country_scale:
            slope_short = country_short
        else:
            wider, _ = build_population(figures, config.slope_scale, config.seed, balance=config.balance)
            slope_short = simulator(wider, calendar.forecast_from)
    weeks = full.observation.weeks
    data, truth = observed(figures, weeks, config.signals), None
    if not data.signals:
        raise StudyError(
            f"Signal {', '.join(config.signals)} has no figure up to {calendar.forecast_from} to be fitted to; name another one too."
        )
    if config.synthetic is not None:
        from epi.inference.synthetic import synthetic_data

        with run.phase("synthetic"):
            country, _ = build_population(figures, 1.0, config.seed)
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
        figures,
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
        make_chart(
            short
            if config.device == "cpu"
            else make_simulator(config, figures, population, space, calendar.forecast_from, "cpu")
        ),
        data,
        truth,
    )


def calibrate(study: Study, run: RunFolder, console: Console, *, resume: bool) -> tuple[FitResult, Inference]:
    """Warm start, rounds of runs of the country, then variational inference; each goes on where a killed run stopped.

    Returns:
        The fit, and the likelihood that it was made with.
    """
    from epi.inference.rounds import explore

    config, space = study.config, study.space
    inference, fingerprint = study.inference(), study.fingerprint()
    flow = make_flow(config.flow, space.dim, seed=config.seed, hierarchy=hierarchy(space, roles_of(study.declared)))
    local = config.gradient == "local"
    if config.warm_start:
        with run.phase("warm_start"):
            warm = _warm_start(study, run, console)
        if config.average:
            mean = study.local(warm)
            inference = replace(inference, local=mean)
            # what is not known of the local mean widens the start
            at = warm.z[None]
            known = inference.outputs().information(at, mean(at), mean.jacobian(at))[0]
            warm = replace(warm, information=known)
        start_flow(flow, warm)
        if config.average and config.rounds:
            inference, flow = explore(study, inference, warm, flow, run, console)
        if config.average and not local:
            with run.phase("local_fit"), rich_progress(console) as progress:
                flow = _local_fit(study, inference, flow, run, progress)
    before = run.manifest["simulations"].get("fit", 0)
    problem = inference.local_problem(fingerprint) if local else inference.problem(fingerprint)
    settings = fit_settings(config, local=local)
    with run.phase("fit"), rich_progress(console) as progress:
        result = fit(problem, flow, settings, folder=run.path, resume=resume, progress=progress)
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
    if result.stopped_because != "settled":
        run.notice(
            f"The fit ended at its limit ({result.stopped_because.replace('_', ' ')}, {result.steps} steps) and not because the ELBO had "
            "settled: intervals may still be too wide or too narrow. Give it more time with --max-seconds and --max-steps."
        )
    _write_history(run, result)
    return result, inference


def hierarchy(space: ParameterSpace, roles: Roles) -> list[tuple[int, int, int, float]]:
    """The effects with a spread of their own as `make_flow` wants them."""
    rows, basis = [], torch.eye(space.dim, dtype=torch.float64)
    for effect, spread in roles.hierarchy.items():
        block, at = space.slice_of(effect), space.slice_of(spread).start
        ends = space.to_theta(torch.stack([basis[at], 0 * basis[at]]))[spread].log()
        rows.append((at, block.start, block.stop, float(ends[0] - ends[1])))
    return rows


def fit_settings(config: Config, *, local: bool) -> FitConfig:
    """Of a fit to the local mean (many cheap steps of many particles), or of one with fresh simulations in every step."""
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


def _local_fit(study: Study, inference: Inference, flow: Flow, run: RunFolder, progress: ProgressCallback) -> Flow:
    """Where fits with fresh simulations start: the fit to the local mean alone (`J_f g_q` with kept Jacobians)."""
    settings = fit_settings(study.config, local=True)
    result = fit(inference.local_problem(study.fingerprint()), flow, settings, progress=progress)
    found = judge_flow(inference, result.flow, study.config.seed)
    run.update(
        local_fit={
            "steps": result.steps, "stopped_because": result.stopped_because, "elbo": _number(found.elbo), "k_hat": _number(found.k_hat),
        }
    )  # fmt: skip
    return result.flow.requires_grad_(True)


def judge_flow(inference: Inference, flow: Flow, seed: int) -> Importance:
    """Importance weights of many draws of a flow under the likelihood of the local mean: no simulation."""
    generator = torch.Generator().manual_seed(derive_seed(seed, 0, "judge"))
    with torch.no_grad():
        z, log_q = flow.sample_with_log_prob(flow.noise(JUDGED, generator))
        log_likelihood = inference.local_problem("").log_likelihood(z, 0, "reverse")
        return importance(log_likelihood - 0.5 * (z**2 + math.log(2 * math.pi)).sum(1), log_q)


def _warm_start(study: Study, run: RunFolder, console: Console) -> WarmStart:
    config, file = study.config, run.path / WARM_START
    outputs = study.inference(study.sample_short).outputs()
    state = cold_start(study.space.dim, torch.zeros((), dtype=torch.float64))
    problem = study.fingerprint()
    first = math.ceil(0.4 * config.warm_start)
    level_runs = math.ceil(config.level_runs / (config.warm_start - first))
    if file.exists():
        state = _load(file, problem)
    with steps(console, "warm start", config.warm_start) as advance:
        advance(state.iteration)
        while state.iteration < config.warm_start:
            # first to the mode with all runs at one point, then around it, as wide as the posterior
            around = state.iteration >= first
            try:
                state = gauss_newton(
                    outputs,
                    state,
                    particles=config.warm_particles * (2 if around else 1),
                    seed=config.seed,
                    radius=0.5 if around else 1.0,
                    spread=1.0 if around else 0.0,
                    value_runs=level_runs if around else 0,
                )
            except ValueError as error:
                raise FitError(f"The warm start failed: {error}") from error
            made = {"warm_start": state.simulations, "warm_start_level": state.value_simulations}
            run.update(simulations=run.manifest["simulations"] | made)
            _keep(state, file, problem)
            advance(1)
    local = state.local(outputs.floor, outputs.chart)
    run.update(
        warm_start={
            "objective": [_number(x) for x in state.objective],
            "runs_in_local_mean": local.runs,
            "relative_error_of_local_mean": float(local.relative_error.median()),
        }
    )
    return state


def _keep(state: WarmStart, file: Path, problem: str) -> None:
    """A killed run goes on from its last step."""
    tensors = {f.name: getattr(state, f.name) for f in fields(state) if isinstance(getattr(state, f.name), Tensor)}
    numbers = {
        "objective": torch.tensor(state.objective, dtype=torch.float64),
        "simulations": torch.tensor(state.simulations),
        "value_simulations": torch.tensor(state.value_simulations),
    }
    save_tensors(file, tensors | numbers, problem)


def kept_warm_start(study: Study, run: RunFolder) -> WarmStart:
    """The warm start that a run's folder holds."""
    return _load(run.path / WARM_START, study.fingerprint())


def _load(file: Path, problem: str) -> WarmStart:
    names = [f.name for f in fields(WarmStart)]
    kept = load_tensors(file, problem, names, "remove it, and the warm start is done again")
    objective = tuple(kept.pop("objective").tolist())
    made, level = int(kept.pop("simulations")), int(kept.pop("value_simulations"))
    return WarmStart(**kept, objective=objective, simulations=made, value_simulations=level)


def _write_history(run: RunFolder, result: FitResult) -> None:
    import pandas as pd

    with atomic_path(run.file("history.csv")) as temporary:
        pd.DataFrame(result.history).to_csv(temporary, index=False)


@contextmanager
def steps(console: Console, label: str, total: int) -> Iterator[Callable[[int], None]]:
    """A progress bar with time left; yields a function that advances it."""
    columns = (TextColumn("{task.description}"), BarColumn(bar_width=24), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(label, total=total)
        yield lambda n: bar.advance(task, n)


def report_failed(good: Tensor, run: RunFolder, what: str, fewest: int = 10) -> None:
    """Count draws whose simulation was not finite, and refuse to go on with fewer than `fewest`."""
    count = int(good.sum())
    if count < len(good):
        run.skip(what, len(good) - count)
        run.notice(
            f"{len(good) - count} of {len(good)} {what} gave a simulation that was not finite and were left out."
        )
    if count < fewest:
        raise StudyError(
            f"Only {count} of {len(good)} {what} gave finite simulations; the priors or the fit are out of the model's range."
        )


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
