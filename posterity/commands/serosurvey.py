"""`posterity serosurvey RUN`: what an antibody survey of any design would find, and what it would be worth."""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import torch
import typer
from rich.console import Console

from calib.storage import atomic_write_csv
from epi import LogNormal, StudyError
from epi.model.antibody import converted_by, has_antibody
from epi.model.serology import SurveyDesign, share_positive
from epi.outputs.reload import rebuild
from epi.outputs.run_files import RunFiles
from epi.outputs.serosurvey import Cells, cells_of, infections_of, survey_table, weekly_windows
from epi.outputs.survey_value import survey_values
from epi.study import Calendar
from posterity.commands.errors import one_sentence

Group = tuple[int, int | None]


def main(
    run: Annotated[Path, typer.Argument(help="Folder of a finished run.")],
    first: Annotated[str, typer.Option("--first", help="First day of sampling, YYYY-MM-DD.")],
    last: Annotated[str, typer.Option("--last", help="Last day of sampling.")],
    weekly: Annotated[bool, typer.Option("--weekly", help="A survey in each week from first to last day.")] = False,
    sensitivity: Annotated[
        list[float] | None, typer.Option(help="Of the test; may be given several times with --specificity.")
    ] = None,
    specificity: Annotated[list[float] | None, typer.Option(help="Of the test, as often as --sensitivity.")] = None,
    ages: Annotated[str, typer.Option(help="Age groups of every region, such as '18+,0-17,all'.")] = "all",
    whole_ages: Annotated[str, typer.Option(help="Further age groups of all regions together.")] = "",
    whole: Annotated[str, typer.Option(help="Name of all regions together; default the study's.")] = "",
    half_life: Annotated[
        float | None, typer.Option(help="Median days in which half lose their antibody; default they keep it.")
    ] = None,
    half_life_sd: Annotated[float, typer.Option(help="Standard deviation of its logarithm.")] = 0.5,
    selection_sd: Annotated[
        float, typer.Option(help="Sd of the log odds by which those who take part differ from all people.")
    ] = 0.0,
    people: Annotated[
        int | None, typer.Option(help="People tested in each area and age: chance among them joins the intervals.")
    ] = None,
    cluster: Annotated[int, typer.Option(help="People of one cluster.")] = 1,
    correlation: Annotated[float, typer.Option(help="Correlation within a cluster.")] = 0.0,
    draws: Annotated[int | None, typer.Option(help="Posterior draws; default all.")] = None,
    scale: Annotated[
        float | None, typer.Option(help="Agents per person; default the run's high-fidelity scale.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of epidemics, half-life and chance.")] = 0,
    value: Annotated[
        bool, typer.Option("--value", help="Print what surveys of 500 to 20,000 people would be worth instead.")
    ] = False,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="CSV file to write; default print.")] = None,
) -> None:
    """Predict antibody surveys of a fitted epidemic: ever infected and testing positive by region and age, in per cent."""
    console = Console(stderr=True)
    with one_sentence(console):
        tests = list(zip(*_tests(sensitivity, specificity), strict=True))
        start, end = _day(first), _day(last)
        windows = weekly_windows(start, end) if weekly else [(start, end)]
        designs = [
            SurveyDesign(a, b, se, sp, people=people, cluster=cluster, correlation=correlation)
            for a, b in windows
            for se, sp in tests
        ]
        groups, more = parse_ages(ages), parse_ages(whole_ages)
        torch.set_num_threads(1)
        torch.set_default_dtype(torch.float64)
        files = RunFiles(run).finished()
        study = files.study
        until = week_end(study.calendar, end)
        chosen = scale or max(float(files.manifest["configuration"][k]) for k in ("scale", "level_scale"))
        fitted = rebuild(run, scale=chosen, last=max(until, study.calendar.last_week))
        people_of = torch.as_tensor(fitted.epidemic_data.population)
        infections = infections_of(fitted, draws, seed)
        prior = None if half_life is None else LogNormal(half_life, half_life_sd)
        cells = cells_of(study, infections, people_of, groups, whole=whole, whole_ages=more)
        if value:
            table = _value(cells, cells_of(study, infections, people_of, [(0, None)]), designs[0])
        else:
            table = survey_table(cells, designs, half_life=prior, selection_sd=selection_sd, seed=seed)
        if output is not None:
            output.parent.mkdir(parents=True, exist_ok=True)
            atomic_write_csv(output, table)
            console.print(f"{len(table):,} rows in {output}", highlight=False, soft_wrap=True)
    if output is None:
        print(table.to_string(index=False, float_format=lambda x: f"{x:.4g}"))


def _value(strata: Cells, whole: Cells, design: SurveyDesign) -> pd.DataFrame:
    """Targets are log infections by region up to the first sample; strata are the regions' cells of the survey."""
    regions = len(strata.study.region)
    day = strata.study.calendar.day_of(design.first_sample)
    targets = np.log(whole.infections[:, :day, :regions].sum(1).clamp_min(1.0).numpy())
    own = [i for i, (name, _) in enumerate(strata.labels) if name in strata.study.region.names]
    infections, people = strata.infections[..., own], strata.people[own]
    converted = converted_by(infections.shape[1], design.seroconversion, infections)
    share = share_positive(design, has_antibody(infections, people, converted), strata.study.calendar)
    return survey_values(targets, strata.study.region.names, share.numpy(), people.numpy(), design)


def _tests(sensitivity: list[float] | None, specificity: list[float] | None) -> tuple[list[float], list[float]]:
    one, two = sensitivity or [1.0], specificity or [1.0]
    if len(one) != len(two):
        raise StudyError(f"{len(one)} sensitivities and {len(two)} specificities were given; give both for each test.")
    return one, two


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise StudyError(f"{text!r} is no date, expected YYYY-MM-DD; correct it.") from error


def week_end(calendar: Calendar, day: date) -> date:
    """The last day of the week that a day lies in."""
    return calendar.date_of(calendar.day_of(day) + (calendar.first_week - day).days % 7)


def parse_ages(text: str) -> list[Group]:
    """Age groups from `"18+,0-17,all"`.

    Examples:
        >>> parse_ages("18+, 0-17, all")
        [(18, None), (0, 17), (0, None)]

    Raises:
        StudyError: a group is written otherwise.
    """
    out: list[Group] = []
    for part in (p.strip() for p in text.split(",") if p.strip()):
        found = re.fullmatch(r"(\d+)(?:\+|-(\d+))", part)
        if part == "all":
            out.append((0, None))
        elif found and (found[2] is None or int(found[2]) >= int(found[1])):
            out.append((int(found[1]), None if found[2] is None else int(found[2])))
        else:
            raise StudyError(f"The age group {part!r} cannot be read; write 18+, 0-17 or all.")
    return out
