"""The weekly update of a calibration from counts that a protocol brought."""

from __future__ import annotations

from typing import Any

from calib import Calibration, update


def sync(found: Calibration, counts: Any) -> Calibration:
    """Bring a calibration up to date with this week's counts.

    Args:
        found: the calibration of last week.
        counts: data of the same shape, in which weeks that were missing are now known; sums over parties, or a private release.

    Returns:
        The calibration of this week (`calib.update`).

    Raises:
        ValueError: the data have another shape.
    """
    return update(found, counts)
