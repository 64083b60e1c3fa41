"""A problem with a known posterior."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from calib import Calibration

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Reference:
    """What is known of a posterior.

    Attributes:
        mean, sd: of each parameter by name, `[*event]`.
        draws: `[S, D]` draws of the posterior, parameters side by side in the order of `mean`; None where only moments are known.
        how: where it comes from, in words.
    """

    mean: Mapping[str, Array]
    sd: Mapping[str, Array]
    how: str
    draws: Array | None = None


@dataclass(frozen=True, eq=False)
class Case:
    """A problem, built.

    Attributes:
        arguments: of `calib.calibrate`, all but budget, seed and method.
        reference: the answer.
        values: from a calibration and draws of its parameters to what the reference names; None if these are the parameters.
    """

    arguments: Mapping[str, Any]
    reference: Reference
    values: Callable[[Calibration, Mapping[str, Tensor]], Mapping[str, Tensor]] | None = None


@dataclass(frozen=True, eq=False)
class Problem:
    """A problem of the gallery.

    Attributes:
        name: its own.
        build: makes the case; called once a process.
        tags: what is difficult about it.
        budget: simulations (log densities for a Pyro model) that a sensible user would give.
        methods: methods that apply besides "auto".
    """

    name: str
    build: Callable[[], Case]
    tags: tuple[str, ...] = ()
    budget: int = 2000
    methods: tuple[str, ...] = field(default=())
