"""A finished calibration as an object: its forecast, sensitivity, scenarios and files."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
import torch
import xarray as xr
from matplotlib.figure import Figure

from calib import Verification
from epi import StudyError
from epi.outputs.reload import rebuild
from epi.outputs.run_files import RunFiles
from epi.reporting.map_plots import map_quantity
from epi.reporting.plots import forecast_national, rows_of, sensitivity_ranking
from epi.reporting.verdicts import judge_run
from epi.scenarios.changed_study import ChangedStudy, simulate_changes
from epi.scenarios.plots import curve_figure
from epi.scenarios.registry import load_scenarios
from epi.scenarios.run import drop_failed, prepare, simulate, worlds_of
from epi.scenarios.summary import averted, curves

__all__ = ["Result", "Run", "open_run"]


@dataclass(frozen=True, eq=False)
class Result:
    """A table and its picture.

    Attributes:
        table: the numbers.
        plot: draws them; returns a matplotlib figure.
    """

    table: pd.DataFrame
    plot: Callable[[], Figure]


@dataclass(frozen=True, eq=False)
class Run:
    """The folder of a finished calibration.

    Attributes:
        folder: where it is.
    """

    folder: Path

    @cached_property
    def files(self) -> RunFiles:
        """Its files, each read when it is first asked for."""
        return RunFiles(self.folder)

    @property
    def status(self) -> str:
        """`complete`, `running`, `interrupted` or `failed`."""
        return str(self.files.manifest["status"])

    @property
    def posterior(self) -> xr.Dataset:
        """Posterior draws by parameter."""
        return self.files.groups["posterior"]

    @property
    def scores(self) -> dict[str, Any]:
        """Forecast scores by stream."""
        return self.files.scores

    @property
    def forecast(self) -> Result:
        """The forecast in forecast-hub rows, and its picture for all regions together."""
        return Result(self.files.forecast, lambda: forecast_national(self.files))

    def sensitivity(self, output: str) -> Result:
        """Parameters that drive an output, by their share of the mean squared derivative.

        Raises:
            StudyError: the run has no such output.
        """
        known = list(dict.fromkeys(self.files.sensitivity["output"]))
        if output not in known:
            near = difflib.get_close_matches(output, known, 1, 0.3)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise StudyError(f"The run has no output {output!r}; {hint}It has {', '.join(known[:8])}, ...")
        return Result(rows_of(self.files, output, "derivative_share"), lambda: sensitivity_ranking(self.files, output))

    def scenario(
        self, name: str, *, draws: int = 16, scale: float | None = None, seed: int = 0, add: Path | None = None
    ) -> Result:
        """Simulate a scenario of the study at posterior draws, against the calibrated epidemic.

        Args:
            name: of the scenario; `posterity scenario --list` names them.
            draws: posterior draws, evenly spaced.
            scale: agents per person; None for the run's own.
            seed: of the epidemics and of the assumptions.
            add: a file with scenarios of your own.

        Raises:
            StudyError: there is no such scenario, or the run has fewer draws.
        """
        known = load_scenarios(self.files.manifest["configuration"]["study"], add)
        if name not in known:
            raise StudyError(f"There is no scenario {name!r}; choose among {', '.join(known)}.")
        torch.set_default_dtype(torch.float64)
        fitted, one = rebuild(self.folder, scale=scale), known[name]
        chosen = [one]
        if isinstance(one, ChangedStudy):
            data, _ = drop_failed(simulate_changes(fitted, [one], min(draws, fitted.draws), seed))
        else:
            asked = prepare(fitted, min(draws, fitted.draws), seed)
            data, _ = drop_failed(simulate(asked, worlds_of(asked, [one]), "auto", lambda _: None))
        lines = curves(data, chosen, [])
        whole = lines["place"].iloc[0]  # all regions together come first
        return Result(
            averted(data, chosen),
            lambda: curve_figure(lines[lines["question"] == name], (one.against_label, name), whole),
        )

    def map(self, quantity: str = "attack_rate") -> Figure:
        """A map of a derived quantity by region, such as `attack_rate`, `infections` or `Rt`; by week where it has a value each week.

        Raises:
            StudyError: the run has no such quantity by region, or the study no places.
        """
        return map_quantity(self.files, quantity)

    def check(self) -> str:
        """The page of verdicts as text."""
        return judge_run(self.files).page.text()

    def verify(self) -> Verification:
        """Compare the files with the checksums in the manifest."""
        from calib import RunFolder

        return RunFolder.open(self.folder).verify()


def open_run(folder: str | Path) -> Run:
    """Open the folder of a finished calibration.

    Raises:
        RunFolderError: the folder holds no run.
    """
    run = Run(Path(folder))
    _ = run.files.manifest
    return run
