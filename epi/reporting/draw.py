"""Plots and report of a finished run, of which one that fails costs no other."""

from __future__ import annotations

from pathlib import Path

from calib.storage import WriteError
from epi.errors import PlotsFailed, StudyError
from epi.reporting.plots import draw_all
from epi.reporting.report import write_report

__all__ = ["draw_run"]


def draw_run(folder: Path) -> Path:
    """Draw every plot of a run and write its report, with those plots that could be drawn.

    Args:
        folder: a finished run; only its files are read, and nothing is simulated.

    Returns:
        The report.

    Raises:
        RunFolderError: the folder holds no run.
        StudyError: a file of the run is missing or damaged.
        WriteError, OSError: a file could not be written.
        PlotsFailed: a plot or the report could not be made; all others were.
    """
    failed: PlotsFailed | None = None
    try:
        draw_all(folder)
    except PlotsFailed as error:
        failed = error
    try:
        page = write_report(folder, () if failed is None else failed.names)
    except (StudyError, WriteError, OSError):
        raise
    except Exception as error:  # of any kind inside a library: the run stands all the same
        raise PlotsFailed(
            f"{folder} holds a complete run, but its report could not be written ({type(error).__name__}: {' '.join(str(error).split())}); "
            f"once the cause is gone, posterity report {folder} writes it."
        ) from error
    if failed is not None:
        raise failed
    return page
