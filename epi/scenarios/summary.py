"""Judging: what the worlds differ by, with intervals."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from epi.outputs.former_names import region_axis
from epi.scenarios.run import AGAINST, CALIBRATED

LEVELS = (0.025, 0.25, 0.5, 0.75, 0.975)
COLUMNS = ("low_95", "low_50", "median", "high_50", "high_95")
MEASURES = ("infections", "admissions", "deaths")


class Compared(Protocol):
    """A scenario whose world is compared with another: a question, or a changed study."""

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def against(self) -> Any: ...  # noqa: D102


def reference(question: Compared) -> str:
    """The world that a question's is compared with."""
    return question.name + AGAINST if question.against is not None else CALIBRATED


def country_of(data: xr.Dataset) -> str:
    """Name of all regions together."""
    return str(data.attrs.get("country", "all regions"))


def quantiles(values: NDArray[np.float64], axis: int = 0) -> NDArray[np.float64]:
    """The five levels of `LEVELS` in front."""
    return np.quantile(values, LEVELS, axis=axis)


def averted(data: xr.Dataset, questions: Sequence[Compared]) -> pd.DataFrame:
    """Infections, admissions and deaths averted: in all, by age and by region.

    Averted is the reference less the world of the question, draw by draw with common random numbers; negative where the question's world
    has more. `share` is of the reference's number.

    Returns:
        One row a question, measure, level (`all`, `age`, and the study's name of a region) and place, with quantiles of number and share.
    """
    rows = []
    for question in questions:
        for measure in MEASURES:
            pair = [data[measure].sel(world=w) for w in (reference(question), question.name)]
            for level, place, before, after in _cells(
                pair[0].sum("week"), pair[1].sum("week"), country_of(data), region_axis(data)
            ):
                number = quantiles(before - after)
                share = quantiles((before - after) / np.maximum(before, 1e-9))
                rows.append(
                    {"question": question.name, "measure": measure, "level": level, "place": place}
                    | {"reference_median": float(np.median(before)), "world_median": float(np.median(after))}
                    | dict(zip(COLUMNS, number.tolist(), strict=True))
                    | {f"share_{c}": x for c, x in zip(COLUMNS, share.tolist(), strict=True)}
                )
    return pd.DataFrame(rows)


def levels_of(table: pd.DataFrame) -> tuple[str, str]:
    """Age and the study's name of a region, from a table of `averted`."""
    (axis,) = set(table.level) - {"all", "age"}
    return "age", str(axis)


def _cells(
    before: xr.DataArray, after: xr.DataArray, country: str, axis: str
) -> Iterator[tuple[str, str, NDArray[np.float64], NDArray[np.float64]]]:
    places = (axis, "age")
    yield "all", country, before.sum(places).values, after.sum(places).values
    for level, other in (("age", axis), (axis, "age")):
        for place in before[level].values:
            one, two = (x.sel({level: place}).sum(other).values for x in (before, after))
            yield level, str(place), one, two


def curves(data: xr.Dataset, questions: Sequence[Compared], places: Sequence[str] = ()) -> pd.DataFrame:
    """Weekly curves of each question's two worlds, of the country and of some regions, with quantiles."""
    rows, country, axis = [], country_of(data), region_axis(data)
    for question in questions:
        for role, world in (("reference", reference(question)), ("question", question.name)):
            for measure in MEASURES:
                by_region = data[measure].sel(world=world).sum("age")
                for place in (country, *places):
                    values = by_region.sum(axis) if place == country else by_region.sel({axis: place})
                    for week, q in zip(data["week"].values, quantiles(values.values).T, strict=True):
                        rows.append(
                            {
                                "question": question.name,
                                "world": role,
                                "measure": measure,
                                "place": place,
                                "week": str(week),
                            }
                            | dict(zip(COLUMNS, q.tolist(), strict=True))
                        )
    return pd.DataFrame(rows)


def needless(data: xr.Dataset, question: Compared) -> NDArray[np.float64] | None:
    """Quantiles of the days of isolation without cause that the question's world has more than its reference; None where neither has any."""
    before, after = (
        data["needless_isolation"].sel(world=w).sum("week").values for w in (reference(question), question.name)
    )
    return quantiles(after - before) if before.any() or after.any() else None


def peak_in_hospital(data: xr.Dataset, question: Compared) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Quantiles of the people in hospital on a day of the country's worst week: in the reference and in the question's world."""
    country = data["in_hospital"].sum(region_axis(data)).max("week")
    before, after = (quantiles(country.sel(world=w).values) for w in (reference(question), question.name))
    return before, after
