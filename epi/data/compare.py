"""Tables of a study against each other: counts that no epidemic among its people can have."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from epi.errors import DataError
from epi.study import Campaign, Schools, Stream, Study, Vaccination, Workplaces

__all__ = ["people", "tested", "totals", "venues"]

MOST_DOSES = 1.2
"""Doses of a campaign for each person of an age: registers and censuses count people differently."""


def tested(stream: Stream, positive: pd.DataFrame, tested: pd.DataFrame, column: str) -> None:
    """Nobody is positive who was not tested."""
    bad = (positive > tested).stack()
    if bad.any():
        week, place = bad.index[int(np.flatnonzero(bad.to_numpy())[0])]
        raise DataError(
            f"{stream.table} has {positive.loc[week, place]:,.0f} {stream.column} of {tested.loc[week, place]:,.0f} {column} for {place!r} "
            f"in the week ending {week.date()}, expected no more positive than tested; correct the row."
        )


def totals(study: Study, series: dict[str, pd.DataFrame]) -> None:
    """Cases by region and by age must tell of one epidemic: totals over the common weeks agree."""
    cases = [s for s in study.observed if s.kind == "cases"]
    for other in cases[1:]:
        first, within = cases[0], getattr(other, "agree_within", 0.05)
        one, two = series[first.name], series[other.name]
        common = one.index.intersection(two.index)
        if not len(common):
            raise DataError(
                f"{first.table} and {other.table} have no week in common; both must cover the study's weeks."
            )
        a, b = int(one.loc[common].to_numpy().sum()), int(two.loc[common].to_numpy().sum())
        if abs(a - b) > within * max(a, 1):
            raise DataError(
                f"{first.table} counts {a:,} cases in the weeks {common[0].date()} to {common[-1].date()} and {other.table} {b:,}, "
                f"expected to agree within {within:.0%}; check both for missing or repeated counts."
            )


def people(study: Study, series: dict[str, pd.DataFrame], population: NDArray[np.int64]) -> None:
    """Nobody falls ill, is admitted or dies twice in a week: a week's count is at most the people of its place."""
    region = study.region
    by = {region.axis: dict(zip(region.names, population.sum(1).tolist(), strict=True))}
    by["age"] = dict(zip(study.ages.names, population.sum(0).tolist(), strict=True))
    by[region.area_axis] = {area: sum(by[region.axis][name] for name in names) for area, names in region.areas.items()}
    for s in study.observed:
        if s.kind not in ("cases", "admissions", "deaths"):
            continue
        table = series[s.name]
        people = pd.Series(
            [by.get(s.by, {}).get(place, int(population.sum())) for place in table.columns], table.columns
        )
        bad = (table > people).stack()
        if bad.any():
            week, place = bad.index[int(np.flatnonzero(bad.to_numpy())[0])]
            raise DataError(
                f"{s.table} has {table.loc[week, place]:,.0f} {s.column} for {place!r} in the week ending {week.date()}, expected at most the "
                f"{people[place]:,} people of population.csv; correct the row."
            )


def venues(
    study: Study,
    schools: pd.DataFrame | None,
    work: pd.DataFrame | None,
    campaign: pd.DataFrame | None,
    population: NDArray[np.int64],
) -> None:
    """No region has more pupils or employees than people, and no age more doses of a campaign than a fifth over its people."""
    names, axis = study.region.names, study.region.axis
    people = dict(zip(names, population.sum(1).tolist(), strict=True))
    counted: list[tuple[str, str, dict[str, int]]] = []
    if schools is not None:
        part = study.need(Schools, "The population")
        pupils = (schools["size"] * schools["schools"]).groupby(schools[axis]).sum()
        counted.append((part.table, "pupils", {str(k): int(v) for k, v in pupils.items()}))
    if work is not None:
        part_of_work = study.need(Workplaces, "The population")
        counted.append((part_of_work.table, "employees", {str(k): int(v) for k, v in work["employees"].items()}))
    for table, what, totals in counted:
        for name, total in totals.items():
            if total > people[name]:
                raise DataError(
                    f"{table} has {total:,} {what} for {name!r}, expected at most the {people[name]:,} people of population.csv; correct it."
                )
    if campaign is not None:
        for band, doses, here in zip(
            study.ages.names, campaign.max().tolist(), population.sum(0).tolist(), strict=True
        ):
            if doses > MOST_DOSES * here:
                raise DataError(
                    f"{_campaign_of(study).table} has {doses:,} doses for {band!r}, expected at most {MOST_DOSES:g} times the {here:,} "
                    "people of population.csv; correct it."
                )


def _campaign_of(study: Study) -> Campaign:
    campaign = study.need(Vaccination, "The campaign").campaign
    assert campaign is not None
    return campaign
