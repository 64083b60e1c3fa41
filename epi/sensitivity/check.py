"""Derivatives compared with central differences with common random numbers: is the gradient biased, and by how much?"""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
import xarray as xr

from epi.sensitivity.outputs import Array, Output
from epi.sensitivity.simulate import Advance, Work

PURPOSE = "check, differences with common random numbers"
STEP = 0.25
"""Half step in z. Smaller steps drown in chance, larger ones in curvature (chosen)."""
LOG_STEP = 0.2
"""Half step of the log of a week's transmission."""


def check_calibrated(
    work: Work, z: Array, output: Output, top: list[int], streams: int, advance: Advance
) -> pd.DataFrame:
    """The largest calibrated inputs at one point `z [D]`: gradient and central difference, over the same random streams.

    Returns:
        `input, gradient, gradient_se, difference, difference_se, bias, bias_low, bias_high, sentence`.
    """
    points = np.repeat(z[None], streams, 0)
    own = np.arange(streams)
    _, g = work.gradients(points, [output], PURPOSE, 60, streams=own, advance=advance)
    rows = []
    for i in top:
        up, down = points.copy(), points.copy()
        up[:, i] += STEP
        down[:, i] -= STEP
        ends = [output.value(work.values(p, PURPOSE, 60, streams=own, advance=advance)) for p in (up, down)]
        rows.append(_row(work.simulator.space.names[i], g[:, 0, i], (ends[0] - ends[1]) / (2 * STEP)))
    return pd.DataFrame(rows)


def check_weeks(
    work: Work, z: Array, output: Output, data: xr.Dataset, index: int, streams: int, advance: Advance, count: int = 10
) -> pd.DataFrame:
    """The venue-weeks of largest elasticity: `d output / d log transmission` against differences."""
    table = data["transmission_week"].isel(output=index).values
    error = data["transmission_week_se"].isel(output=index).values * float(data.attrs["streams"]) ** 0.5
    order = np.argsort(-np.abs(table), axis=None)[:count]
    theta1 = work.theta(torch.as_tensor(z)[None])
    rows = []
    for venue, week in zip(*np.unravel_index(order, table.shape), strict=True):
        ends = []
        for sign in (1, -1):
            values = []
            for start in range(0, streams, work.batch):
                own = torch.arange(start, min(start + work.batch, streams))
                theta = {n: x.expand(len(own), *x.shape[1:]) for n, x in theta1.items()}

                def change(rates, venue=venue, week=week, sign=sign):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
                    factor = torch.ones_like(rates.transmission)
                    factor[:, venue, 7 * week : 7 * week + 7] = float(np.exp(sign * LOG_STEP))
                    return type(rates)(**{**vars(rates), "transmission": rates.transmission * factor})

                with torch.no_grad():
                    flat = work.from_rates(theta, change, 50, own).double().cpu().numpy()
                values.append(output.value(flat))
                work.ledger.add(PURPOSE, len(own), 0, 0, 0.0)
                advance(len(own))
            ends.append(np.concatenate(values))
        name = f"{data['venue'].values[venue]}, week from {data['week'].values[week]}"
        se = error[venue, week] / float(data.attrs["streams"]) ** 0.5
        rows.append(_row(name, table[venue, week], (ends[0] - ends[1]) / (2 * LOG_STEP), se))
    return pd.DataFrame(rows)


def _row(name: str, gradient: Array | float, difference: Array, se: float | None = None) -> dict[str, object]:
    n = len(difference)
    mean, fd = float(np.mean(gradient)), float(difference.mean())
    own = float(np.std(gradient, ddof=1) / n**0.5) if se is None else float(se)
    fd_se = float(difference.std(ddof=1) / n**0.5)
    gap, gap_se = mean - fd, (own**2 + fd_se**2) ** 0.5
    size = abs(fd) if abs(fd) > 1e-12 else float("nan")
    bias = gap / fd if abs(fd) > 1e-12 else float("nan")
    return {
        "input": name, "gradient": mean, "gradient_se": own, "difference": fd, "difference_se": fd_se, "bias": bias,
        "bias_se": gap_se / size, "sentence": bias_sentence(gap * (1 if fd >= 0 else -1), gap_se, abs(fd)),
    }  # fmt: skip


def bias_sentence(gap: float, se: float, size: float) -> str:
    """What a gap between gradient and difference means; positive where the gradient is the larger in size."""
    if not np.isfinite(gap) or not np.isfinite(se):
        return "could not be compared: a run failed"
    if size < 2 * se or size == 0:
        return "too small to be separated from chance by differences"
    if abs(gap) <= 2 * se:
        return f"agrees; a bias above {100 * (abs(gap) + 2 * se) / size:.0f} % is excluded"
    side = "large" if gap > 0 else "small"
    return f"biased: {100 * abs(gap) / size:.0f} % too {side}, {abs(gap) / se:.1f} standard errors"
