"""The report level by level; each leaves its tables in the output folder, from which everything else is drawn."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from rich.console import Console

from calib import SobolIndices, sobol_design, sobol_indices
from calib._atomic import atomic_path, atomic_write_csv, atomic_write_json
from calib._jacobian_file import load_jacobian
from calib._runfolder import RunFolder
from experiments import benchmark_simulator
from experiments.nz_calibration._errors import StudyError
from experiments.nz_calibration._rebuild import Fitted, rebuild
from experiments.nz_calibration._run_files import RunFiles
from experiments.nz_calibration._study import steps
from experiments.sensitivity import _baselines as baselines
from experiments.sensitivity import _compare as compare
from experiments.sensitivity import _every_input as level_two
from experiments.sensitivity import _global as level_three
from experiments.sensitivity import _reference as reference
from experiments.sensitivity import _zero_shot as level_one
from experiments.sensitivity._check import check_calibrated, check_weeks
from experiments.sensitivity._config import Config
from experiments.sensitivity._functions import all_functions
from experiments.sensitivity._outputs import Array, Labels, Output, make_output
from experiments.sensitivity._simulate import Work

SURVIVORS = "sobol on survivors, two replicates"
NUMBER = 2
"""Outputs analysed at levels 2 and 3; each costs a reverse pass."""


@dataclass(eq=False)
class Analysis:
    """What the steps share.

    Attributes:
        config: settings. run: output folder. console: for progress. source: files of the calibration.
        jacobian: what it kept. labels, outputs: of its outputs. rng: of level 1.
        facts: plain data for the report, written as `summary.json`.
    """

    config: Config
    run: RunFolder
    console: Console
    source: RunFiles
    jacobian: xr.Dataset
    labels: Labels
    outputs: list[Output]
    facts: dict[str, Any] = field(default_factory=dict)
    work_: Work | None = None
    fitted_: Fitted | None = None

    @property
    def work(self) -> Work:
        """The model, built when the first simulation is asked for."""
        if self.work_ is None:
            with self.run.phase("population"):
                self.fitted_ = rebuild(self.source.folder, scale=self.config.scale, device=self.config.device)
                self.work_ = Work(self.fitted_.simulator, self.config.seed, self.config.batch)
            self.facts["agents"] = self.fitted_.simulator.population.agents
        return self.work_

    @property
    def centre(self) -> Array:
        """`[D]`, mean of the posterior draws in z."""
        return np.asarray(self.jacobian["z"].values.mean(0))

    def progress(self, label: str, total: int, body: Callable[[Callable[[int], None]], Any]) -> Any:
        """Run a body with a progress bar, and keep the ledger in the manifest afterwards."""
        with self.run.phase(label), steps(self.console, label, total) as advance:
            result = body(advance)
        self.keep_ledger()
        return result

    def keep_ledger(self) -> None:
        """Runs by purpose into the manifest."""
        if self.work_ is None:
            return
        ledger = self.work_.ledger
        self.run.update(
            simulations=dict(ledger.runs), reverse_passes=dict(ledger.gradients), failed_runs=dict(ledger.failed),
            seconds={k: round(v, 3) for k, v in ledger.seconds.items()},
        )  # fmt: skip

    def table(self, name: str, frame: pd.DataFrame) -> None:
        """Write a table."""
        atomic_write_csv(self.run.file(name), frame)

    def finish(self) -> None:
        """Write the plain facts."""
        self.keep_ledger()
        atomic_write_json(self.run.file("summary.json"), json.loads(json.dumps(_clean(self.facts))))


def _clean(x: Any) -> Any:
    """Plain data without numpy numbers; NaN becomes None."""
    if isinstance(x, dict):
        return {str(k): _clean(v) for k, v in x.items()}
    if isinstance(x, (list, tuple)):
        return [_clean(v) for v in x]
    if isinstance(x, (np.integer,)):
        return int(x)
    if isinstance(x, (float, np.floating)):
        return float(x) if np.isfinite(x) else None
    return x


def read_source(folder: Path, config: Config) -> tuple[RunFiles, xr.Dataset, Labels, list[Output]]:
    """What the calibration left, checked; nothing is simulated.

    Raises:
        RunFolderError: the folder holds no run.
        StudyError: another study's or an unfinished run, or one that did not keep what an output needs.
        SensitivityError: too few finite draws, or an output that no parameter moves.
    """
    source = RunFiles(folder)
    manifest = source.manifest
    if manifest["study"] != "nz_calibration":
        raise StudyError(
            f"{folder} holds a run of {manifest['study']!r}; expected one of 'nz_calibration': name its folder."
        )
    source.require()
    if manifest["status"] not in ("complete", "drawing"):
        raise StudyError(f"{folder} holds a run with status {manifest['status']!r}; run the study to its end first.")
    try:
        jacobian = load_jacobian(folder / "jacobian.nc")
    except ValueError as error:
        raise StudyError(str(error)) from error
    names = [str(n) for n in jacobian["parameter"].values]
    held = [str(row["name"]) for row in manifest.get("parameters", [])]
    if names != held:
        raise StudyError(
            f"{folder}/jacobian.nc has {len(names)} parameters and the manifest {len(held)} with other names; they are of different runs."
        )
    labels = level_one.kept_labels(jacobian, source.forecast_from)
    outputs = [make_output(text, labels) for text in config.outputs]
    # an output that cannot be ranked is told before anything is written
    level_one.zero_shot(jacobian, outputs, np.random.default_rng(0), 2)
    return source, jacobian, labels, outputs


def one(a: Analysis) -> None:
    """Level 1: what was kept."""
    rng = np.random.default_rng([a.config.seed, 1])
    with a.run.phase("level 1"):
        results = level_one.zero_shot(a.jacobian, a.outputs, rng)
        a.table("level1.csv", level_one.zero_shot_table(results))
        a.table("level1_time.csv", pd.concat(
            [level_one.in_time(a.jacobian, a.labels, word, rng).assign(signal=word) for word in ("cases", "admissions")]
        ))  # fmt: skip
    made = sum(a.work_.ledger.runs.values()) if a.work_ else 0
    a.facts["level1"] = {
        "simulations": made, "draws": results[0].draws, "dropped": results[0].dropped, "two_seeds": "jacobian_second" in a.jacobian,
    }  # fmt: skip
    a.console.print(f"level 1: {len(results)} outputs ranked with {made} simulations", highlight=False)


def two(a: Analysis) -> None:
    """Level 2: every input of the primitive."""
    c, some = a.config, a.outputs[:NUMBER]
    data = a.progress("level 2", c.streams, lambda go: level_two.every_input(a.work, a.centre, some, c.streams, go))
    with atomic_path(a.run.file("every_input.nc")) as temporary:
        data.to_netcdf(temporary, engine="h5netcdf")
    tops = [level_two.ranked(data, k, 200).assign(output=o.name) for k, o in enumerate(some)]
    groups = [level_two.grouped(data, k).assign(output=o.name) for k, o in enumerate(some)]
    a.table("every_input_top.csv", pd.concat(tops))
    a.table("every_input_groups.csv", pd.concat(groups))
    a.facts["level2"] = dict(data.attrs)
    a.console.print(
        f"level 2: {data.attrs['inputs']:,} inputs in {data.attrs['seconds_per_stream']:.2f} s a stream, {c.streams} streams",
        highlight=False,
    )


def three(a: Analysis) -> level_three.Global:
    """Level 3: over the prior, then the posterior, then Sobol indices of the survivors."""
    c, some = a.config, a.outputs[:NUMBER]
    prior = a.progress("level 3 prior", 3 * c.draws, lambda go: level_three.over_prior(a.work, some, c.draws, go))
    z = a.jacobian["z"].values
    after = a.progress(
        "level 3 posterior",
        3 * c.posterior_draws,
        lambda go: level_three.over_posterior(a.work, some, z, c.posterior_draws, go),
    )
    a.table(
        "global.csv",
        pd.concat([level_three.global_table(prior, "prior"), level_three.global_table(after, "posterior")]),
    )
    a.table("global_path.csv", level_three.path_table(prior))
    a.facts["level3"] = level_three.summary(prior, "prior") + level_three.summary(after, "posterior")
    kept, _, _ = level_three.screened(prior.results[0])
    chosen = [int(i) for i in np.flatnonzero(kept) if i < prior.calibrated]
    if chosen:
        indices = _survivors(a, chosen)
        names = [prior.names[i] for i in chosen]
        a.table("survivors.csv", _index_table(indices, names, a.outputs[0]))
        others = int(kept.sum()) - len(chosen)
        a.facts["survivors"] = {
            "inputs": names,
            "rows": c.survivors,
            "beyond_calibrated": others,
            "failed": indices.failed,
        }
    return prior


def _survivors(a: Analysis, chosen: list[int]) -> SobolIndices:
    design = sobol_design(a.config.survivors, a.work.dim, a.config.seed + 1, [(i,) for i in chosen])
    points = design.points()
    flat = points.reshape(-1, a.work.dim)
    streams = np.repeat(np.arange(len(points)), points.shape[1])

    def body(go: Callable[[int], None]) -> Array:
        copies = [
            a.outputs[0].value(a.work.values(flat, SURVIVORS, 300 + r, streams=streams, advance=go)) for r in (0, 1)
        ]
        return np.stack(copies, -1).reshape(*points.shape[:2], 2)

    values = a.progress("level 3 survivors", 2 * len(flat), body)
    return sobol_indices(values, np.random.default_rng([a.config.seed, 4]))


def _index_table(s: SobolIndices, names: list[str], output: Output) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "output": output.name, "input": names, "total": s.total.value, "total_low": s.total.low, "total_high": s.total.high,
            "first": s.first.value, "first_low": s.first.low, "first_high": s.first.high, "rank": s.total.rank, "rows": s.draws,
        }
    )  # fmt: skip


def against_others(a: Analysis, prior: level_three.Global | None) -> None:
    """The dearest ranking, the baselines, and how they agree."""
    c, work = a.config, a.work
    names = work.simulator.space.names
    every = reference.columns_of(names)
    columns = reference.Columns(every.names[: every.sites], every.members[: every.sites], every.sites)
    runs = c.reference * (len(columns.members) + 2) * reference.REPLICATES
    file, problem = a.run.file("reference.nc"), f"{a.source.manifest['started']} {c.scale} {c.device}"
    flat = a.progress(
        "reference", runs, lambda go: reference.reference_values(work, columns.members, c.reference, file, problem, go)
    )
    seconds_run = reference.seconds_per_run(file)
    rng = np.random.default_rng([c.seed, 5])
    indices = {o.name: sobol_indices(o.value(flat.astype(float)), rng) for o in a.outputs}
    a.table("reference.csv", pd.concat([_index_table(indices[o.name], list(columns.names), o) for o in a.outputs]))
    lead = a.outputs[0]

    def evaluate(z: Array, replicate: int, streams: np.ndarray) -> Array:
        return np.asarray(lead.value(work.values(z, "baselines", replicate, streams=streams)))

    sizes = {key: getattr(c, key) for key in ("morris", "sobol", "dgsm", "once", "sbi")}
    with a.run.phase("baselines"):
        others, missing = baselines.run_all(
            evaluate, work.dim, sizes, c.seed, lambda name: a.console.print(f"baseline: {name}", highlight=False)
        )
    a.keep_ledger()
    rows, answers = [], list(others)
    gradient = _gradient_seconds(a)
    for k, output in enumerate(a.outputs[:NUMBER]):
        mine = _ours(a, prior, k, gradient)
        answers = mine + (list(others) if k == 0 else [])
        table = compare.comparison(answers, indices[output.name], columns, runs, runs * seconds_run, slice(None))
        half = flat.astype(float)[: c.reference // 2], flat.astype(float)[c.reference // 2 :]
        halves = [
            sobol_indices(output.value(h), rng, replicates=20).total.value if len(h) >= 10 else None for h in half
        ]
        if halves[0] is not None and halves[1] is not None:
            a.facts.setdefault("reliability", {})[output.name] = compare.agreement(halves[0], halves[1])[
                "rank_correlation"
            ]
        rows.append(table.assign(output=output.name))
        if k == 0:
            full, a.facts["full_scale"] = full_size()
            here = (seconds_run, gradient or float("nan"))
            a.table("projected.csv", compare.projected(answers, runs, len(columns.members), work.dim, here, full))
    a.table("comparison.csv", pd.concat(rows))
    a.table("functions.csv", compare.on_functions(all_functions(), 100 if c.smoke else 1000, c.seed))
    a.facts["compare"] = {
        "missing": missing, "seconds_per_run": seconds_run, "seconds_per_gradient": gradient, "reference_rows": c.reference,
        "reference_runs": runs, "failed": indices[lead.name].failed, "sd": indices[lead.name].variance**0.5,
    }  # fmt: skip


def full_size() -> tuple[tuple[float, float], str]:
    """Measured seconds of a run, and of a run with its reverse pass, of the whole country on a GPU; and where they come from."""
    file = Path(benchmark_simulator.__file__).parent / "results" / "h100.json"
    found = json.loads(file.read_text(encoding="utf-8"))
    row = next(r for r in found["rows"] if r["agents"] == 5_100_000 and r["particles"] == 1)
    run, back = float(row["forward_seconds"]), float(row["reverse_seconds"])
    text = (
        f"those of 5.1 million agents on one {found['machine']['hardware']} ({run:.3f} s a run, {run + back:.3f} s with its reverse pass; "
        "docs/performance.md)"
    )
    return (run, run + back), text


def _gradient_seconds(a: Analysis) -> float | None:
    """Seconds of one run with one reverse pass, from the runs of level 3 (which make several passes a run)."""
    ledger = a.work.ledger
    if level_three.PRIOR not in ledger.runs:
        return None
    return ledger.per_run(level_three.PRIOR) / len(a.outputs[:NUMBER])


def _ours(a: Analysis, prior: level_three.Global | None, k: int, gradient: float | None) -> list[baselines.Answer]:
    mine = []
    if prior is not None:
        r = prior.results[k]
        runs = a.work.ledger.runs[level_three.PRIOR]
        seconds = runs * (gradient or 0.0)
        for name, index in (("share", r.share), ("upper bound", r.bound)):
            mine.append(
                baselines.Answer(
                    f"{compare.OURS}: {name}",
                    index.value[: prior.calibrated],
                    runs,
                    runs,
                    seconds,
                    f"ranks {len(r.names):,} inputs",
                )
            )
    levels = level_one.zero_shot(a.jacobian, [a.outputs[k]], np.random.default_rng(0), 20)
    share = levels[0].measures["prior_share"].value
    mine.append(
        baselines.Answer("kept Jacobians, no simulation", share, 0, 0, 0.0, "linearised at the posterior", "one point")
    )
    return mine


def check(a: Analysis, prior: level_three.Global | None) -> None:
    """Differences beside the derivatives of the ten largest."""
    streams, lead = a.config.check, a.outputs[0]
    if prior is not None:
        top = [int(i) for i in np.argsort(prior.results[0].share.rank[: prior.calibrated])[:10]]
    else:
        found = level_one.zero_shot(a.jacobian, [lead], np.random.default_rng(0), 20)[0]
        top = [int(i) for i in np.argsort(found.measures["prior_share"].rank)[:10]]
    first = a.progress(
        "check parameters", streams * 21, lambda go: check_calibrated(a.work, a.centre, lead, top, streams, go)
    ).assign(kind="per prior standard deviation")
    frames = [first]
    file = a.run.path / "every_input.nc"
    if file.is_file():
        with xr.open_dataset(file, engine="h5netcdf") as data:
            data.load()
        weeks = a.progress(
            "check weeks", streams * 20, lambda go: check_weeks(a.work, a.centre, lead, data, 0, streams, go)
        ).assign(kind="per log of a week's transmission")
        frames.append(weeks)
    a.table("check.csv", pd.concat(frames).assign(output=lead.name))
    a.facts["check"] = {"streams": streams}
