"""The comparison from a run's folder to table and figure."""

from __future__ import annotations

import shutil
import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console
from torch import Tensor

from calib import RunFolder
from calib.numerics import derive_seed
from calib.storage import atomic_write_csv, atomic_write_text
from epi.errors import StudyError
from epi.inference.recorder import steps
from epi.inference.setup import Study
from epi.outputs.reload import posterior_draws
from epi.outputs.run_files import RunFiles
from epi.sensitivity.workers import Workers
from experiments.method_comparison._count import spent, spent_on
from experiments.method_comparison._country import Country, Recipe
from experiments.method_comparison._draw import draw
from experiments.method_comparison._forecast import forecast, study_of
from experiments.method_comparison._methods import METHODS, Drawn, Task
from experiments.method_comparison._table import STUDY, markdown, rows
from experiments.method_comparison._target import Target, target_of

TABLE = "table.csv"
AFTER = ("forecast", "files", "sensitivity", "figures")
"""Phases of a run that come after its posterior draws."""
STUDY_AT_SCALE = "this study, competitors' scale"
"""Forecast of the study's own draws on the competitors' population, where that is not its own."""
FEWEST = 50
"""Simulations from which a method can learn anything."""


@dataclass(frozen=True)
class Settings:
    """What decides a comparison; `simulations` and `methods` may differ when it is resumed."""

    source: str
    methods: tuple[str, ...]
    simulations: tuple[int, ...]
    scale: float
    draws: int
    workers: int
    seed: int
    device: str

    def identity(self) -> dict[str, Any]:
        """Plain data for the manifest."""
        return asdict(self)


@dataclass(frozen=True, eq=False)
class Ready:
    """The calibrated study.

    Attributes:
        files: of the run.
        study: on the run's sample.
        target: observations that it was fitted to.
        spent: simulations that it made before its forecast.
        scale: agents per person of its forecast.
        seconds: that it took before its forecast.
        draws: `[S, D]` its posterior draws in z.
    """

    files: RunFiles
    study: Study
    target: Target
    spent: int
    scale: float
    seconds: float
    draws: Tensor


def prepare(source: Path) -> Ready:
    """Read a finished run.

    Raises:
        RunFolderError: the folder holds no run.
        StudyError: it is unfinished, of another study or version, or on synthetic data.
    """
    files = RunFiles(source).finished()
    study = study_of(source)
    _ = files.scores  # told now if they are not there
    target = target_of(files, study.short.weeks)
    seconds = sum(s for phase, s in files.manifest["timings"].items() if not phase.startswith(AFTER))
    theta = posterior_draws(files, {p.name: p.shape for p in study.space.parameters})
    return Ready(
        files, study, target, spent(files.manifest), study.config.country_scale, seconds, study.space.to_z(theta)
    )


def budgets(text: str, same: int) -> tuple[int, ...]:
    """Numbers of simulations from `"same,5000"`.

    Raises:
        StudyError: an entry is neither a whole number nor "same", or too small.
    """
    found = []
    for entry in (part.strip() for part in text.split(",")):
        if entry != "same" and not (entry.isdigit() and int(entry) >= FEWEST):
            raise StudyError(
                f"--simulations names {entry!r}; write 'same' or a whole number of at least {FEWEST}, as in same,5000."
            )
        found.append(same if entry == "same" else int(entry))
    return tuple(dict.fromkeys(found))


def compare(ready: Ready, settings: Settings, run: RunFolder, console: Console) -> int:
    """Run every method at every number of simulations that the folder does not hold yet; write table and figure after each.

    Returns:
        How many failed; the manifest's notices say why.
    """
    manifest = ready.files.manifest
    sentence = f"the run spent {ready.spent:,} simulations: {spent_on(manifest)}; {len(ready.target.observed)} observations are fitted"
    console.print(sentence, highlight=False, soft_wrap=True)
    run.update(spent=ready.spent, spent_on=spent_on(manifest), observations=len(ready.target.observed))
    table, failed = _table(ready, run), 0
    with ExitStack() as stack:
        country: Country | None = None
        for name, budget in _left(ready, settings, table):
            country = country or _country(settings, stack)
            try:
                found = _one(ready, settings, country, name, budget, run, console)
            except (StudyError, ValueError, RuntimeError, AssertionError) as error:  # of sbi: one method, not all
                failed += 1
                run.notice(f"{name} with {budget:,} simulations failed ({type(error).__name__}): {error}")
                console.print(run.manifest["notices"][-1], style="red", highlight=False, markup=False, soft_wrap=True)
                continue
            table = pd.concat([table, found], ignore_index=True)
            _write(table, run)
    _write(table, run)
    print(markdown(table))
    return failed


def _left(ready: Ready, settings: Settings, table: pd.DataFrame) -> list[tuple[str, int]]:
    """Methods and numbers of simulations that the table lacks; the study's own draws too if the competitors run another population."""
    wanted = [] if settings.scale == ready.scale else [(STUDY_AT_SCALE, ready.spent)]
    wanted += [(name, 0 if name == "prior" else budget) for budget in settings.simulations for name in settings.methods]
    have = set(zip(table["method"], table["simulations"], strict=True))
    return [entry for entry in dict.fromkeys(wanted) if entry not in have]


def _table(ready: Ready, run: RunFolder) -> pd.DataFrame:
    """What the folder holds, or the scores of the run that the competitors are compared with."""
    file = run.path / TABLE
    if file.is_file():
        return pd.read_csv(file)
    return rows(STUDY, ready.files.scores, ready.spent, ready.seconds)


def _write(table: pd.DataFrame, run: RunFolder) -> None:
    atomic_write_csv(run.file(TABLE), table)
    atomic_write_text(run.file("table.md"), markdown(table) + "\n")
    draw(table, run.file("scores.png"))


def _country(settings: Settings, stack: ExitStack) -> Country:
    recipe = Recipe(settings.source, settings.scale, settings.device)
    if settings.workers > 1:
        return Country(stack.enter_context(Workers(recipe, settings.workers)), None)
    return Country(None, recipe.build())


def _one(
    ready: Ready, settings: Settings, country: Country, name: str, budget: int, run: RunFolder, console: Console
) -> pd.DataFrame:
    """One method: posterior draws, forecast, scores."""
    label = "study" if name == STUDY_AT_SCALE else f"{name}_{budget}"
    if name == STUDY_AT_SCALE:
        drawn, seconds = Drawn(ready.draws[: settings.draws], budget, {}), ready.seconds
    else:
        started = time.perf_counter()
        with run.phase(label):
            drawn = _calibrated(ready, settings, country, name, budget, run, console)
        seconds = time.perf_counter() - started
    folder = run.path / label
    shutil.rmtree(folder, ignore_errors=True)  # of a comparison that was killed here
    own = RunFolder.create(
        folder, "method_comparison", {"method": name, "simulations": budget, **drawn.told}, settings.seed
    )
    with own.running(), steps(console, f"{name}, forecast", len(drawn.z)) as advance:
        scores = forecast(ready.study, country, drawn.z, own, advance)
    run.count("forecast", len(drawn.z))
    return rows(name, scores, drawn.simulations, seconds)


def _calibrated(
    ready: Ready, settings: Settings, country: Country, name: str, budget: int, run: RunFolder, console: Console
) -> Drawn:
    """Posterior draws of a method."""
    space, layout = ready.study.space, ready.study.short.layout
    with steps(console, name, max(1, budget)) as advance:

        def simulate(z: Tensor, seed: int) -> Tensor:
            z = z.double()
            flat = country.expected(z, seed, "fitted", advance=advance)
            run.count(f"{name}_{budget}", len(z))
            expected = layout.split(flat)
            return ready.target.drawn(space.to_theta(z), expected, derive_seed(seed, 0, "method-observations"))

        found = METHODS[name](Task(space, simulate, ready.target.observed, budget, settings.draws, settings.seed))
        advance(0 if budget else 1)
    return found
