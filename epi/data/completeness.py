"""How much of a count is known so far, from what was published week after week (chain ladder)."""

from __future__ import annotations

import numpy as np
import pandas as pd

from epi.errors import DataError

__all__ = ["share_known"]


def share_known(vintages: pd.DataFrame, reports: int) -> pd.DataFrame:
    """Share of a week's count that its first, second, ... report holds, of the last report that is followed.

    The chain ladder: sums over weeks of the next report over those of a report, multiplied from a report to the last one. The scatter is that
    of the logarithms of the single weeks' ratios, added along the chain; it has no smaller bound than the chance of few counts gives it.

    Args:
        vintages: one row a publication (index, in order), one column a week; NaN where a publication does not hold the whole week.
        reports: number of reports after the first that are followed; from the last on all is taken to be known.

    Returns:
        Rows by report (1, 2, ...): `known`, `log_sd`, `weeks` (weeks in the ratio to the next report).

    Raises:
        DataError: publications are out of order, a report count is below 1, or some report is followed by none.

    References:
        Mack 1993, ASTIN Bulletin 23:213.

    Examples:
        >>> table = pd.DataFrame([[80, np.nan], [100, 160], [100, 200]], index=[1, 2, 3])
        >>> share_known(table, 1)["known"].tolist()
        [0.8, 1.0]
    """
    if not vintages.index.is_monotonic_increasing or vintages.index.has_duplicates:
        raise DataError("Vintages are out of order or one is there twice, expected publications in order; sort them.")
    if reports < 1:
        raise DataError(f"{reports} reports are followed, expected one or more; give a larger number.")
    columns = [column[np.isfinite(column)] for column in vintages.to_numpy(float).T]
    factors, spread, count = [], [], []
    for k in range(reports):
        pairs = np.array([(c[k], c[k + 1]) for c in columns if len(c) > k + 1 and c[k] > 0])
        if not len(pairs):
            raise DataError(f"No week has a report {k + 2}, expected {reports + 1} reports of some week; follow fewer.")
        factors.append(pairs[:, 1].sum() / pairs[:, 0].sum())
        logs = np.log(np.maximum(pairs[:, 1], 0.5) / pairs[:, 0])
        chance = abs(1 - 1 / factors[-1]) / pairs[:, 0].mean()
        spread.append(max(float(logs.var(ddof=1)) if len(logs) > 1 else 0.0, chance))
        count.append(len(pairs))
    known = 1 / np.cumprod(factors[::-1])[::-1]
    sd = np.sqrt(np.cumsum(spread[::-1])[::-1])
    index = pd.RangeIndex(1, reports + 2, name="report")
    return pd.DataFrame({"known": [*known, 1.0], "log_sd": [*sd, 0.0], "weeks": [*count, 0]}, index=index)
