"""Counts with noise that may be shown to everybody, and what that promises to whom."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

import torch
from torch import Tensor

from calib._noise import derive_seed
from calib._short_repr import short_repr
from calib.privacy._accountant import ACCOUNTANT, concentrated, epsilon_bound, epsilon_of, rho_within
from calib.privacy._allocation import StreamInformation, allocate
from calib.privacy._discrete_gaussian import sample

STEP = 64
"""Noise is rounded up to a multiple of 1 / STEP."""
MIN_SHARE = 1e-4
"""A stream gets at least this share of the budget."""


@dataclass(frozen=True, eq=False)
class Released:
    """What may be shown.

    Attributes:
        counts: by stream, with noise; some may be negative. NaN stays where nothing was counted.
        sd: by stream, parameter of the discrete Gaussian noise of each entry.
        epsilon: what the noise comes to, at most what was asked for.
        delta: of the promise.
        rho: the same as zero-concentrated differential privacy.
        entries: by stream, entries that one person may change.
        statement: what is promised, in words.
    """

    __repr__ = short_repr

    counts: dict[str, Tensor]
    sd: dict[str, float]
    epsilon: float
    delta: float
    rho: float
    entries: dict[str, int]
    statement: str


def release(
    counts: Mapping[str, Tensor],
    *,
    per_person: Mapping[str, int] | int,
    epsilon: float,
    delta: float,
    information: Mapping[str, StreamInformation] | None = None,
    person: str = "a person",
    seed: int | None = None,
) -> Released:
    """Add discrete Gaussian noise to counts of people.

    Args:
        counts: by stream, whole numbers, NaN where nothing was counted. Which entries are NaN is public.
        per_person: how many entries of each stream one person may change, each by at most one: cases of somebody who may test positive
            in two weeks and is counted by district and by age change two entries in either stream.
        epsilon: the promise, positive.
        delta: the promise, between 0 and 1, well below one over the number of people.
        information: by stream, by which the noise is allocated; None for equal noise.
        person: whose presence is protected, for the statement.
        seed: None for the operating system's entropy. A number is for simulations: whoever knows it can take the noise away.

    Returns:
        The counts with noise, the noise, and the statement.

    Raises:
        ValueError: counts that are not whole numbers, a number of entries below one, or an epsilon or delta out of range.
        MissingAccountant: dp-accounting is not installed.

    Examples:
        >>> import torch
        >>> from calib.privacy import release
        >>> cases = {"cases": torch.tensor([[30.0, 4.0], [51.0, 9.0]])}
        >>> shown = release(cases, per_person=2, epsilon=1.0, delta=1e-6, seed=0)  # doctest: +SKIP
    """
    entries = {name: per_person if isinstance(per_person, int) else per_person[name] for name in counts}
    _check(counts, entries, epsilon, delta)
    share = allocate(entries, information, rho_within(epsilon, delta))
    least = {name: max(x, MIN_SHARE) for name, x in share.items()}
    whole = sum(least.values())

    def noise(rho: float) -> dict[str, float]:
        sds = {name: math.sqrt(entries[name] / (2 * rho * x / whole)) for name, x in least.items()}
        return {name: math.ceil(sd * STEP) / STEP for name, sd in sds.items()}

    # the bound by rho is safe; the accountant finds less noise that keeps the promise
    low = rho_within(epsilon, delta)
    high = 4 * low
    for _ in range(8):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if epsilon_of(noise(middle), entries, delta) <= epsilon else (low, middle)
    sds = noise(low)
    spent = epsilon_of(sds, entries, delta)
    if spent > epsilon:
        raise ValueError(f"the accountant finds epsilon {spent:.4g} for the bound of {epsilon:g}; report this.")
    shown = {
        name: _noisy(x, sds[name], None if seed is None else derive_seed(seed, 0, name)) for name, x in counts.items()
    }
    rho = concentrated(sds, entries)
    return Released(
        shown, sds, spent, delta, rho, entries, _statement(sds, entries, spent, delta, rho, person, seed is not None)
    )


def _noisy(counts: Tensor, sd: float, seed: int | None) -> Tensor:
    known = torch.isfinite(counts)
    drawn = sample(Fraction(sd) ** 2, int(known.sum()), seed)
    out = counts.double().clone()
    out[known] += torch.tensor(drawn, dtype=torch.float64)
    return out


def _check(counts: Mapping[str, Tensor], entries: Mapping[str, int], epsilon: float, delta: float) -> None:
    if not epsilon > 0 or not 0 < delta < 1:
        raise ValueError(
            f"epsilon {epsilon:g} and delta {delta:g} were asked for, expected epsilon above 0 and delta between 0 and 1."
        )
    for name, x in counts.items():
        known = x[torch.isfinite(x)]
        if not bool((known == known.round()).all()):
            raise ValueError(
                f"stream {name} holds {float(known[known != known.round()][0]):g}, expected whole numbers."
            )
        if entries[name] < 1:
            raise ValueError(
                f"a person changes {entries[name]} entries of stream {name}, expected at least 1: leave out a stream without people."
            )


def _statement(
    sds: Mapping[str, float],
    entries: Mapping[str, int],
    epsilon: float,
    delta: float,
    rho: float,
    person: str,
    seeded: bool,
) -> str:
    """What is promised to whom."""
    streams = ", ".join(
        f"{name} (at most {entries[name]} {'entry' if entries[name] == 1 else 'entries'} a person, noise of sd {sd:.2f})"
        for name, sd in sds.items()
    )
    text = (
        f"The counts carry discrete Gaussian noise: {streams}. Promise to {person} in them: whoever sees all released counts, and knows "
        f"everything about everybody else, is by at most a factor e^{epsilon:.3g} = {math.exp(epsilon):.2f} surer whether {person} is in the "
        f"data, but for a probability of {delta:.1g}. This is ({epsilon:.3g}, {delta:.1g})-differential privacy for adding or removing one "
        f"person, accounted by the {ACCOUNTANT}; as a bound, rho = {rho:.4g} zero-concentrated differential privacy, which gives epsilon "
        f"{epsilon_bound(rho, delta):.3g}. It holds if nobody changes more entries, or an entry by more than one. It is spent for good: a "
        "further release of the same people adds to it. Not promised: that the holder of the data keeps them safe, or that what the counts "
        "say of all people together says nothing of one."
    )
    return text + (
        " The noise was drawn from a seed, for a simulation: whoever knows the seed can take it away." if seeded else ""
    )
