"""A judgement in words, and how a p-value becomes one."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Word = Literal["pass", "warn", "fail", "not run"]
Array = NDArray[np.float64]

WARN, FAIL = 0.05, 0.01
"""Below the first p-value a verdict warns, below the second it fails."""


@dataclass(frozen=True)
class Verdict:
    """What a diagnostic found.

    Attributes:
        name: of the diagnostic.
        word: "pass", "warn", "fail", or "not run" where its arrays were not given.
        value: the number judged; NaN if not run.
        threshold: the values at which it warns and fails, in words.
        text: what was found, a sentence.
        advice: what to do; empty if passed.
    """

    name: str
    word: Word
    value: float
    threshold: str
    text: str
    advice: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain data; None for a value that is not finite."""
        return asdict(self) | {"value": self.value if math.isfinite(self.value) else None}


def word_of(p_value: float) -> Word:
    """A p-value passes from 0.05 and warns from 0.01; below it, and NaN, fail."""
    return "pass" if p_value >= WARN else "warn" if p_value >= FAIL else "fail"


P_THRESHOLD = f"warns below p = {WARN}, fails below {FAIL}"


def said(p_value: float) -> str:
    """`p = 0.03`, or `p < 0.001`."""
    return f"p = {p_value:.2g}" if p_value >= 1e-3 else "p < 0.001"


def percent(share: float, decimals: int = 0) -> str:
    """`93 %`."""
    return f"{100 * share:.{decimals}f} %"


def holm(p_values: ArrayLike) -> Array:
    """P-values adjusted for their number (Holm 1979), in the order given."""
    p = np.asarray(p_values, dtype=float)
    order = np.argsort(p)
    stepped = np.maximum.accumulate(p[order] * (p.size - np.arange(p.size)))
    out = np.empty_like(p)
    out[order] = np.minimum(stepped, 1.0)
    return out


def array(name: str, value: ArrayLike, axes: str) -> Array:
    """A finite float array with the axes named, e.g. `"N, S, D"`.

    Raises:
        ValueError: it has another number of axes, is empty, or an entry is not finite.
    """
    out = np.asarray(value.detach().cpu() if hasattr(value, "detach") else value, dtype=float)
    if out.ndim != len(axes.split(",")) or out.size == 0:
        raise ValueError(f"{name} has shape {out.shape}; give an array [{axes}] that is not empty.")
    bad = int((~np.isfinite(out)).sum())
    if bad:
        raise ValueError(
            f"{name} holds {bad} entries of {out.size:,} that are not finite; leave out the failed simulations, and count them."
        )
    return out


def same(**sizes: tuple[str, int, int]) -> None:
    """Check that axes agree: `thetas=("N", found, expected)`.

    Raises:
        ValueError: the first that does not.
    """
    for name, (axis, found, expected) in sizes.items():
        if found != expected:
            raise ValueError(
                f"{name} has {found} along axis {axis}, where the other arrays have {expected}; make them agree."
            )
