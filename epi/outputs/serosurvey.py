"""Antibody surveys of a fitted epidemic: what a design would find, by region and age, with intervals over posterior draws."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from calib.numerics import derive_seed
from epi.errors import StudyError
from epi.model.antibody import converted_by, ever_infected, has_antibody
from epi.model.serology import SurveyDesign, draw_positives, groups_of, share_positive, shifted, window_mean
from epi.outputs.reload import Fitted
from epi.study import LogNormal, Study

__all__ = ["Cells", "age_label", "cells_of", "infections_of", "survey_table", "weekly_windows"]

QUANTILES = (0.025, 0.25, 0.5, 0.75, 0.975)
COLUMNS = (
    "quantity", "area", "age_band", "first_sample", "last_sample", "sensitivity", "specificity", "quantile", "value",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Cells:
    """Infections of some areas and ages.

    Attributes:
        study: gives the calendar.
        labels: area and age of each of the X cells.
        infections: `[S, T, X]` people by day.
        people: `[X]`.
    """

    study: Study
    labels: tuple[tuple[str, str], ...]
    infections: Tensor
    people: Tensor


def infections_of(fitted: Fitted, draws: int | None = None, seed: int = 0) -> Tensor:
    """`[S, T, R, A]` infections by day of posterior draws, evenly spaced, to the last day that `fitted` simulates."""
    count = fitted.draws if draws is None else draws
    if not 1 <= count <= fitted.draws:
        raise StudyError(f"{count} draws were asked for, and the run has {fitted.draws}; choose from 1 to these.")
    at = torch.linspace(0, fitted.draws - 1, count, dtype=torch.float64).round().long()
    own, rows = derive_seed(seed, 0, "serosurvey"), []
    batch = fitted.config.particles
    with torch.no_grad():
        for start in range(0, count, batch):
            part = at[start : start + batch]
            theta = {name: x[part] for name, x in fitted.theta.items()}
            _, epidemic = fitted.simulator.simulate(theta, own, torch.arange(start, start + len(part)))
            rows.append(epidemic.infections.double().cpu())
    return torch.cat(rows)


def age_label(first: int, last: int | None) -> str:
    """Name of an age group.

    Examples:
        >>> age_label(18, None), age_label(0, None), age_label(18, 44)
        ('18+', 'All ages', '18-44')
    """
    if last is None:
        return f"{first}+" if first else "All ages"
    return f"{first}-{last}"


def cells_of(
    study: Study,
    infections: Tensor,
    people: Tensor,
    ages: Sequence[tuple[int, int | None]],
    *,
    whole: str = "",
    whole_ages: Sequence[tuple[int, int | None]] = (),
) -> Cells:
    """Infections by area and age group.

    Args:
        study: gives regions and age bands.
        infections: `[S, T, R, A]`.
        people: `[R, A]`.
        ages: first and last age of each group, for every region and for all together.
        whole: name of all regions together; empty for the study's.
        whole_ages: further groups for all together.
    """
    regions = list(study.region.names)
    areas: Mapping[str, list[int]] = {name: [i] for i, name in enumerate(regions)}
    rows = [(name, own, group) for name, own in areas.items() for group in ages]
    rows += [(whole or study.country, list(range(len(regions))), group) for group in (*ages, *whole_ages)]
    weight = torch.zeros(len(rows), *people.shape, dtype=torch.float64)
    for i, (_, own, group) in enumerate(rows):
        weight[i, own] = torch.as_tensor(groups_of(study.ages, {"one": group})[0])
    labels = tuple((name, age_label(*group)) for name, _, group in rows)
    infected = torch.einsum("stra,xra->stx", infections, weight)
    return Cells(study, labels, infected, torch.einsum("ra,xra->x", people.double(), weight))


def half_lives(prior: LogNormal | None, draws: int, seed: int) -> Tensor | None:
    """`[S]` draws of a half-life of antibody, or None."""
    if prior is None:
        return None
    generator = torch.Generator().manual_seed(derive_seed(seed, 0, "half-life"))
    normal = torch.randn(draws, generator=generator, dtype=torch.float64)
    return prior.median * torch.exp(prior.sd * normal)


def survey_table(
    cells: Cells,
    designs: Sequence[SurveyDesign],
    *,
    half_life: LogNormal | None = None,
    selection_sd: float = 0.0,
    quantiles: Sequence[float] = QUANTILES,
    seed: int = 0,
) -> pd.DataFrame:
    """Ever infected and testing positive, per cent, at quantiles over posterior draws.

    With `people` in a design, chance among those tested is in the quantiles of what tests positive.

    Args:
        cells: infections by area and age.
        designs: of the surveys; those of the same days share their rows of the ever infected.
        half_life: prior of the days in which half of those with antibody lose it; None if they keep it.
        selection_sd: standard deviation of the log odds by which those who take part differ from all people.
        quantiles: levels.
        seed: of half-life, selection and chance among those tested.

    Returns:
        Rows `quantity, area, age_band, first_sample, last_sample, sensitivity, specificity, quantile, value`; sensitivity and specificity of
        the ever infected are 1.

    Raises:
        StudyError: a design samples on days that are not simulated.
    """
    calendar, draws = cells.study.calendar, len(cells.infections)
    waning = half_lives(half_life, draws, seed)
    generator = torch.Generator().manual_seed(derive_seed(seed, 0, "survey"))
    shift = selection_sd * torch.randn(draws, 1, generator=generator, dtype=torch.float64)
    ever = ever_infected(cells.infections, cells.people)
    delays = {d.seroconversion for d in designs}
    antibody = {
        delay: has_antibody(cells.infections, cells.people, converted_by(ever.shape[1], delay, ever), waning)
        for delay in delays
    }
    rows: list[pd.DataFrame] = []
    windows: set[tuple[date, date]] = set()
    for design in designs:
        if (design.first_sample, design.last_sample) not in windows:
            windows.add((design.first_sample, design.last_sample))
            plain = replace(design, sensitivity=1.0, specificity=1.0)
            rows.append(_rows("ever_infected", cells, plain, window_mean(design, ever, calendar), quantiles))
        have = (
            shifted(antibody[design.seroconversion], shift[..., None])
            if selection_sd
            else antibody[design.seroconversion]
        )
        share = share_positive(design, have, calendar)
        if design.people is not None:
            share = draw_positives(design, share, generator) / design.people
        rows.append(_rows("seropositive", cells, design, share, quantiles))
    return pd.concat(rows, ignore_index=True)[list(COLUMNS)]


def _rows(quantity: str, cells: Cells, design: SurveyDesign, share: Tensor, quantiles: Sequence[float]) -> pd.DataFrame:
    values = np.quantile(100 * share.numpy(), quantiles, axis=0).T  # [X, Q]
    area, age = (np.repeat(column, len(quantiles)) for column in zip(*cells.labels, strict=True))
    fixed = {
        "first_sample": str(design.first_sample), "last_sample": str(design.last_sample),
        "sensitivity": design.sensitivity, "specificity": design.specificity,
    }  # fmt: skip
    return pd.DataFrame(
        {
            "quantity": quantity,
            "area": area,
            "age_band": age,
            **fixed,
            "quantile": list(quantiles) * len(cells.labels),
            "value": values.ravel().round(3),
        }
    )


def weekly_windows(first: date, last: date) -> list[tuple[date, date]]:
    """First and last day of consecutive weeks, the last cut at `last`.

    Examples:
        >>> weekly_windows(date(2030, 4, 1), date(2030, 4, 10))
        [(datetime.date(2030, 4, 1), datetime.date(2030, 4, 7)), (datetime.date(2030, 4, 8), datetime.date(2030, 4, 10))]
    """
    out, day = [], first
    while day <= last:
        out.append((day, min(day + timedelta(days=6), last)))
        day += timedelta(days=7)
    return out
