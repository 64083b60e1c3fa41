"""When an objective has settled: a pure rule over its history."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike


@dataclass(frozen=True)
class StopRule:
    """The later half of a window must not exceed the earlier half by more than chance.

    The window grows with the run, so a slow rise that a short window could not tell from noise is seen by a
    longer one.

    Attributes:
        min_steps: no verdict before so many values.
        min_window: smallest window, in values.
        window_fraction: size of the window as a fraction of the history.
        z: the rise counts as chance below so many standard errors.
        tolerance: a rise over half a window that is too small to matter, in nats, however certain.
        check_every: steps between verdicts (each look is another chance to stop early).
    """

    min_steps: int = 200
    min_window: int = 100
    window_fraction: float = 0.5
    z: float = 0.5
    tolerance: float = 0.05
    check_every: int = 10

    def __post_init__(self) -> None:
        if self.min_window < 8 or self.min_steps < self.min_window or not 0 < self.window_fraction <= 1:
            raise ValueError(
                f"stop rule with min_window {self.min_window}, min_steps {self.min_steps}, window_fraction "
                f"{self.window_fraction}: expected 8 <= min_window <= min_steps and a fraction in (0, 1]"
            )


@dataclass(frozen=True)
class Convergence:
    """A verdict and what it rests on.

    Attributes:
        converged: whether the objective has settled.
        rise: mean of the later half minus mean of the earlier half, nats.
        noise: standard error of the rise, nats.
        window: number of values looked at.
    """

    converged: bool
    rise: float
    noise: float
    window: int


def has_converged(values: ArrayLike, rule: StopRule | None = None) -> Convergence:
    """Judge whether a noisy objective has stopped rising.

    Args:
        values: the objective by step, `[step]`; steps without a value are NaN.
        rule: how to judge.

    Returns:
        The verdict. The 5 % of values at either end of the window are pulled in, so single outliers do not
        widen the noise until a rise passes as chance.

    Examples:
        >>> import numpy as np
        >>> from calib import has_converged
        >>> noise = np.random.default_rng(0).standard_normal(1000)
        >>> has_converged(noise).converged, has_converged(noise + np.arange(1000.0)).converged
        (True, False)
    """
    rule = rule or StopRule()
    history = np.asarray(values, dtype=float)
    finite = history[np.isfinite(history)]
    window = max(rule.min_window, int(rule.window_fraction * finite.size))
    if finite.size < max(rule.min_steps, window):
        return Convergence(False, float("nan"), float("nan"), window)
    recent = finite[-window:]
    recent = np.clip(recent, *np.quantile(recent, [0.05, 0.95]))
    early, late = recent[: window // 2], recent[window // 2 :]
    rise = float(late.mean() - early.mean())
    noise = float(np.sqrt(early.var(ddof=1) / early.size + late.var(ddof=1) / late.size))
    return Convergence(rise <= max(rule.z * noise, rule.tolerance), rise, noise, window)


def smooth(values: ArrayLike, half_life: float = 15.0) -> np.ndarray:
    """Exponentially weighted mean of a history, blind to its gaps.

    Args:
        values: `[step]`, NaN where there is none.
        half_life: steps after which a value counts half.

    Returns:
        `[step]`, NaN before the first value.

    Examples:
        >>> import numpy as np
        >>> from calib import smooth
        >>> smooth(np.array([0.0, 1.0, 1.0]), half_life=1.0).round(2)
        array([0.  , 0.67, 0.86])
    """
    decay = 0.5 ** (1 / half_life)
    total = weight = 0.0
    out = []
    for value in np.asarray(values, dtype=float).tolist():
        if np.isfinite(value):
            total, weight = decay * total + value, decay * weight + 1.0
        out.append(total / weight if weight else float("nan"))
    return np.array(out)
