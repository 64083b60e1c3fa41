"""New York City's Omicron wave, forecast from the week ending 25 December 2021 with what was published by 1 January 2022.

Weeks ending 27 November to 25 December are fitted, those ending 1 January to 26 February 2022 are forecast. No later figure of the city was
looked at. Priors cite what had been published by 1 January 2022, or say that they are chosen.
"""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import epi.study as epi
from epi.study import Delay, Gamma, LogitNormal, LogNormal, NegativeBinomial, Normal, Parameter
from experiments.nyc_first_wave.study import study as first

HERE = Path(__file__).parent
FORECAST_FROM, LAST_WEEK = date(2021, 12, 25), date(2022, 2, 26)
PUBLISHED = date(2022, 1, 1)
"""Day on which the fitted counts were published."""
BEFORE_OPEN, BEFORE_START = timedelta(47), timedelta(68)
"""Days from the first simulated infection, and from the first given one, to the last fitted week."""


def shared(table: str) -> str:
    """A table of the first wave's study that holds for this one as well: households, schools, work."""
    return Path(os.path.relpath(first.data / table, HERE / "data")).as_posix()


def scatter(name: str, median: float, reason: str) -> Parameter:
    """The parameter by which a stream scatters."""
    return Parameter(f"dispersion_{name}", LogNormal(median, 0.5, unit="relative sd", reason=reason), observation=True)


disease = epi.NaturalHistory(
    # mean generation interval about 4 days: serial intervals of 2 to 4 days were reported of Omicron's first clusters (Kim et al., medRxiv
    # 27 December 2021; Backer et al., medRxiv, of Delta 3.8); one interval for both variants (chosen)
    latent=Gamma(2.2, 1.0),
    infectious=Gamma(3.2, 1.6),
    susceptibility=LogNormal(1.0, 0.2, unit="factor", reason="Susceptibility of an age band over the others (chosen)."),
    immunity=epi.Immunity(
        LogitNormal(2.0, 0.5, unit="share", reason=
            "Protection from infection with Delta right after a dose: 0.88 after two of Pfizer's (Lopez Bernal et al. 2021, NEJM 385:585; "
            "the same prior for each number of doses, chosen)."),
        half_life=LogNormal(300.0, 0.3, unit="days", reason=
            "Days in which it halves: from 0.88 to 0.53 in some five months (Tartof et al. 2021, Lancet 398:1407; a booster brings it back)."),
        against_severe=LogitNormal(0.8, 0.5, unit="share", reason=
            "Further fall of severity in the vaccinated who are infected (chosen, wide; admission held at 0.9 while infection fell to 0.5)."),
    ),
)  # fmt: skip


def parts(variant: bool, until: date, suffix: str, known: tuple[epi.RightTruncation, ...]) -> tuple[object, ...]:
    """The parts of the study, or of a rehearsal.

    Args:
        variant: whether the new variant is known of.
        until: last fitted week.
        suffix: of the tables that hold for a day.
        known: what is not yet reported.
    """
    kept = {type(part): part for part in first.parts}
    opened = until - BEFORE_OPEN
    later: tuple[object, ...] = ()
    if variant:
        later = (
            epi.EscapingVariant(
                advantage=LogNormal(3.0, 0.25, unit="factor", reason=
                    "Infections by one with Omicron over those by one with Delta, escape counted in: its share's odds grew by 0.27 to 0.34 a "
                    "day in England and Denmark (UKHSA technical briefings 31 and 32, December 2021), over a generation of four days."),
                midpoint=Normal(0.0, 5.0, unit="days", reason="Days after 12 December on which it is half of those who infect (chosen, wide)."),
                day=date(2021, 12, 12), generation=4.0, name="Omicron", replaces="Delta",
                escape=LogNormal(1.8, 0.3, unit="log odds", reason=
                    "Protection after two doses some months ago about 0.6 from Delta and 0.2 from Omicron, after a booster 0.93 and 0.71 "
                    "(Andrews et al., medRxiv 14 December 2021): log odds 1.6 to 1.8 lower."),
                severity=LogNormal(0.4, 0.4, unit="factor", reason=
                    "Severity of Omicron over Delta: hazard of admission 0.55-0.6 for a stay of a day (Ferguson et al., Imperial Report 50, "
                    "22 December 2021), 0.33 (UKHSA, 31 December 2021).")),
        )  # fmt: skip
    return (
        replace(kept[epi.Households], transmission=LogNormal(0.45, 0.4, unit="per infection", reason=
            "Hazard between two members of a household over an infection, without immunity (chosen; more than of 2020's virus)."),
            table=shared("households.csv")),
        replace(kept[epi.Schools], transmission=LogNormal(0.8, 0.4, unit="per infection", reason=
            "Infections a case would cause in its school group if all were susceptible and every day a school day, masks worn (chosen)."),
            table=shared("schools.csv")),
        replace(kept[epi.Workplaces], transmission=LogNormal(0.7, 0.4, unit="per infection", reason="The same at work, many at home (chosen)."),
            table=shared("work.csv")),
        replace(kept[epi.Community], transmission=LogNormal(2.0, 0.35, unit="per infection", reason=
            "The same elsewhere; a reproduction number of Delta near 1 with the immunity of that autumn (chosen).")),
        epi.PrevalenceResponse(
            aversion=LogNormal(0.3, 0.7, unit="per 1 %/day", reason=
                "Fall of log transmission outside the home for each 1 % of a borough infected per day (chosen, wide)."),
            forgetting=LogitNormal(-2.6, 0.5, unit="per day", reason="Memory of about two weeks (chosen).")),
        kept[epi.RegionEffects],
        epi.Intervention("holidays", LogitNormal(0.0, 0.7, unit="share", reason=
            "Contacts at work that are left from 24 December to 2 January (chosen, wide)."), date(2021, 12, 24), date(2022, 1, 2),
            layers=("work",)),
        epi.Importations(LogNormal(3.0, 0.4, unit="per case", reason=
            f"Hazard of infection up to {opened:%d %B %Y} over that of the reported cases: about one in three was found, and an exposure "
            "infects less than half of people (chosen, wide).", ), table=f"importations{suffix}.csv"),
        epi.Vaccination(states=("doses_0", "doses_1", "doses_2", "doses_3"), days_since_last_dose=(0.0, 120.0, 210.0, 35.0),
            counted_on=min(until, date(2021, 12, 18)), table=f"vaccination{suffix}.csv", first_age=5),
        epi.PriorInfection(
            ascertainment=LogitNormal(-0.8, 0.3, unit="share", reason=
                "Share of infections up to that autumn that were reported: 20 % of adults had antibody in April 2020 with one case for "
                "about eleven infections (study of the first wave), one for two or three later (chosen)."),
            protection=LogitNormal(1.7, 0.4, unit="share", reason=
                "Protection from Delta by an earlier infection: 0.85 (chosen, near to 0.8-0.9 in cohorts of health workers)."),
            half_life=LogNormal(500.0, 0.5, unit="days", reason="Days in which it halves (chosen, wide)."),
            against_severe=LogitNormal(0.8, 0.5, unit="share", reason="Further fall of severity at a second infection (chosen, wide)."),
            counted_on=until - BEFORE_START - timedelta(1), table=f"prior_infections{suffix}.csv",
            infections_per_case=(1.0, 2.0, 3.0, 4.5)),
        *later,
        *known,
        epi.Reporting((
            epi.ReportingRegime("autumn", LogitNormal(-0.7, 0.4, unit="share", reason="Share of infections reported: a third (chosen)."),
                label="autumn"),
            epi.ReportingRegime("queues", LogitNormal(-0.9, 0.4, unit="share", reason=
                "The same from 12 December on: twice as many tests, queues, home tests that count nowhere (chosen)."), date(2021, 12, 12),
                label="queues for tests"),
            epi.ReportingRegime("home_tests", LogitNormal(-1.2, 0.5, unit="share", reason=
                "The same from 26 December on: half a million home tests handed out, few of them reported (chosen, wide)."),
                date(2021, 12, 26), label="home tests"))),
        epi.Severity(
            level=LogNormal(0.012, 0.5, unit="per infection", reason=
                "Admissions per infection with Delta at age 35 without immunity: of the first wave's study, Delta about twice as severe "
                "(Twohig et al. 2021, Lancet Infect Dis 22:35), treatment better (chosen)."),
            age=LogNormal(0.45, 0.25, unit="per decade", reason="Growth of log severity with age, as in the first wave (width chosen)."),
            band=Normal(0.0, 1.0, unit="standardised", reason="Severity of an age band off the line: exp(0.5 * effect) (chosen, wide).")),
        epi.Fatality(
            level=LogNormal(0.05, 0.5, unit="per infection", reason="Deaths per infection at 75, as for the first wave (wider, chosen)."),
            age=LogNormal(1.0, 0.12, unit="per decade", reason="Growth of log fatality with age, as in the first wave."),
            reference_age=75.0),
    )  # fmt: skip


STREAMS = (
    epi.Cases(by="borough", table="counts.csv", delay=Delay(5.0, 2.0, longest=20), family=NegativeBinomial(
        scatter("cases", 0.12, "Relative sd of weekly cases of a borough around their expectation (chosen)."))),
    epi.Admissions(by="borough", table="counts.csv", delay=Delay(8.5, 4.0, longest=30), family=NegativeBinomial(
        scatter("admissions", 0.12, "The same for weekly admissions."))),
    epi.Deaths(by="borough", table="counts.csv", delay=Delay(19.0, 9.0, longest=60), family=NegativeBinomial(
        scatter("deaths", 0.12, "The same for weekly confirmed deaths."))),
    epi.Infections(by="borough"),
)  # fmt: skip
ODDS = epi.VariantOdds(table="variant_odds.csv", family=epi.LogNormalError(scatter(
    "variant", 0.3, "Sd of the log odds of sequences: no random sample, Omicron preferred at first (chosen).")))  # fmt: skip

KNOWN = (
    # from `python -m experiments.nyc_omicron.completeness SOURCE`: share by the chain ladder, and sd of its log odds
    epi.RightTruncation("cases_borough", (FORECAST_FROM,), (LogitNormal(2.9, 0.5, unit="share", reason=
        "Share of the last week's cases published by 1 January: 0.95 by the vintages; wider, since laboratories were slower (chosen)."),)),
    epi.RightTruncation("admissions_borough", tuple(FORECAST_FROM - timedelta(7 * n) for n in (2, 1, 0)), (
        LogitNormal(2.9, 1.0, unit="share", reason="Share of the week ending 11 December: 0.95 by the vintages."),
        LogitNormal(1.9, 0.55, unit="share", reason="Share of the week ending 18 December: 0.87."),
        LogitNormal(0.9, 0.5, unit="share", reason="Share of the admissions of the last week published by 1 January: 0.71."))),
    epi.RightTruncation("deaths_borough", (FORECAST_FROM,), (LogitNormal(2.1, 0.4, unit="share", reason=
        "Share of the last week's confirmed deaths: 0.89 by the vintages."),)),
)  # fmt: skip


def make_study(
    name: str = "nyc_omicron",
    until: date = FORECAST_FROM,
    last: date = LAST_WEEK,
    variant: bool = True,
    suffix: str = "",
    known: tuple[epi.RightTruncation, ...] = KNOWN,
) -> epi.Study:
    """The study, or a rehearsal that ends earlier; arguments as for `parts`, and the last week to forecast."""
    return epi.Study(
        name=name,
        title="New York City's Omicron wave" if variant else "New York City's autumn of Delta",
        country="New York City",
        attribution="Cases, admissions, deaths, sequences, doses: New York City Department of Health and Mental Hygiene "
        "(nychealth/coronavirus-data, nychealth/covid-vaccine-data). Households, schools, work: as in the study of the first wave. Commits "
        "and licences: data/README.md.",
        data=HERE / "data",
        region=first.region,
        ages=first.ages,
        calendar=epi.Calendar(
            start=until - BEFORE_START,
            first_week=until - timedelta(28),
            forecast_from=until,
            last_week=last,
            open_from=until - BEFORE_OPEN,
            # full days in person from 13 September 2021; winter recess; 3 January as announced; midwinter recess of the school calendar
            school_terms=(
                (date(2021, 9, 13), date(2021, 12, 23)),
                (date(2022, 1, 3), date(2022, 2, 18)),
                (date(2022, 2, 28), date(2022, 4, 14)),
            ),
        ),
        disease=disease,
        parts=parts(variant, until, suffix, known),
        streams=(*STREAMS[:-1], replace(ODDS, table=f"variant_odds{suffix}.csv"), STREAMS[-1]) if variant else STREAMS,
        transmission_walk=epi.RandomWalk(
            start=until - BEFORE_OPEN,
            sds=(0.1, 0.2, 0.2, 0.2),
            step=Normal(
                0.0,
                1.0,
                unit="standardised",
                reason="Steps of a four-weekly random walk in log transmission outside the home (chosen).",
            ),
        ),
        fit_to=("cases", "admissions", "deaths", *(("variant",) if variant else ())),
        development="the model was chosen before any later week was looked at, by rehearsals on the autumn before",
    )


study = make_study()
