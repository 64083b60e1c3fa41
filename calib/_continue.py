"""Going on with a calibration: more simulations, from the runs that are there."""

from __future__ import annotations

import time
from typing import Any

from calib._arguments import positive, whole_number
from calib._baselines_sbi import BASELINES
from calib._calibration import Calibration, Origin
from calib._carry_out import carry_out
from calib._plan import LEAST_BUDGET


def continue_calibration(
    found: Calibration, *, budget: int, seed: int = 0, max_seconds: float | None = None
) -> Calibration:
    """Spend more simulations on a calibration that is unfinished or poor.

    Runs of "emulated-smc", "abc-regression" and "importance" all count again; chains start where the earlier ones are, and their draws
    count if all together are judged no worse; "vi" and "linearised-vi" go on from the fitted flow.

    Args:
        found: as `calibrate`, `update` or this function gave it; in the same process, since simulators are not saved.
        budget: further simulations, those of a further check included.
        seed: of the further part; the first seed counts as well.
        max_seconds: as in `calibrate`, of this part.

    Returns:
        The calibration; its report counts budget, simulations and seconds of all parts, `report["parts"]` the parts.

    Raises:
        ValueError: the calibration was read from a file, or is of a method of sbi, or the budget is too small.

    Examples:
        >>> import torch
        >>> from torch.distributions import Independent, Normal
        >>> from calib import calibrate
        >>> found = calibrate(
        ...     lambda theta, seed: theta["x"][:, None].exp(), {"x": Normal(0.0, 1.0)}, torch.tensor([2.0]),
        ...     likelihood=lambda out: Independent(Normal(out, 0.1), 1), budget=200)
        >>> further = continue_calibration(found, budget=200)
        >>> len(further.runs) > len(found.runs), further.report["budget"], further.report["parts"]
        (True, 400, 2)
    """
    origin = origin_of(found)
    budget, seed = whole_number("budget", budget, least=LEAST_BUDGET), whole_number("seed", seed)
    if max_seconds is not None:
        max_seconds = positive("max_seconds", max_seconds)
    started = time.perf_counter()
    part = int(found.report.get("parts", 1))
    plan = origin.plan.further(budget, origin.fitted, 1000 * part + seed, max_seconds)
    return added(carry_out(plan, started), found.report)


def origin_of(found: Calibration) -> Origin:
    """How a calibration was made.

    Raises:
        ValueError: it does not know, or its method cannot go on.
    """
    if found.origin is None:
        raise ValueError(
            "this calibration was read from a file or a pickle and holds no simulator: calibrate again, with folder= and "
            "resume=True to use runs that were kept."
        )
    if found.origin.plan.how in BASELINES:
        raise ValueError(f"method={found.origin.plan.how!r} of sbi cannot go on from earlier runs: calibrate again.")
    return found.origin


def added(new: Calibration, before: dict[str, Any]) -> Calibration:
    """Count what was spent before in the report."""
    for key in ("budget", "simulations", "calls", "seconds"):
        new.report[key] += before[key]
    new.report["seed"], new.report["parts"] = before["seed"], before.get("parts", 1) + 1
    new.report["rounds"] = before["rounds"] + new.report["rounds"]
    return new
