"""The first screen of a report: what an analyst asks first, each number with its interval."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calib.plotting import interval, number
from epi.errors import NotKept
from epi.outputs.run_files import RunFiles
from epi.reporting.sentences import about, day
from epi.study import Admissions, Cases, Occupancy, Stream

WEEKS_AHEAD = (1, 2, 3, 4)
CONVERGED = 1.05
"""Largest R-hat of chains that agree."""


@dataclass(frozen=True)
class KeyNumber:
    """One row of the first screen.

    Attributes:
        question: what is asked, in a few words.
        answer: median with its 95 % interval, and the unit.
        note: what the reader must know beside it; may be empty.
    """

    question: str
    answer: str
    note: str = ""


def key_numbers(run: RunFiles) -> list[KeyNumber]:
    """Infections, attack rate, peak, ascertainment, severity and Rt; those that the run's study gives.

    Args:
        run: a finished run; `derived.csv` and `derived.nc` are read.

    Returns:
        Rows in the order of reading; empty for a run of a version without derived quantities.
    """
    try:
        table, draws = run.derived, run.derived_draws
    except NotKept:
        return []
    until, people = day(run.weeks[-1]), float(run.people_by_region.sum())
    found = []
    attack = _values(draws, "attack_rate_all")
    if attack is not None:
        found.append(
            KeyNumber("People infected", _rounded(attack[:, 0] * people / 100), f"to {until}, reported or not")
        )
        found.append(
            KeyNumber("Attack rate", f"{_of(attack[:, 0])} %", "infections for each 100 people; second ones count")
        )
    weekly = _values(draws, "infections_all")
    if weekly is not None:
        weekly = weekly[..., 0]
        found.append(_peak(run, weekly))
    for row in table[(table.quantity == "ascertainment") & (table.by == "regime")].itertuples():
        label = f"Infections reported ({_plain(str(row.place))})"
        found.append(
            KeyNumber(label, f"{interval(row.median, row.q025, row.q975)} %", "share of infections ever reported")
        )
    for quantity, label in (
        ("infection-hospitalisation ratio", "Infections that lead to a hospital admission"),
        ("infection-fatality ratio", "Infections that lead to a death"),
    ):
        rows = table[(table.quantity == quantity) & (table.by == "all")]
        if len(rows):
            row = rows.iloc[0]
            found.append(KeyNumber(label, f"{interval(row['median'], row.q025, row.q975)} %", "all ages together"))
    rt = table[(table.quantity == "Rt") & (table.by == "all") & (table.week <= run.last_fitted)]
    if len(rt):
        row = rt.iloc[-1]
        found.append(
            KeyNumber(
                f"Rt in the week to {day(str(row.week))}",
                interval(row["median"], row.q025, row.q975),
                "last week of data used",
            )
        )
    return found


def _peak(run: RunFiles, weekly: NDArray[np.float64]) -> KeyNumber:
    weeks = np.sort(weekly.argmax(1))
    low, middle, high = (run.weeks[int(weeks[round(q * (len(weeks) - 1))])] for q in (0.025, 0.5, 0.975))
    span = "" if low == high else f" ({day(low)} to {day(high)})"
    return KeyNumber(
        "Week with most infections", f"to {day(middle)}{span}", f"{_rounded(weekly.max(1))} people infected in it"
    )


def forecast_rows(run: RunFiles) -> tuple[list[str], list[list[str]]]:
    """The next weeks: cases, admissions and people in hospital, with 95 % intervals and what was reported afterwards.

    Returns:
        Column heads, and one row a week.
    """
    streams = [s for kind in (Cases, Admissions, Occupancy) if (s := run.study.first_stream(kind)) is not None]
    first = run.weeks.index(run.forecast_from)
    ahead = [first + k - 1 for k in WEEKS_AHEAD if first + k - 1 < len(run.weeks)]
    heads, columns = ["week to"], []
    for s in streams:
        drawn, observed = run.predicted(s.name).sum(-1), run.observed(s.name).sum(-1)
        heads += [_title(s), "then reported"]
        columns.append([_rounded(drawn[:, w]) for w in ahead])
        columns.append([number(observed[w]) for w in ahead])
    return heads, [
        [day(run.weeks[w]).replace(" ", "\u00a0"), *(column[i] for column in columns)] for i, w in enumerate(ahead)
    ]


def _title(stream: Stream) -> str:
    return (
        "people in hospital"
        if isinstance(stream, Occupancy)
        else "admissions"
        if isinstance(stream, Admissions)
        else "cases"
    )


def sampler_sentence(run: RunFiles) -> str:
    """One line: whether the draws may be used."""
    found = run.manifest.get("sampler")
    if not found:
        return "The draws are those of a fitted distribution, not of chains: read the section on the computation before using intervals."
    r_hat = math.inf if found["r_hat"] is None else float(found["r_hat"])  # not finite where chains never moved
    effective = float(found["effective"])
    numbers = f"{found['chains']} chains, R-hat {r_hat:.2f}, at least {effective:,.0f} effective draws"
    emulator = run.manifest.get("emulator")
    tail = f"; emulator error {emulator['error_median']:.0%} in the median count" if emulator else ""
    if r_hat <= CONVERGED:
        return f"Sampler checks passed: {numbers}{tail}."
    return f"Sampler checks did not pass: {numbers}{tail}. The chains disagree (R-hat should be below {CONVERGED}): do not use the intervals."


def _values(draws: object, name: str) -> NDArray[np.float64] | None:
    """`[draw, ...]` of a derived quantity, finite draws alone."""
    if name not in draws:  # type: ignore[operator]
        return None
    x = np.asarray(draws[name].values, dtype=np.float64)  # type: ignore[index]
    x = x[np.isfinite(x).reshape(len(x), -1).all(1)]
    return x if len(x) else None


def _of(x: NDArray[np.float64]) -> str:
    low, middle, high = np.quantile(x, (0.025, 0.5, 0.975))
    return interval(float(middle), float(low), float(high))


def _rounded(x: NDArray[np.float64]) -> str:
    low, middle, high = np.quantile(x, (0.025, 0.5, 0.975))
    return f"{about(float(middle))} ({about(float(low))} to {about(float(high))})"


def _plain(name: str) -> str:
    """A name as people write it: `home_tests` is `home tests`, `pcr` is `PCR`."""
    return name.upper() if len(name) <= 3 else name.replace("_", " ")
