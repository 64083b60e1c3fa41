"""posterity: calibration and sensitivity analysis for agent-based models.

    import posterity

    run = posterity.Study.load("my_study").calibrate("results/my_study")
    found = posterity.calibrate(simulator, prior, data, likelihood=likelihood)

Importing it is cheap: torch and the rest are loaded when they are first used.
"""

from __future__ import annotations

from importlib import metadata
from typing import Any

__all__ = ["Calibration", "Run", "Study", "__version__", "calibrate", "open_run"]

_PLACES = {
    "Calibration": "calib",
    "calibrate": "calib",
    "Run": "posterity._run",
    "Study": "posterity._study",
    "open_run": "posterity._run",
}


def _version() -> str:
    try:
        return metadata.version("posterity")
    except metadata.PackageNotFoundError:  # run from a folder that was not installed
        return "0+unknown"


__version__ = _version()


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'posterity' has no attribute {name!r}; it has {', '.join(__all__)}.")
    import importlib

    from posterity._packages import claim_packages

    claim_packages()
    return getattr(importlib.import_module(_PLACES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
