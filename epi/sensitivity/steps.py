"""The three levels and the check, one after the other; each leaves its tables in the output folder, from which everything else is drawn."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from rich.console import Console

from calib import RunFolder, SobolIndices, sobol_design, sobol_indices
from calib.storage import atomic_path, atomic_write_csv, atomic_write_json
from epi.errors import StudyError
from epi.inference.recorder import steps
from epi.outputs.run_files import RunFiles
from epi.sensitivity import all_rates as level_two
from epi.sensitivity import global_sobol as level_three
from epi.sensitivity import local as level_one
from epi.sensitivity.check import check_calibrated, check_weeks
from epi.sensitivity.outputs import Array, Labels, Output, make_output
from epi.sensitivity.settings import Config
from epi.sensitivity.simulate import Ledger, Work
from epi.sensitivity.workers import Recipe, Workers

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
    stack_: ExitStack = field(default_factory=ExitStack)

    def __enter__(self) -> Analysis:
        return self

    def __exit__(self, *_: object) -> None:
        self.stack_.close()  # worker processes go

    @property
    def work(self) -> Work:
        """The model, built when the first simulation is asked for."""
        if self.work_ is None:
            with self.run.phase("population"):
                c = self.config
                recipe = Recipe(str(self.source.folder), c.scale, c.seed, c.batch)
                workers = self.stack_.enter_context(Workers(recipe, c.workers)) if c.workers > 1 else None
                m = self.run.manifest  # a report that is resumed counts on
                names = ("simulations", "reverse_passes", "failed_runs", "seconds", "quick_seconds")
                ledger = Ledger(*(dict(m.get(name, {})) for name in names))
                self.work_ = replace(recipe.build(c.device), workers=workers, ledger=ledger)
            self.facts["agents"] = self.work_.simulator.population.agents
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
            quick_seconds={k: round(v, 5) for k, v in ledger.quick.items()},
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
    study = source.study
    if manifest["study"] != study.name:
        raise StudyError(
            f"{folder} holds a run of {manifest['study']!r}; expected one of {study.name!r}: name its folder."
        )
    source.require()
    source.finished()
    jacobian = source.jacobian
    names = [str(n) for n in jacobian["parameter"].values]
    held = [str(row["name"]) for row in manifest.get("parameters", [])]
    if names != held:
        raise StudyError(
            f"{folder}/jacobian.nc has {len(names)} parameters and the manifest {len(held)} with other names; they are of different runs."
        )
    labels = level_one.kept_labels(jacobian, study, source.forecast_from)
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
            [level_one.in_time(a.jacobian, a.labels, word, rng).assign(stream=word) for word in ("cases", "admissions")]
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
    prior = a.progress(
        "level 3 prior",
        3 * c.draws,
        lambda go: level_three.over_prior(a.work, some, c.draws, go, file=a.run.file("gradients_prior.nc")),
    )
    z = a.jacobian["z"].values
    after = a.progress(
        "level 3 posterior",
        3 * c.posterior_draws,
        lambda go: level_three.over_posterior(
            a.work, some, z, c.posterior_draws, go, file=a.run.file("gradients_posterior.nc")
        ),
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
        a.table("survivors.csv", index_table(indices, names, a.outputs[0]))
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


def index_table(s: SobolIndices, names: list[str], output: Output) -> pd.DataFrame:
    """Sobol indices of one output, one row an input."""
    return pd.DataFrame(
        {
            "output": output.name, "input": names, "total": s.total.value, "total_low": s.total.low, "total_high": s.total.high,
            "first": s.first.value, "first_low": s.first.low, "first_high": s.first.high, "rank": s.total.rank, "rows": s.draws,
        }
    )  # fmt: skip


def check(a: Analysis, prior: level_three.Global | None) -> None:
    """Differences compared with the derivatives of the ten largest."""
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
