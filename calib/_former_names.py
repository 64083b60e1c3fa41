"""Names of earlier versions, and what they are called now: old files are read, old arguments refused with the new name."""

from __future__ import annotations

from typing import Any

METHODS = {"reuse": "emulated-smc", "climb": "linearised-vi", "direct": "vi"}
"""Of `calibrate(method=...)`."""
STOPPED = {"settled": "converged"}
"""Why a calibration ended."""


def refuse_former_method(method: Any) -> None:
    """Refuse the former name of a method.

    Raises:
        ValueError: it is one; the sentence says the current name.
    """
    if isinstance(method, str) and method in METHODS:
        raise ValueError(f"method={method!r} is now called {METHODS[method]!r}: ask for that name.")


def report_of_now(report: dict[str, Any]) -> dict[str, Any]:
    """The report of a saved calibration under the current names."""
    new = dict(report)
    for key, names in (("method", METHODS), ("stopped_because", STOPPED)):
        if isinstance(new.get(key), str):
            head, *rest = new[key].split(" ", 1)
            new[key] = " ".join([names.get(head, head), *rest])
    return new
